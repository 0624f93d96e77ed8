"""The cover over optuna, on functions whose minimum is known."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from cogen.fusion.merge.optimiser import Optimiser

Point = dict[str, float]
SPACE = {"density": (0.1, 1.0), "scale": (0.0, 2.0)}
FIRST = {"density": 0.5, "scale": 1.0}


def bowl(point: Point) -> float:
    """Its minimum is -1 at density 0.8, scale 0.3."""
    return -math.exp(-2 * (point["density"] - 0.8) ** 2 - (point["scale"] - 0.3) ** 2)


def run(
    function: Callable[[Point], float | None], budget: int, space: Any = SPACE, first: Any = FIRST
) -> list[tuple[Point, float | None]]:
    """The points that were asked for, and their values."""
    optimiser, found = Optimiser(space, first), []
    for _ in range(budget):
        point = optimiser.ask()
        found.append((point, function(point)))
        optimiser.tell(found[-1][1])
    return found


def test_it_starts_where_it_is_told_to() -> None:
    """To the last bit; every other point lies in the space and has four digits, or is an end of it."""
    third = 1 / 3
    found = run(lambda point: point["scale"], 8, {"scale": (0.0, third)}, {"scale": third / 2})
    assert found[0][0] == {"scale": third / 2}
    for point, _ in found[1:]:
        assert 0.0 <= point["scale"] <= third
        assert point["scale"] in (float(f"{point['scale']:.4g}"), third)


def test_it_finds_the_minimum_of_a_bowl() -> None:
    """Within 16 evaluations of two numbers; far nearer than the best of 16 random points."""
    found = min(value for _, value in run(bowl, 16))
    draw = random.Random(0)
    luck = min(bowl({name: draw.uniform(*ends) for name, ends in SPACE.items()}) for _ in range(16))
    assert found + 1 < 1e-3
    assert found + 1 < (luck + 1) / 5


def test_the_same_answers_give_the_same_questions() -> None:
    """Bit for bit, and a larger budget goes on where a smaller one ended."""
    long = run(bowl, 9)
    assert run(bowl, 9) == long
    assert run(bowl, 5) == long[:5]


@pytest.mark.parametrize("first", [{"density": 0.2, "scale": 0.4}, {"density": 0.45, "scale": 0.1}])
def test_what_cannot_be_evaluated_is_avoided(first: Point) -> None:
    """Even where everything points to it: most of the budget goes to what can be, and no failure is asked for twice."""

    def half(point: Point) -> float | None:
        return None if point["density"] > 0.5 else (point["density"] - 0.9) ** 2 + (point["scale"] - 0.6) ** 2

    found = run(half, 16, first=first)
    failed = [tuple(point.values()) for point, value in found if value is None]
    assert len(failed) == len(set(failed)) <= 10
    assert min(value for _, value in found if value is not None) < 0.7 * (found[0][1] or 0)


def test_a_first_point_that_fails() -> None:
    """The minimum of the rest is found all the same."""
    found = run(lambda p: None if p["scale"] > 1.5 else bowl(p), 16, first={"density": 0.9, "scale": 1.9})
    assert found[0][1] is None
    assert min(value for _, value in found if value is not None) + 1 < 1e-2


def test_nothing_but_failures() -> None:
    """Goes on asking, in the space."""
    found = run(lambda _: None, 6)
    assert len({tuple(point.values()) for point, _ in found}) == 6
    assert all(low <= point[name] <= high for point, _ in found for name, (low, high) in SPACE.items())


def test_it_keeps_quiet(capfd: pytest.CaptureFixture[str]) -> None:
    """optuna says nothing on our behalf, and neither its own verbosity nor the filter of warnings is changed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.INFO)
    before = list(warnings.filters)
    run(bowl, 5)
    assert capfd.readouterr() == ("", "")
    assert optuna.logging.get_verbosity() == optuna.logging.INFO
    assert warnings.filters == before
