"""Whole roads with a cache that others filled and that may only be read."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.readonly import obeying, read_only

from cogen import cache
from cogen.cli.main import main
from cogen.files import cache_dir
from cogen.host import Host

ROADS = {
    "merge": ["fuse", "--method", "ties", "--scale", "0.5", "--scale", "1", "--level", "quick"],
    "moe": ["fuse", "--strategy", "moe", "--routing", "trained", "--level", "quick"],
    "distill": ["fuse", "--strategy", "distill", "--level", "quick"],
}
DISTILL = """
[distill]
groups = "apart"
pivot = "e1"
tokens = 120
tokens_a_step = 64
rank = 2
alpha = 4
threads = 1
"""


@pytest.fixture(autouse=True)
def _machine(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    machine = host(world.expert("e1", 1), world.expert("e2", 2))
    monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))
    monkeypatch.setattr(cache, "_overlays", {})
    for known in (cache._writable, cache._sweep_once):
        known.cache_clear()
    yield
    for known in (cache._writable, cache._sweep_once):
        known.cache_clear()


def files(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.endswith(".lock")
    }


def shut_out(capsys: pytest.CaptureFixture[str], *commands: list[str]) -> str:
    """Run commands with the cache as it is, read-only; nothing in it changes. What they output."""
    cache._writable.cache_clear()
    before = files(cache_dir())
    capsys.readouterr()
    with read_only(cache_dir()), obeying():
        for command in commands:
            assert main(command) == 0, (command, capsys.readouterr().err)
    cache._writable.cache_clear()
    assert files(cache_dir()) == before
    return capsys.readouterr().err


@pytest.fixture
def commands(tmp_path: Path) -> dict[str, list[str]]:
    (tmp_path / "recipe.toml").write_text(DISTILL)
    recipe = ["--recipe", str(tmp_path / "recipe.toml")]
    return {name: [*command, *(recipe if name == "distill" else [])] for name, command in ROADS.items()}


@pytest.mark.parametrize("road", ROADS)
def test_the_same_composite(
    road: str, commands: dict[str, list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With everything in the cache, and with nothing in it: the same weights as where it can be written."""
    first, second, third = (str(tmp_path / name) for name in ("first", "second", "third"))
    assert main([*commands[road], "-o", first]) == 0, capsys.readouterr().err
    output = shut_out(capsys, [*commands[road], "-o", second])
    assert "is read-only" not in output  # everything was there
    shutil.rmtree(cache_dir())
    cache_dir()
    output = shut_out(capsys, [*commands[road], "-o", third])
    assert output.count("is read-only: what was computed or fetched now is not kept") == 1
    weights = [
        {name: digest for name, digest in files(Path(folder)).items() if name.endswith(".safetensors")}
        for folder in (first, second, third)
    ]
    assert weights[0] == weights[1] == weights[2]


@pytest.fixture
def _no_general_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogen.evals.general_suites", list)
    monkeypatch.setattr("cogen.fusion.route.plan.general_suites", list)


@pytest.mark.usefixtures("_no_general_suite")
@pytest.mark.parametrize("ensemble", ["none", "posterior"])
def test_a_route(ensemble: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the plan to an answer, with everything in the cache, and with nothing in it; the same figures."""
    build = ["fuse", "--strategy", "route", "--embedder", "counts", "--level", "quick", "--ensemble", ensemble]
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    assert main([*build, "-o", str(first)]) == 0, capsys.readouterr().err
    assert main(["eval", str(first), "--level", "quick"]) == 0
    output = shut_out(capsys, [*build, "-o", str(second)], *_uses(second))
    assert "is read-only" not in output
    shutil.rmtree(cache_dir())
    cache_dir()
    output = shut_out(capsys, [*build, "-o", str(third)], *_uses(third))
    assert "is read-only: what was computed or fetched now is not kept" in output
    assert _route(first) == _route(second) == _route(third)


def _route(folder: Path) -> Any:
    """Every file but the matrix, which says how long it took; of that the values."""
    matrix = json.loads((folder / "matrix.json").read_text())
    values = {row: [(cell["suite"], cell["value"]) for cell in cells] for row, cells in matrix["cells"].items()}
    return {name: digest for name, digest in files(folder).items() if name != "matrix.json"}, values


def _uses(folder: Path) -> list[list[str]]:
    chat = ["chat", str(folder), "--max-tokens", "3", "-p", "hello"]
    return [["plan", "--strategy", "route", "--embedder", "counts"], ["eval", str(folder), "--level", "quick"], chat]


def test_every_other_verb(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, again = str(tmp_path / "out"), str(tmp_path / "again")
    assert main(["fuse", "--scale", "0.5", "--level", "none", "-o", out]) == 0
    shut_out(
        capsys,
        ["list"],
        ["show", "e1"],
        ["plan"],
        ["plan", "-o", str(tmp_path / "plan.json")],
        ["eval", out],
        ["eval", "e1", "--against", "base"],
        ["chat", out, "--max-tokens", "3", "-p", "hello"],
        ["fuse", "--lock", f"{out}/cogen.lock", "-o", again],
        ["update", out, "--remove", "e2", "--level", "none", "-o", str(tmp_path / "less")],
        ["cache"],
        ["doctor"],
        ["methods"],
    )
    assert files(Path(again))["model.safetensors"] == files(Path(out))["model.safetensors"]


def test_clearing_it_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    (cache_dir() / "results").mkdir(parents=True)
    (cache_dir() / "results" / "r.json").write_text("{}")
    with read_only(cache_dir()), obeying():
        assert main(["cache", "clear", "--yes"]) == 1
    output = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in output] == ["error", "hint"]
    assert "permission" in output[0]
