"""`cogen merge`, and its alias `cogen fuse --from-mergekit`."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from support.kitchen import Kitchen
from support.sites import run_python

from cogen.cli.main import main
from cogen.cli.merge import peak_memory
from cogen.errors import UsageError
from cogen.host import Host
from cogen.merging.writer import parse_size

RECIPE = "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"


@pytest.fixture
def models(kitchen: Kitchen) -> Kitchen:
    kitchen.model("a", 1)
    kitchen.model("b", 2)
    kitchen.recipe(RECIPE)
    return kitchen


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_merges_without_plugins(models: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    """The folder, and its figures as JSON; threads and shards change no bit."""
    found = run(capsys, "merge", "config.yml", "-o", "one")
    tensors = models.tensors("one")
    assert found["folder"] == "one"
    assert (found["tensors"], found["copied"]) == (len(tensors), 0)
    assert found["bytes"] == sum(tensor.nbytes for tensor in tensors.values())
    assert 0 <= found["seconds"] < 600
    assert 10e6 < found["peak_memory"] < 100e9
    run(capsys, "merge", "config.yml", "-o", "two", "--threads", "3", "--shard-size", "1KB", "--seed", "5")
    assert (models.folder / "two" / "model.safetensors.index.json").is_file()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in models.tensors("two").items())
    assert models.json("merge.json", "two")["seed"] == 5


def test_says_what_to_do_next(models: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing is measured; notes are printed."""
    models.recipe(RECIPE + "chat_template: auto\n")
    assert main(["merge", "config.yml", "-o", "out"]) == 3
    models.recipe(RECIPE.replace("linear", "ties").replace("b}", "b, parameters: {weight: 2}}") + "base_model: b\n")
    assert main(["merge", "config.yml", "-o", "out"]) == 0
    output = capsys.readouterr()
    assert "evaluate it: cogen eval out" in output.out
    assert "note: b is the base: its own weight has no effect" in output.err


def test_the_alias(models: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen fuse --from-mergekit` gives the same files and result, and a notice on stderr."""
    new = run(capsys, "merge", "config.yml", "-o", "one", "--seed", "5")
    capsys.readouterr()
    old = ["fuse", "--from-mergekit", "config.yml", "-o", "two", "--threads", "1", "--shard-size", "1GB", "--seed", "5"]
    assert main([*old, "--json"]) == 0
    printed = capsys.readouterr()
    assert "deprecated: use `cogen merge config.yml -o two`" in printed.err
    assert json.loads(printed.out).keys() == new.keys()
    for file in sorted(path.name for path in (models.folder / "one").iterdir()):
        assert (models.folder / "one" / file).read_bytes() == (models.folder / "two" / file).read_bytes(), file


def test_methods_of_plugins(
    models: Kitchen, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plain function that an installed plugin registers; plugins are looked for only where a name is not known."""
    (models.folder / "their_methods.py").write_text(
        "def halfway(base, experts, weights, *, strength=0.5):\n    return base + strength * (sum(experts) - base)\n"
    )
    monkeypatch.syspath_prepend(models.folder)
    discovered = []

    class Plugins(Host):
        def methods(self) -> dict[str, str]:
            return {"halfway": "their_methods:halfway"}

    def discover(*_: object) -> Host:
        discovered.append(True)
        return Plugins()

    monkeypatch.setattr(Host, "discover", discover)
    run(capsys, "merge", "config.yml", "-o", "builtin")
    assert discovered == []
    models.recipe("merge_method: halfway\nbase_model: a\nparameters: {weight: 1, strength: 1}\nmodels: [{model: b}]\n")
    run(capsys, "merge", "config.yml", "-o", "plugin")
    assert all(torch.equal(tensor, models.tensors("b")[name]) for name, tensor in models.tensors("plugin").items())
    models.recipe(RECIPE.replace("linear", "nowhere"))
    assert "unknown merge_method 'nowhere'" in run(capsys, "merge", "config.yml", "-o", "none", code=3)["error"]


@pytest.mark.parametrize(
    "others",
    [
        ["power"],
        ["--strategy", "merge"],
        ["--method", "ties"],
        ["--scale", "1"],
        ["--set", "density=1"],
        ["--recipe", "x.toml"],
        ["--level", "none"],
        ["--search", "3"],
        ["--plan", "x.json"],
        ["--lock", "cogen.lock"],
        ["--tune", "density=0:1"],
    ],
)
def test_the_recipe_says_everything(models: Kitchen, capsys: pytest.CaptureFixture[str], others: list[str]) -> None:
    """Options beside it are refused by name."""
    found = run(capsys, "fuse", "--from-mergekit", "config.yml", "-o", "out", *others, code=3)
    named = others[0] if others[0].startswith("-") else "EXPERT"
    assert found["error"] == f"{named} does not go with --from-mergekit"
    assert not (models.folder / "out").exists()


@pytest.mark.parametrize("own", [["--shard-size", "1GB"], ["--seed", "0"]])
def test_its_own_options_go_with_it_alone(models: Kitchen, capsys: pytest.CaptureFixture[str], own: list[str]) -> None:
    """They would have no effect on a fusion of experts."""
    assert run(capsys, "fuse", *own, code=3)["error"] == f"{own[0]} is an option of `cogen merge`"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2GB", 2 * 10**9),
        ("500m", 500 * 10**6),
        ("1.5 GiB", 3 * 2**29),
        ("4096", 4096),
        ("1kb", 1000),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    """Decimal and binary units."""
    assert parse_size(text) == expected


@pytest.mark.parametrize("text", ["5B", "much", "-1GB", "0", "0.1", ""])
def test_sizes_that_are_none(text: str) -> None:
    """mergekit's 5B could be bytes or billions."""
    with pytest.raises(UsageError, match="is not a size"):
        parse_size(text)


def test_peak_memory() -> None:
    """It is at least what is held now."""
    held = torch.ones(10_000_000)
    found = peak_memory()
    assert found is None or found > held.nbytes


def test_a_merge_imports_no_transformers(models: Kitchen) -> None:
    """It would cost seconds and hundreds of megabytes; nor lm_eval, scipy, datasets and peft."""
    code = """
import sys
from cogen.cli.main import main
assert main(["merge", "config.yml", "-o", "out", "--quiet"]) == 0
print({"transformers", "lm_eval", "scipy", "datasets", "peft", "pandas", "tokenizers"} & set(sys.modules))
"""
    assert run_python(code, models.folder, models.folder / "cache").splitlines()[-1] == "set()"
