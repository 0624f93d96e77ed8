"""The chat suite in the matrix of a fusion and in an evaluation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import cogen
from cogen.cli.main import main
from cogen.errors import UsageError

COLUMN = "general/chat"


def test_in_the_default_matrix(experts: Path, tmp_path: Path) -> None:
    """Base and composite are asked at the level quick; a replay of the lock gives the same bits and figures."""
    made = cogen.fuse(["power", "energy"], output=tmp_path / "a", scale=0.5)
    assert made.matrix is not None
    assert COLUMN in made.matrix.columns
    asked = {row: made.matrix.get(row, COLUMN) for row in made.matrix.rows}
    assert {row for row, found in asked.items() if found} == {"base", "composite"}
    found = asked["composite"]
    assert found is not None
    assert (found.n, found.metric, set(found.details)) == (
        20,
        "well_formed",
        {"ended", "loops", "same_language", "repeated_4grams"},
    )
    assert COLUMN not in {f"{suite.owner}/{suite.id}" for suite in made.lock.plan.suites}
    card, report = ((tmp_path / "a" / name).read_text(encoding="utf-8") for name in ("README.md", "report.html"))
    assert "Asked 20 plain questions" in card
    assert "Asked 20 plain questions" in report
    assert "well-formed answers" in report
    assert "well formed" in card
    # Experts are measured on their own suites and on general text; a replay can be asked for all.
    assert made.matrix.not_measured["power"] == ["energy/heldout", COLUMN]
    again = cogen.fuse(lock=tmp_path / "a" / "cogen.lock", output=tmp_path / "b", matrix="full")
    assert again.matrix is not None
    assert again.matrix.not_measured == {"energy": [COLUMN], "power": [COLUMN]}
    assert again.lock.plan.matrix == "full"
    assert again.lock.weights_digest == made.lock.weights_digest
    assert again.matrix is not None
    assert again.matrix.get("composite", COLUMN) == found


def test_evaluated_alone(experts: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An expert against its base, by the suite's name; what the figure is made of is printed below."""
    found = cogen.evaluate("power", suites=["chat"], against="base", level="full")
    assert [(result.column, result.n) for result in found.results] == [(COLUMN, 120)]
    assert len(found.comparisons) == 1
    assert main(["eval", "power", "--suite", COLUMN, "--level", "full"]) == 0
    assert "of 120 answers end by themselves" in " ".join(capsys.readouterr().out.split())
    assert main(["eval", "power", "--suite", "power", "--json"]) == 0
    assert [r["suite"] for r in json.loads(capsys.readouterr().out)["results"]] == ["heldout"]
    with pytest.raises(UsageError, match="unknown suite 'chatt'") as caught:
        cogen.evaluate("power", suites=["chatt"])
    assert COLUMN in str(caught.value.hint)


def test_without_a_template(experts: Path) -> None:
    """Text is measured as ever; asked for by name, it says why not."""
    (experts / "chat_template.jinja").unlink()
    assert COLUMN not in [result.column for result in cogen.evaluate(str(experts)).results]
    with pytest.raises(UsageError, match="has no chat template"):
        cogen.evaluate(str(experts), suites=["chat"])
