"""A matrix in which experts were measured on their own suites and on general text alone, wherever it is shown."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cogen.artifacts import summary
from cogen.artifacts.card import write_card
from cogen.artifacts.lock import make_lock
from cogen.artifacts.report.report import write_report
from cogen.evals import Matrix
from cogen.evals.matrix import EMPTY
from cogen_registry.pages.composite import columns, rows

IDS = ("clinical", "energy", "materials", "neuro", "power")


@pytest.fixture
def own(matrix: Matrix) -> Matrix:
    """The full matrix without the cells of experts on each other's suites."""
    kept = {
        row: [cell for column, cell in cells.items() if row not in IDS or column.partition("/")[0] in (row, "general")]
        for row, cells in matrix.cells.items()
    }
    return Matrix.of(kept, matrix.columns)


def test_the_sentences_are_the_same(own: Matrix, matrix: Matrix) -> None:
    """They are about base, each suite's own expert, and the composite."""
    assert own.columns == matrix.columns
    assert {row: len(names) for row, names in own.not_measured.items()} == dict.fromkeys(IDS, 4)
    assert summary.verdict(own) == summary.verdict(matrix)
    assert summary.forgetting(own) == summary.forgetting(matrix)
    assert summary.domains(own) == summary.domains(matrix)
    assert summary.against_control(own) is None
    assert (own.partial, matrix.partial) == (True, False)
    # Experts that are not asked the chat suite were measured on all suites of text.
    cells = {row: list(found.values()) for row, found in matrix.cells.items()}
    chat = [replace(cells["base"][0], owner="general", suite="chat", metric="well_formed")]
    asked = Matrix.of({row: found + (chat if row in ("base", "composite") else []) for row, found in cells.items()})
    assert asked.not_measured == {row: ["general/chat"] for row in IDS}
    assert not asked.partial


def test_a_control_is_compared_where_it_was_measured(own: Matrix) -> None:
    """All of the composite's suites: experts' empty cells do not matter."""
    cells = {row: list(found.values()) for row, found in own.cells.items()}
    control = Matrix.of(cells | {"control": cells["base"]}, own.columns)
    assert "better on 5 of 6 texts" in (summary.against_control(control) or "")


def test_card_report_and_registry_say_it_plainly(
    own: Matrix, matrix: Matrix, plan: Any, trials: Any, folder: Path, experts: Any
) -> None:
    """As many cells as are missing say that they were not measured, and none of them is a number."""
    lock = make_lock(plan, 0.6, trials, folder, own)
    write_card(folder, lock, own, experts)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert card.count(f"| {EMPTY} ") == 20
    assert f"{EMPTY}: not measured; experts were measured on their own suites and on general text." in card
    write_report(folder / "report.html", lock, plan, own, trials, experts)
    report = (folder / "report.html").read_text(encoding="utf-8")
    assert report.count('<td class="empty">not measured</td>') == 20
    assert "cogen fuse --matrix full" in report
    found = lock.model_dump(mode="json")
    shown = {title: cells for _, title, cells in rows(found["matrix"], found["plan"])}
    assert len(columns(found["matrix"], found["plan"])) == 6
    assert sum(cell is None for cells in shown.values() for cell in cells) == 20
    assert re.search(r'cell is none %}<td class="empty">not measured</td>', template())
    # A full one says nothing of it.
    whole = make_lock(plan, 0.6, trials, folder, matrix)
    write_card(folder, whole, matrix, experts)
    write_report(folder / "report.html", whole, plan, matrix, trials, experts)
    for name in ("README.md", "report.html"):
        assert "not measured;" not in (folder / name).read_text(encoding="utf-8")
        assert ">not measured<" not in (folder / name).read_text(encoding="utf-8")


def template() -> str:
    import cogen_registry.pages

    place = Path(next(iter(cogen_registry.pages.__path__)))
    return (place / "templates" / "composite.html.j2").read_text(encoding="utf-8")
