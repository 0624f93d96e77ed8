"""docs/python.md says what is so: its code runs, from its first block to its last, as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_model
from support.training import training_recipe

import cogen

from .conftest import base_of_bfloat16

PAGE = Path(__file__).parents[2] / "docs" / "python.md"


def blocks() -> list[str]:
    """The Python code of the page."""
    return re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.S | re.M)


@pytest.mark.usefixtures("stranger")
def test_the_page_runs(
    experts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In a folder with what the page names: a mergekit configuration and a training recipe."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    for name, seed in (("a", 1), ("b", 2)):
        save_model(work / name, seed)
    (work / "config.yml").write_text(
        "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n"
    )
    base = base_of_bfloat16(experts)
    training_recipe(
        work / "expert", {key: value for key, value in base.items() if key != "dtype"} | {"dtype": "bfloat16"}
    )
    names: dict[str, Any] = {"__name__": "page"}
    for number, block in enumerate(blocks(), 1):
        exec(compile(block, f"{PAGE.name}, block {number}", "exec"), names)
    assert [names[name].strategy for name in ("merged", "mixture", "student", "route")] == [
        "merge",
        "moe",
        "distill",
        "route",
    ]
    assert "unknown strategy 'foo'; one of merge, moe, distill, route, auto" in capsys.readouterr().out


def test_each_strategy_takes_at_most_five_lines() -> None:
    """Of the section that shows them, imports included."""
    section = PAGE.read_text(encoding="utf-8").split("## The four strategies")[1].split("\n## ")[0]
    found = re.findall(r"^```python\n(.*?)^```", section, flags=re.S | re.M)
    assert len(found) == 4
    assert all(len([line for line in block.splitlines() if line.strip()]) <= 5 for block in found)


def test_the_page_names_every_public_function() -> None:
    """What ``cogen`` offers besides types stands in the table."""
    functions = [name for name in cogen.__all__ if name.islower() and not name.startswith("_") and name != "hookimpl"]
    text = PAGE.read_text(encoding="utf-8")
    assert [name for name in functions if f"`cogen.{name}(" not in text] == []
