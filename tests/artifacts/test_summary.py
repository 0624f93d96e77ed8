"""The figures and sentences that sum a matrix up."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.artifacts import summary
from cogen.evals import Matrix

bits = st.floats(0.05, 8.0)


@settings(deadline=None)
@given(bits, bits)
def test_the_ends_of_gain_kept(base: float, specialist: float) -> None:
    """The specialist itself keeps 1, the base 0; where the specialist gains nothing there is nothing to keep."""
    if specialist < base:
        assert summary.gain_kept(base, specialist, specialist) == 1.0
        assert summary.gain_kept(base, base, specialist) == 0.0
    else:
        assert summary.gain_kept(base, base, specialist) is None


@settings(deadline=None)
@given(bits, st.floats(0.1, 0.95), st.floats(-1.0, 1.5))
def test_gain_kept_is_a_share_of_logarithms(base: float, factor: float, share: float) -> None:
    """A composite at base · factor^share keeps that share, whatever the base."""
    kept = summary.gain_kept(base, base * factor**share, base * factor)
    assert kept == pytest.approx(share, abs=1e-9)


def _matrix(figures: Any, values: dict[str, dict[str, float]], n: int = 12) -> Matrix:
    return Matrix.of({row: [figures(c, v, n=n) for c, v in cells.items()] for row, cells in values.items()})


def test_domains_are_the_suites_of_experts(matrix: Matrix) -> None:
    """One a suite with base, its own specialist and composite; general text is none. 70 % was built in."""
    found = summary.domains(matrix)
    assert [d.column for d in found] == [
        f"{id}/heldout" for id in ("clinical", "energy", "materials", "neuro", "power")
    ]
    assert [d.kept for d in found] == pytest.approx([0.7] * 5)
    assert found[2].specialist_gain == pytest.approx(0.2)
    assert found[2].composite_gain == pytest.approx(1 - 0.8**0.7)
    assert summary.kept_on_average(found) == pytest.approx(0.7)
    assert summary.domains(matrix, matrix.gains()) == found


def test_the_verdict_of_a_good_composite(matrix: Matrix) -> None:
    """All domains, and the share that was built in."""
    assert summary.verdict(matrix) == (
        "The composite reads all 5 domains better than the base; it keeps 70 % of the specialists' gain on average."
    )
    assert "general text" in (summary.forgetting(matrix) or "")


def test_the_verdict_counts_what_is_not_better(figures: Any) -> None:
    """Worse and unclear domains are counted; the average weighs log gains, not shares."""
    columns = ("aa/heldout", "bb/heldout", "cc/heldout")
    matrix = _matrix(
        figures,
        {
            "base": dict.fromkeys(columns, 1.0),
            "aa": {columns[0]: 0.8},
            "bb": {columns[1]: 0.9},
            "cc": {columns[2]: 0.9},
            "composite": {columns[0]: 0.9, columns[1]: 1.2, columns[2]: 1.0},
        },
    )
    kept = math.log(0.9 * 1.2) / math.log(0.8 * 0.9 * 0.9)
    assert summary.kept_on_average(summary.domains(matrix)) == pytest.approx(kept)
    assert summary.verdict(matrix) == (
        "The composite reads 1 of 3 domains better than the base (1 worse, 1 with no clear difference); "
        "it keeps none of the specialists' gain on average."
    )


@pytest.mark.parametrize(
    ("composite", "specialist", "sentence"),
    [
        (0.9, 0.8, "The composite reads its domain better than the base; it keeps 47 % of the specialist's gain."),
        (1.2, 0.8, "The composite reads its domain worse than the base; it keeps none of the specialist's gain."),
        (
            1.0,
            1.1,
            "The composite reads its domain with no clear difference from the base; "
            "its specialist gains nothing either.",
        ),
    ],
)
def test_the_verdict_of_one_expert(figures: Any, composite: float, specialist: float, sentence: str) -> None:
    """No averages of one."""
    column = "power/heldout"
    values = {"base": {column: 1.0}, "power": {column: specialist}, "composite": {column: composite}}
    assert summary.verdict(_matrix(figures, values)) == sentence


def test_one_document_proves_nothing(figures: Any) -> None:
    """Without an interval no difference is clear."""
    values = {"base": {"power/t": 1.0}, "power": {"power/t": 0.5}, "composite": {"power/t": 0.5}}
    assert "no clear difference" in summary.verdict(_matrix(figures, values, n=1))


def test_without_figures_nothing_is_said(figures: Any) -> None:
    """No matrix, or none of the suites of an expert."""
    assert summary.verdict(None) == "The composite was not evaluated."
    assert summary.forgetting(None) is None
    only = _matrix(figures, {"base": {"general/general": 1.0}, "composite": {"general/general": 1.1}})
    assert summary.verdict(only).startswith("No domain was measured")
    assert summary.forgetting(only) == "On general text it is 10.0 % worse than the base."


def test_changes_in_words() -> None:
    """Which way is better never depends on the metric."""
    assert summary.change(0.1834) == "18.3 % better"
    assert summary.change(-0.004) == "0.4 % worse"
    assert summary.change(0.0001) == "unchanged"
