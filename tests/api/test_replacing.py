"""What an output folder holds is replaced by the same recipe alone, and by one run at a time."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import cogen
from cogen.cli.errors import explain
from cogen.cli.main import main
from cogen.errors import UsageError
from cogen.merging.output_folder import one_writer


def written(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir()) if file.suffix != ".html"}


NONE: dict[str, Any] = {"level": "none", "scale": 0.4}


def test_the_same_recipe_again(experts: Path, tmp_path: Path) -> None:
    """Whatever its level; also as a replay of its own lock."""
    out = tmp_path / "out"
    cogen.fuse(["power"], out, **NONE)
    before = written(out)
    cogen.fuse(["power"], out, **NONE)
    cogen.fuse(["power"], out, scale=0.4)
    cogen.fuse(output=out, lock=out / "cogen.lock", level="none")
    assert written(out)["model.safetensors"] == before["model.safetensors"]


@pytest.mark.parametrize(
    "change",
    [
        {"experts": ["energy"]},
        {"experts": ["power", "energy"]},
        {"experts": {"power": 0.5}},
        {"experts": ["power"], "scale": 0.5},
        {"experts": ["power"], "method": "ties"},
        {"experts": ["power", "energy"], "strategy": "route", "level": "none", "scale": None},
    ],
    ids=["another expert", "one more", "another weight", "another scale", "another method", "a route"],
)
def test_another_recipe_is_refused(experts: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    out = tmp_path / "out"
    cogen.fuse(["power"], out, **NONE)
    before = written(out)
    options = {key: value for key, value in (NONE | change).items() if value is not None}
    chosen = options.pop("experts")
    with pytest.raises(UsageError, match="holds another composite, merge of power") as caught:
        cogen.fuse(chosen, out, **options)
    assert "--replace" in str(caught.value.hint)
    assert written(out) == before
    cogen.fuse(chosen, out, replace=True, **options)
    assert written(out) != before


def test_an_update_in_its_own_place(experts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cogen.fuse(["power"], out, **NONE)
    with pytest.raises(UsageError, match="holds another composite"):
        cogen.update(out, out, add=["energy"], level="none")
    assert cogen.update(out, out, add=["energy"], level="none", replace=True).experts == ("energy", "power")


def test_merges_by_recipe(experts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen merge` keeps to the same rule, among its own results and those of `cogen fuse`."""
    cogen.fuse(["power"], tmp_path / "model", **NONE)
    config, out = tmp_path / "config.yml", tmp_path / "out"

    def run(weight: float, *more: str) -> int:
        models = [{"model": str(tmp_path / "model"), "parameters": {"weight": weight}}]
        config.write_text(yaml.safe_dump({"merge_method": "linear", "models": models, "dtype": "float32"}))
        return main(["merge", str(config), "-o", str(out), *more])

    assert (run(1.0), run(1.0), run(0.5)) == (0, 0, 3)
    assert "holds the merge of another recipe" in capsys.readouterr().err
    assert run(0.5, "--replace") == 0
    with pytest.raises(UsageError, match="result of `cogen merge`"):
        cogen.fuse(["power"], out, **NONE)
    capsys.readouterr()
    out = tmp_path / "model"
    config.write_text(config.read_text())
    copy = tmp_path / "copy"
    cogen.fuse(["power"], copy, **NONE)
    out = copy
    assert run(1.0) == 3
    assert "holds a composite of `cogen fuse`" in capsys.readouterr().err


def test_one_run_at_a_time(experts: Path, tmp_path: Path) -> None:
    """A second process that would write the folder refuses, and can when the first is done."""
    script = (
        "import sys; from pathlib import Path; from cogen.merging.output_folder import one_writer\n"
        "with one_writer(Path(sys.argv[1])): print('writing', flush=True); sys.stdin.readline()"
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", script, str(out)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == "writing\n"
        with pytest.raises(UsageError, match="another run is writing") as caught:
            cogen.fuse(["power"], out, **NONE)
        assert caught.value.hint
        cogen.fuse(["power"], tmp_path / "elsewhere", **NONE)
        other.stdin.write("\n")
        other.stdin.flush()
    assert other.returncode == 0
    cogen.fuse(["power"], out, **NONE)
    with one_writer(out):  # and nothing is left that would stop the next one
        pass


def test_a_weight_of_one_expert_alone(experts: Path, tmp_path: Path) -> None:
    """Half of its difference from the base, not the whole of it again."""
    plan = cogen.plan({"power": 0.5}, level="none")
    assert isinstance(plan, cogen.Plan)
    assert plan.scales == (1.0,)
    half = cogen.fuse({"power": 0.5}, tmp_path / "half", level="none")
    scaled = cogen.fuse({"power": 1.0}, tmp_path / "scaled", level="none", scale=0.5)
    whole = cogen.fuse({"power": 1.0}, tmp_path / "whole", level="none")
    assert written(half.folder)["model.safetensors"] == written(scaled.folder)["model.safetensors"]
    assert written(half.folder)["model.safetensors"] != written(whole.folder)["model.safetensors"]


def test_a_plan_says_how_long(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "power", "energy"]) == 0
    text = capsys.readouterr().out
    assert "on this machine, less what the cache holds already" in text
    # Base and composite are asked 20 questions, and write 64 tokens each at most.
    assert ", up to 2,560 written ones for the chat suite in " in text
    assert main(["plan", "power", "energy", "--level", "full"]) == 0
    assert f", up to {4 * 120 * 64:,} written ones for the chat suite in " in capsys.readouterr().out
    assert main(["plan", "power", "energy", "--strategy", "route"]) == 0
    assert "chat suite" not in capsys.readouterr().out
    plan = cogen.plan(["power"])
    assert plan.cost.parameters > 0


@pytest.mark.parametrize("name", [None, "/srv/readonly/x"])
def test_a_read_only_file_system(name: str | None) -> None:
    error = OSError(errno.EROFS, "Read-only file system") if name is None else OSError(errno.EROFS, "Read-only", name)
    found = explain(error)
    assert found is not None
    assert "read-only" in found.message
    assert found.hint
    assert name is None or name in found.message
