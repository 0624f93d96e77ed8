"""docs/merging.md: its Python blocks run in their order, and its recipe is a recipe."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from support.kitchen import Kitchen

from cogen.cli.main import main
from cogen.merging import METHODS

TEXT = (Path(__file__).parents[2] / "docs" / "merging.md").read_text(encoding="utf-8")


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Kitchen:
    monkeypatch.chdir(tmp_path)
    found = Kitchen(tmp_path)
    for seed, name in enumerate(("base", "math", "code")):
        found.model(name, seed)
    return found


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.S | re.M)


def test_python(models: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    """One after the other, as in a notebook; what the comments say is printed."""
    found = blocks("python")
    assert len(found) >= 5
    names: dict[str, object] = {}
    for block in found:
        exec(compile(block, "docs/merging.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "sha256:" in printed
    assert "unknown merge_method 'tiez'" in printed
    assert "one of arcee_fusion, breadcrumbs, " in printed
    assert (models.folder / "merged" / "model.safetensors").is_file()
    assert (models.folder / "half" / "merge.json").is_file()


def test_recipe_and_commands(models: Kitchen, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen merge` as in the first shell block, on the YAML above it, gives what Python gives."""
    (recipe,) = blocks("yaml")
    assert yaml.safe_load(recipe)["merge_method"] == "ties"
    (models.folder / "config.yml").write_text(recipe)
    for line in blocks("sh")[0].splitlines():
        assert main(line.split()[1:]) == 0, line
    assert "deprecated" not in capsys.readouterr().err
    command = models.tensors("merged")
    exec(compile(blocks("python")[0], "docs/merging.md", "exec"), {})
    assert all(bool((command[name] == tensor).all()) for name, tensor in models.tensors("merged").items())


def test_every_method_has_a_row() -> None:
    """In the table of the methods."""
    rows = [line.split("|")[1] for line in TEXT.splitlines() if line.startswith("| `")]
    assert set(METHODS) == set(re.findall(r"`(\w+)`", " ".join(rows)))
