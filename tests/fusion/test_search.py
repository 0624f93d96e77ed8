"""Searches on tiny models: what is measured, what is chosen, and that the choice can be built again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.runs import carry_out, execute_plan

from cogen.artifacts.lock import read_lock
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion import build as build_module
from cogen.fusion.build import merge_job
from cogen.fusion.merge import measure
from cogen.fusion.merge import search as module
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.measure import Trial
from cogen.fusion.merge.search import ChosenSettings, search
from cogen.fusion.merge.space import SearchSpace
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.merging.methods.greedy_soup import greedy
from cogen.runs.replay import recipe_of

TIES = FuseRecipe(method="ties", search=5, space={"density": (0.1, 1.0), "weight.e1": (0.0, 2.0)})


@pytest.fixture
def machine(world: Any, host: Any) -> Any:
    return host(*(world.expert(f"e{i}", i) for i in (1, 2, 3)))


def run(machine: Any, recipe: FuseRecipe) -> tuple[ChosenSettings, list[Trial]]:
    plan, inputs = make_plan(machine, recipe)
    job = merge_job(plan, inputs, find_method(machine, plan.method))
    return search(SearchSpace(plan.scales, plan.search, plan.space), job, build_module.candidates_of(plan, inputs, job))


def measured(machine: Any, plan: Any, inputs: Any, parameters: dict[str, float]) -> dict[str, float]:
    """One candidate of a plan."""
    job = merge_job(plan, inputs, find_method(machine, plan.method))
    return dict(build_module.candidates_of(plan, inputs, job)(parameters))


def build(machine: Any, recipe: FuseRecipe, output: Path, **options: Any) -> Any:
    return carry_out(machine, recipe, output, **options)


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, float]]]:
    """``pretend(f)``: a candidate is worth f(parameters) on one suite; gives the list of those asked for."""

    def install(function: Callable[[dict[str, float]], float]) -> list[dict[str, float]]:
        asked: list[dict[str, float]] = []

        def stand_in(job: Any, evaluation: Any, key: str, parameters: dict[str, float], reporter: Any) -> Any:
            asked.append(dict(parameters))
            return {"e1/heldout": function(parameters)}

        monkeypatch.setattr(build_module, "measure_candidate", stand_in)
        return asked

    return install


class TestTuning:
    """``--search N``: an optimiser over the method's parameters."""

    def test_on_a_real_model(self, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Exactly the budget; starts at the defaults and is never worse; only dev splits of the experts are read."""
        parts = []
        real = measure.run_suites

        def watched(load: Any, tokenizer: Any, suites: Any, **options: Any) -> Any:
            parts.append((options["split"], options["level"], [suite.name for suite in suites]))
            return real(load, tokenizer, suites, **options)

        monkeypatch.setattr(measure, "run_suites", watched)
        choice, trials = run(machine, TIES)
        assert parts == [("dev", "quick", ["e1/heldout", "e2/heldout", "e3/heldout"])] * 5
        assert len(trials) == 5
        assert trials[0].parameters == {"density": 0.5, "weight.e1": 1.0}
        assert {trial.scale for trial in trials} == {1.4}  # the middle of those that would have been tried
        for trial in trials:
            figures = trial.bits_per_byte.values()
            assert trial.objective == pytest.approx(sum(map(math.log, figures)) / 3, rel=1e-12)
        best = min(trials, key=lambda trial: trial.objective or math.inf)
        assert choice == ChosenSettings(best.scale, best.parameters)
        assert best.objective < trials[0].objective
        plan, inputs = make_plan(machine, TIES)
        again = measured(machine, plan, inputs, {"scale": 1.4, **best.parameters})
        assert again == best.bits_per_byte

    def test_is_deterministic_and_remembers(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same trials with an empty cache; with a full one only what is new is merged and measured."""
        written = []
        real = measure.write_candidate
        monkeypatch.setattr(measure, "write_candidate", lambda *given: written.append(1) or real(*given))
        first = run(machine, TIES)
        assert len(written) == 5
        assert run(machine, TIES) == first
        assert len(written) == 5
        longer = run(machine, TIES.model_copy(update={"search": 7}))
        assert longer[1][:5] == first[1]
        assert len(written) == 7
        monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "another"))
        assert run(machine, TIES) == first
        assert len(written) == 12

    @pytest.mark.parametrize("budget", [1, 2, 7])
    def test_the_budget_is_kept(self, machine: Any, pretend: Any, budget: int) -> None:
        """Never one more; with a budget of one the defaults are taken."""
        asked = pretend(lambda point: 1 + (point["scale"] - 0.1) ** 2)
        choice, trials = run(machine, FuseRecipe(search=budget))
        assert len(asked) == len(trials) == budget
        assert asked[0] == {"scale": 0.467}
        assert choice.scale == min(asked, key=lambda point: (point["scale"] - 0.1) ** 2)["scale"]

    def test_candidates_that_fail(self, machine: Any, pretend: Any) -> None:
        """A value that the method refuses, a division by zero and figures that are no numbers: kept, never chosen."""

        def broken(point: dict[str, float]) -> float:
            number = len(asked)
            if number == 2:
                raise UsageError("too dense", hint="thin it")
            if number == 3:
                raise ZeroDivisionError("float division by zero")
            return {4: math.nan, 5: math.inf, 6: 0.0, 7: -1.0}.get(number, 2.0 + point["scale"])

        asked = pretend(broken)
        choice, trials = run(machine, FuseRecipe(search=8))
        assert [trial.failure for trial in trials] == [
            "",
            "too dense",
            "float division by zero",
            *["no finite bits per byte on e1/heldout"] * 4,
            "",
        ]
        assert all((trial.objective is None) == bool(trial.failure) for trial in trials)
        assert all(not trial.bits_per_byte for trial in trials if trial.failure)
        assert choice.scale == min(trials[0].scale, trials[7].scale)

    def test_a_composite_of_infinities(self, machine: Any) -> None:
        """On a real model: what overflows has no figures, and the default stays."""
        choice, trials = run(machine, FuseRecipe(search=3, space={"scale": (0.0, 1e38)}))
        assert choice == ChosenSettings(0.467)
        assert [bool(trial.failure) for trial in trials] == [False, True, True]

    def test_weights_that_sum_to_zero(self, machine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """No average can be made of nothing: the real method says so, the search goes on."""
        ids = ("e1", "e2", "e3")
        monkeypatch.setattr(module.Optimiser, "ask", lambda self: {f"weight.{id}": float(next(numbers)) for id in ids})
        monkeypatch.setattr(module.Optimiser, "tell", lambda self, value: None)
        numbers = iter([1, 1, 1, 0, 0, 0])
        _, trials = run(machine, FuseRecipe(method="linear", search=2, space={f"weight.{id}": (0, 2) for id in ids}))
        assert [bool(trial.failure) for trial in trials] == [False, True]

    def test_nothing_can_be_measured(self, machine: Any, pretend: Any) -> None:
        """An error with the first reason."""
        pretend(lambda point: math.nan)
        with pytest.raises(CompatibilityError, match="none of 3 candidates can be measured: no finite") as caught:
            run(machine, FuseRecipe(search=3))
        assert "--tune" in str(caught.value.hint)

    def test_other_errors_are_not_swallowed(self, machine: Any, pretend: Any) -> None:
        """A full disk is not a bad candidate."""

        def full(point: dict[str, float]) -> float:
            raise OSError(28, "No space left on device")

        pretend(full)
        with pytest.raises(OSError, match="No space left"):
            run(machine, FuseRecipe(search=3))


class TestGrid:
    """Without a budget: the scales of the plan."""

    def test_the_smallest_among_equals(self, machine: Any, pretend: Any) -> None:
        """All of them are tried, in order."""
        asked = pretend(lambda point: 1.0 if point["scale"] > 0.3 else 2.0)
        choice, trials = run(machine, FuseRecipe(scale=(0.9, 0.3, 0.6)))
        assert asked == [{"scale": 0.3}, {"scale": 0.6}, {"scale": 0.9}]
        assert choice == ChosenSettings(0.6)
        assert [trial.scale for trial in trials] == [0.3, 0.6, 0.9]

    def test_one_scale_is_no_search(self, machine: Any, pretend: Any) -> None:
        """Nothing is measured."""
        asked = pretend(lambda point: 1.0)
        assert run(machine, FuseRecipe(scale=0.7)) == (ChosenSettings(0.7), [])
        assert asked == []


def by_hand(ids: Sequence[str], loss: Callable[[frozenset[str]], float]) -> set[str]:
    """Recipe 1 of arXiv:2203.05482, written down once more."""
    ranked = sorted(ids, key=lambda id: (loss(frozenset([id])), ids.index(id)))
    ingredients: set[str] = set()
    for id in ranked:
        if not ingredients or loss(frozenset(ingredients | {id})) <= loss(frozenset(ingredients)):
            ingredients = ingredients | {id}
    return ingredients


class TestGreedySoup:
    """The method ``greedy_soup``: experts join while the average gets no worse."""

    @settings(deadline=None, max_examples=60)
    @given(st.integers(1, 6), st.randoms(use_true_random=False))
    def test_equals_the_recipe(self, count: int, draw: Any) -> None:
        """On any table of losses; at most 2N - 1 evaluations, and never worse than the best one alone."""
        ids = [f"e{i}" for i in range(count)]
        table: dict[frozenset[str], float] = {}

        def loss(soup: Any) -> float:
            return table.setdefault(frozenset(soup), draw.choice([1.0, 2.0, 3.0, draw.random() * 4]))

        asked: list[tuple[str, ...]] = []
        soup = greedy(ids, lambda given: asked.append(given) or loss(given))
        assert len(asked) == len(set(asked)) == 2 * count - 1
        assert set(soup) == by_hand(ids, loss)
        assert loss(soup) <= min(loss([id]) for id in ids)

    def test_what_cannot_be_measured_stays_out(self) -> None:
        """Alone or in company; nothing at all gives an empty soup."""
        values = {("a",): 3.0, ("c",): 2.0, ("c", "a"): None}
        assert greedy("abc", values.get) == ("c",)
        assert greedy("ab", lambda _: None) == ()

    def test_on_a_real_model(self, machine: Any, tmp_path: Path) -> None:
        """The same as by hand with `linear`, and its bits are those of `linear` on the experts that were kept."""
        outcome = build(machine, FuseRecipe(method="greedy_soup"), tmp_path / "soup")
        plan, inputs = make_plan(machine, FuseRecipe(method="linear", scale=1.0))
        ids = [expert.id for expert in plan.experts]

        def loss(soup: frozenset[str]) -> float:
            weights = {f"weight.{id}": float(id in soup) for id in ids}
            figures = measured(machine, plan, inputs, {"scale": 1.0, **weights})
            return math.fsum(map(math.log, figures.values())) / 3

        kept = by_hand(ids, loss)
        assert 1 < len(kept) < 3  # otherwise this world says nothing
        assert outcome.parameters == {f"weight.{id}": float(id in kept) for id in ids}
        assert len(outcome.trials) == 5
        assert min(trial.objective for trial in outcome.trials) == pytest.approx(loss(frozenset(kept)), rel=1e-12)
        chosen = FuseRecipe(method="linear", experts=dict.fromkeys(sorted(kept), 1.0), scale=1.0, level="none")
        build(machine, chosen, tmp_path / "linear")
        assert bits(tmp_path / "soup") == bits(tmp_path / "linear")

    def test_one_expert_is_no_search(self, world: Any, host: Any, tmp_path: Path) -> None:
        """It is the soup, at any level."""
        outcome = build(host(world.expert("e1", 1)), FuseRecipe(method="greedy_soup", level="none"), tmp_path / "out")
        assert (outcome.trials, outcome.parameters) == ([], {})


class TestReplay:
    """A lock holds the choice: the same bits, and nothing is searched again."""

    @pytest.mark.parametrize(
        "recipe", [TIES.model_copy(update={"search": 3}), FuseRecipe(method="greedy_soup"), FuseRecipe(search=3)]
    )
    @pytest.mark.parametrize("level", ["quick", "none"])
    def test_a_searched_composite(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recipe: FuseRecipe, level: Any
    ) -> None:
        """Of parameters and weights, of experts, of the scale alone; with or without measuring it again."""
        first = build(machine, recipe, tmp_path / "out")
        lock = read_lock(tmp_path / "out")
        assert (lock.scale, lock.parameters) == (first.scale, first.parameters)
        assert len(lock.trials) == lock.plan.evaluations > 1

        def refused(*_: Any) -> Any:
            raise AssertionError("a replay measured a candidate")

        monkeypatch.setattr(build_module, "measure_candidate", refused)
        plan, inputs = make_plan(
            machine, recipe_of(lock.plan, scale=lock.scale, parameters=lock.parameters, level=level)
        )
        assert plan.evaluations == 0
        made = lock.plan.model_copy(update={"level": plan.level, "suites": plan.suites})
        again = execute_plan(machine, made, inputs, tmp_path / "again", replay=lock)
        assert bits(tmp_path / "again") == bits(tmp_path / "out")
        assert (again.scale, again.parameters, again.trials) == (first.scale, first.parameters, first.trials)
        assert read_lock(tmp_path / "again").parameters == lock.parameters

    def test_the_recipe_of_a_lock_builds_it_too(self, machine: Any, tmp_path: Path) -> None:
        """Without the lock: what was chosen, written down as wishes."""
        for name, recipe in {"ties": TIES, "soup": FuseRecipe(method="greedy_soup")}.items():
            build(machine, recipe, tmp_path / name)
            lock = read_lock(tmp_path / name)
            wanted = recipe_of(lock.plan, scale=lock.scale, parameters=lock.parameters, level="none")
            build(machine, wanted, tmp_path / f"{name}-again")
            assert bits(tmp_path / f"{name}-again") == bits(tmp_path / name)
