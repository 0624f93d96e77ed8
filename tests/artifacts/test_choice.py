"""What a search chose, in words and in a table."""

from __future__ import annotations

import math
from typing import Any

import pytest

from cogen.fusion.merge import choice
from cogen.fusion.merge.measure import Trial
from cogen.merging.parameters import Conditional

SOUP = {
    f"weight.{id}": float(id in ("energy", "power")) for id in ("clinical", "energy", "materials", "neuro", "power")
}


def trial(mean: float | None, scale: float = 1.4, failure: str = "", **parameters: float) -> Trial:
    """One suite whose bits per byte are ``mean``; ``weight_x`` stands for ``weight.x``."""
    point = {name.replace("_", "."): value for name, value in parameters.items()}
    if mean is None:
        return Trial(scale, None, {}, point, failure)
    return Trial(scale, math.log(mean), {"power/heldout": mean}, point)


TUNED = [
    trial(0.80, density=0.5, weight_power=1.0),
    trial(None, failure="ties: density 0 is not a share", density=0.0, weight_power=0.2),
    trial(0.72, density=0.31, weight_power=1.25),
    trial(0.90, density=0.9, weight_power=0.1),
]


@pytest.fixture
def tuned(plan: Any) -> Any:
    space = {"density": (0.0, 1.0), "weight.power": (0.0, 2.0)}
    return plan.model_copy(update={"method": "ties", "scales": (1.4,), "search": 4, "space": space})


@pytest.fixture
def soup(plan: Any) -> Any:
    return plan.model_copy(update={"method": "greedy_soup", "scales": (1.0,), "search": 9, "space": {}})


def test_the_table_of_candidates() -> None:
    """In the order in which they were made: what was tuned, the mean, every suite, the chosen one, why one failed."""
    assert choice.columns(TUNED) == ["density", "weight.power"]
    assert choice.suites(TUNED) == ["power/heldout"]
    rows = choice.candidates(TUNED, 1.4, {"density": 0.31, "weight.power": 1.25})
    assert [row.number for row in rows] == [1, 2, 3, 4]
    assert [row.values for row in rows] == [("0.5", "1"), ("0", "0.2"), ("0.31", "1.25"), ("0.9", "0.1")]
    assert [row.mean for row in rows] == [pytest.approx(0.8), None, pytest.approx(0.72), pytest.approx(0.9)]
    assert [row.figures for row in rows] == [("0.8000",), ("",), ("0.7200",), ("0.9000",)]
    assert [row.chosen for row in rows] == [False, False, True, False]
    assert [row.failure for row in rows] == ["", "ties: density 0 is not a share", "", ""]


def test_the_scale_is_a_column_where_it_differs() -> None:
    """And where nothing else was tried."""
    assert choice.columns([trial(1.0, 0.3), trial(1.0, 0.6)]) == ["scale"]
    assert choice.columns([trial(1.0, 0.3)]) == ["scale"]
    assert choice.columns([trial(1.0, 0.3, density=0.1), trial(1.0, 0.6, density=0.2)]) == ["scale", "density"]


def test_one_candidate_is_chosen_even_among_twins() -> None:
    """The optimiser may come back to a point: the first one counts, as in the search."""
    rows = choice.candidates([trial(0.9, 0.3), trial(0.8, 0.6), trial(0.8, 0.6)], 0.6, {})
    assert [row.chosen for row in rows] == [False, True, False]


def test_the_sentence(plan: Any, tuned: Any, soup: Any) -> None:
    """What was chosen out of what; how much better it is than the start of the tuning."""
    best = {"density": 0.31, "weight.power": 1.25}
    assert choice.sentence(tuned, 1.4, best, TUNED) == (
        "Of 4 candidates measured on development texts, density 0.31 and weight of power 1.25 did best, "
        "10.0 % better than at the start."
    )
    assert choice.sentence(tuned, 1.4, dict(TUNED[0].parameters), TUNED[:2]) == (
        "Of 2 candidates measured on development texts, density 0.5 and weight of power 1 did best, "
        "no better than the settings it started from."
    )
    scales = [trial(0.9, 0.3), trial(0.8, 0.6)]
    assert choice.sentence(plan, 0.6, {}, scales) == (
        "Of 2 candidates measured on development texts, scale 0.6 did best."
    )
    points = [trial(0.9, 1.0, **{name.replace(".", "_"): value for name, value in SOUP.items()})] * 9
    assert choice.sentence(soup, 1.0, SOUP, points) == (
        "Of its 5 experts, the average of energy and power did best on development texts (9 candidates)."
    )
    alone = SOUP | {"weight.energy": 0.0}
    assert choice.sentence(soup, 1.0, alone, points) == (
        "No average did better on development texts than power alone (9 candidates)."
    )
    assert choice.sentence(plan, 0.6, {}, []) is None


def test_settings_in_words(plan: Any, tuned: Any, soup: Any) -> None:
    """What was chosen wins over what was planned; a soup is its experts."""
    given = tuned.model_copy(update={"parameters": {"density": 0.5, "normalize": False}})
    best = {"density": 0.31, "weight.power": 1.25}
    assert choice.settings(given, 1.4, best) == "scale 1.4, density 0.31, normalize false, weight of power 1.25"
    assert choice.settings(plan, 0.6, {}) == "scale 0.6"
    assert choice.settings(soup, 1.0, SOUP) == "energy and power out of 5 experts"


def test_what_a_plan_will_search(plan: Any, tuned: Any, soup: Any) -> None:
    """Lines for `cogen plan`."""
    assert choice.planned(plan) == ["scale: searched over 0.3, 0.45, 0.6, 0.8, 1 on the dev splits"]
    given = tuned.model_copy(update={"parameters": {"density": 0.5, "normalize": False}})
    assert choice.planned(given) == [
        "scale: 1.4",
        "normalize: false",
        "search: 4 evaluations on the dev splits tune density from 0 to 1 and weight of power from 0 to 2",
    ]
    scale = plan.model_copy(update={"search": 6, "space": {"scale": (0.0, 0.4)}})
    assert choice.planned(scale) == ["search: 6 evaluations on the dev splits tune scale from 0 to 0.4"]
    assert choice.planned(soup) == ["search: at most 9 evaluations on the dev splits choose among the experts"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.25, "0.25"),
        (2.0, "2"),
        (True, "true"),
        (False, "false"),
        ("paper", "paper"),
        ((0.3, 0.7), "[0.3, 0.7]"),
        ((Conditional(value=0.3, filter="mlp"), Conditional(value=(0.1, 0.2))), "0.3 for mlp; [0.1, 0.2] else"),
    ],
)
def test_values_in_words(value: Any, text: str) -> None:
    """Numbers, switches, words, gradients, conditions."""
    assert choice.setting(value) == text


def test_the_weight_that_an_expert_had(plan: Any) -> None:
    """Tuned or planned; with the parameters that are its own."""
    expert = plan.experts[0].model_copy(update={"weight": (0.5, 1.5), "parameters": {"density": 0.2}})
    assert choice.weight(expert, {}) == "[0.5, 1.5]; density 0.2"
    assert choice.weight(expert, {f"weight.{expert.id}": 0.75}) == "0.75; density 0.2"
