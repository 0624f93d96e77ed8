"""What a search looks at: what the recipe leaves open, and what is refused before anything is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from cogen.errors import SpecError, UsageError
from cogen.fusion.build import merge_job
from cogen.fusion.merge.lookup import find_method
from cogen.fusion.merge.search import first_point
from cogen.fusion.merge.space import SearchSpace
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import TOTALS, ExpertOptions, FuseRecipe, mistake, read_fuse_recipe
from cogen.runs.replay import recipe_of

PER_LAYER = ExpertOptions(weight=(0.5, 1.5))
RECIPES = {
    "defaults": {"search": 7},
    "defaults of ties": {"search": 7, "method": "ties"},
    "one parameter": {"search": 7, "method": "ties", "space": {"density": (0.2, 0.9)}},
    "weights": {"search": 7, "space": {"weight.e1": (0.0, 2.0), "weight.e2": (0.0, 2.0)}},
    "a start": {"search": 7, "method": "ties", "parameters": {"density": 0.3}, "space": {"density": (0.2, 0.9)}},
    "a fixed scale": {"search": 7, "method": "ties", "scale": 0.6},
    "a range of scales": {"search": 7, "scale": (0.2, 0.3, 0.8)},
    "greedy soup": {"method": "greedy_soup"},
}


@pytest.fixture
def machine(world: Any, host: Any) -> Any:
    return host(world.expert("e1", 1), world.expert("e2", 2))


def started(machine: Any, plan: Any, inputs: Any) -> dict[str, float]:
    """Where tuning starts."""
    job = merge_job(plan, inputs, find_method(machine, plan.method))
    return first_point(SearchSpace(plan.scales, plan.search, plan.space), job)


class TestSpace:
    """``search`` with ``space``, or with the method's own."""

    def test_the_methods_own(self, machine: Any) -> None:
        """All that it names and the recipe leaves open; a scale of sums is shared by the weights."""
        ties = find_method(machine, "ties").space
        plan, _ = make_plan(machine, FuseRecipe(search=7, method="ties"))
        assert plan.space == dict(sorted(ties.items()))
        assert (plan.search, plan.scales, plan.evaluations) == (7, TOTALS, 7)
        plan, _ = make_plan(machine, FuseRecipe(search=7, method="ties", parameters={"density": 0.4}))
        assert set(plan.space) == set(ties) - {"density"}
        plan, _ = make_plan(machine, FuseRecipe(search=7, method="ties", scale=0.6))
        assert (set(plan.space), plan.scales) == (set(ties) - {"scale"}, (0.6,))
        plan, _ = make_plan(machine, FuseRecipe(search=7, experts={"e1": 1.0, "e2": 3.0}))
        assert plan.space == {"scale": (0.0, 0.5)}
        plan, _ = make_plan(machine, FuseRecipe(search=7, experts={"e2": 1.0}))
        assert (plan.space, plan.scales) == ({"scale": (0.0, 2.0)}, (1.0,))

    def test_the_recipes(self, machine: Any) -> None:
        """As it stands. A scale that is left out is the middle one; a list of scales is a range."""
        space = {"weight.e2": (0.0, 2.0), "density": (0.2, 0.9)}
        plan, _ = make_plan(machine, FuseRecipe(search=7, method="ties", space=space))
        assert plan.space == space
        assert list(plan.space) == ["density", "weight.e2"]
        assert plan.scales == (1.4,)
        plan, _ = make_plan(machine, FuseRecipe(search=7, method="ties", space=space, scale=(0.9, 0.2, 0.3)))
        assert plan.space == {**space, "scale": (0.2, 0.9)}
        assert plan.scales == (0.2, 0.3, 0.9)

    @pytest.mark.parametrize(
        ("name", "start"),
        [
            ("defaults", {"scale": 0.7}),
            ("one parameter", {"density": 0.5}),
            ("weights", {"weight.e1": 1.0, "weight.e2": 1.0}),
            ("a start", {"density": 0.3}),
            ("a range of scales", {"scale": 0.3}),
        ],
    )
    def test_where_it_starts(self, machine: Any, name: str, start: dict[str, float]) -> None:
        """At what is given, else where a fusion without a search would be."""
        plan, inputs = make_plan(machine, FuseRecipe(**RECIPES[name]))
        assert started(machine, plan, inputs) == start

    def test_it_starts_within_the_space(self, machine: Any) -> None:
        """A default outside is moved to the nearest end; a parameter without one starts in the middle."""
        plan, inputs = make_plan(machine, FuseRecipe(search=7, method="ties", space={"density": (0.6, 0.9)}))
        assert started(machine, plan, inputs) == {"density": 0.6}
        plan, inputs = make_plan(machine, FuseRecipe(search=7, method="slerp", space={"t": (0.2, 0.4)}))
        assert started(machine, plan, inputs) == {"t": pytest.approx(0.3)}

    @pytest.mark.parametrize("name", RECIPES)
    def test_round_trip(self, machine: Any, name: str) -> None:
        """The wishes of a plan give the plan again."""
        plan, _ = make_plan(machine, FuseRecipe(**RECIPES[name]))
        assert make_plan(machine, recipe_of(plan))[0] == plan
        assert plan.evaluations == {"greedy soup": 3}.get(name, 7)

    @pytest.mark.parametrize("name", RECIPES)
    def test_the_costs_count_every_evaluation(self, machine: Any, name: str) -> None:
        """Tokens of the dev splits, once a candidate; room for one candidate on the disk."""
        plan, inputs = make_plan(machine, FuseRecipe(**RECIPES[name]))
        assert plan.cost.search_tokens == plan.evaluations * sum(suite.dev_tokens for suite in plan.suites)
        touched = sum(info.stop - info.start for name, info in inputs.base.tensors.items() if ".mlp." in name)
        assert plan.cost.scratch_bytes == touched

    def test_budget_and_space_are_part_of_what_is_planned(self, machine: Any) -> None:
        """Another budget or another space is another plan."""
        digests = {make_plan(machine, FuseRecipe(**RECIPES[name]))[0].inputs_digest for name in RECIPES}
        digests |= {make_plan(machine, FuseRecipe(search=8))[0].inputs_digest}
        assert len(digests) == len(RECIPES) + 1


REFUSED: dict[str, tuple[dict[str, Any], str, str]] = {
    "no budget": ({"space": {"scale": (0, 1)}}, "without a budget", "--search 20"),
    "nothing to measure": ({"search": 5, "level": "none"}, "without an evaluation", "leave out --level none"),
    "unknown": ({"search": 5, "space": {"k": (0, 1)}}, "cannot tune 'k'", "it can tune scale, weight.e1, weight.e2"),
    "another expert": ({"search": 5, "space": {"weight.e9": (0, 1)}}, "cannot tune 'weight.e9'", "weight.e1"),
    "a switch": ({"search": 5, "space": {"normalize": (0, 1)}}, "cannot tune 'normalize'", "scale"),
    "empty": ({"search": 5, "space": {"scale": (0.5, 0.5)}}, "is empty: 0.5 to 0.5", "lower value first"),
    "turned": ({"search": 5, "space": {"scale": (0.9, 0.5)}}, "is empty: 0.9 to 0.5", "lower value first"),
    "outside": (
        {"search": 5, "method": "ties", "parameters": {"density": 0.1}, "space": {"density": (0.2, 0.9)}},
        "density is 0.1, which is not between 0.2 and 0.9",
        "starts at the value that you give",
    ),
    "scale outside": ({"search": 5, "scale": 3.0, "space": {"scale": (0, 1)}}, "scale is 3, which is not", "widen"),
    "weight outside": (
        {"search": 5, "experts": {"e1": 5.0, "e2": 1.0}, "space": {"weight.e1": (0, 2)}},
        "weight.e1 is 5, which is not between 0 and 2",
        "widen",
    ),
    "by layer": (
        {"search": 5, "experts": {"e1": PER_LAYER, "e2": 1.0}, "space": {"weight.e1": (0, 2)}},
        "weight.e1 differs by tensor",
        "leave weight.e1 out",
    ),
    "each expert's own": (
        {
            "search": 5,
            "method": "ties",
            "experts": {
                "e1": ExpertOptions(parameters={"density": 0.2}),
                "e2": ExpertOptions(parameters={"density": 0.3}),
            },
            "space": {"density": (0.1, 0.9)},
        },
        "density is each expert's own",
        "leave density out",
    ),
    "nothing left": ({"search": 5, "scale": 0.5}, "nothing left to tune", "--tune weight.e1=0:2"),
    "soup with a budget": ({"search": 5, "method": "greedy_soup"}, "chooses experts", "leave --search"),
    "soup with a space": ({"space": {"weight.e1": (0, 1)}, "method": "greedy_soup"}, "chooses experts", "--tune"),
    "soup with weights": (
        {"experts": {"e1": 2.0, "e2": 1.0}, "method": "greedy_soup"},
        "the same weight, but e1 has its own",
        "--method linear",
    ),
    "soup with a scale": ({"scale": 0.5, "method": "greedy_soup"}, "takes no scale", "leave --scale out"),
    "soup unmeasured": ({"level": "none", "method": "greedy_soup"}, "cannot choose experts", "leave out --level none"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_before_anything_is_opened(machine: Any, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Manifests and wishes alone decide; the hint names what would work."""

    def opened(*_: Any, **__: Any) -> Any:
        raise AssertionError("weights were opened")

    monkeypatch.setattr("cogen.fusion.merge.inputs.open_weights", opened)
    changes, message, hint = REFUSED[name]
    with pytest.raises(UsageError) as caught:
        make_plan(machine, FuseRecipe(**changes))
    assert message in caught.value.message
    assert hint in str(caught.value.hint)


def test_a_search_needs_a_suite(world: Any, host: Any) -> None:
    """Of bits per byte, and of an expert."""
    expert = world.expert("e1", 1)
    suites = [s.model_dump(mode="json") | {"metric": "acc"} for s in expert.spec.suites]
    others = host(world.expert("e1", 1, suites=suites), world.expert("e2", 2, suites=suites))
    for wanted in ({"search": 5}, {"method": "greedy_soup"}):
        with pytest.raises(UsageError, match="no expert has a bits-per-byte suite") as caught:
            make_plan(others, FuseRecipe(**wanted))
        assert caught.value.hint


class TestRecipe:
    """The same in ``recipe.toml``."""

    def test_search_space_and_experts_of_their_own(self, tmp_path: Path) -> None:
        """A weight with or without quotes, a gradient, conditions by name, and a plain number beside a table."""
        (tmp_path / "r.toml").write_text(
            'method = "ties"\nsearch = 20\n'
            '[space]\ndensity = [0.2, 0.9]\nweight.power = [0, 2]\n"weight.grid" = [0, 1]\n'
            "[experts]\ngrid = 2\n"
            "[experts.power]\nweight = [0.5, 1.5]\n"
            'parameters = {density = [{filter = "mlp", value = 0.3}, {value = 0.5}]}\n'
            "[parameters]\nnormalize = false\n"
        )
        recipe = read_fuse_recipe(tmp_path / "r.toml")
        assert recipe.search == 20
        assert recipe.space == {"density": (0.2, 0.9), "weight.power": (0.0, 2.0), "weight.grid": (0.0, 1.0)}
        assert recipe.options("grid") == ExpertOptions(weight=2.0)
        assert recipe.options("power").weight == (0.5, 1.5)
        first, second = recipe.options("power").parameters["density"]
        assert (first.filter, first.value, second.filter, second.value) == ("mlp", 0.3, None, 0.5)
        assert recipe.parameters == {"normalize": False}

    @pytest.mark.parametrize(
        ("text", "reported"),
        [
            ("search = -1", "search: Input should be greater than or equal to 0"),
            ("search = 2.5", "search: Input should be a valid integer"),
            ("[space]\nk = 1", "space.k: "),
            ("[space]\nk = [1]", "space.k.1: Field required"),
            ("[space]\nk = [0, inf]", "space.k.1: Input should be a finite number"),
            ("[experts.power]\nwieght = 1", "experts.power.wieght: Extra inputs are not permitted"),
            ("[experts.power]\nweight = 'much'", "experts.power.weight: a weight is a number"),
            ("[experts.power]\nweight = true", "experts.power.weight: a weight is a number"),
            ("[experts.power]\nweight = [1, nan]", "experts.power.weight.1: Input should be a finite number"),
            ("[experts]\npower = 0", "experts.power: Input should be greater than 0"),
            ("[parameters]\nk = nan", "parameters.k: Input should be a finite number"),
            ("[parameters]\nk = []", "parameters.k: an empty list gives no value"),
            ("[parameters]\nk = {a = 1}", "parameters.k: a value of this type is not possible here"),
            ("[parameters]\nk = [{filter = 'mlp', valu = 1}]", "parameters.k.0.value: Field required"),
        ],
    )
    def test_mistakes_name_their_place(self, tmp_path: Path, text: str, reported: str) -> None:
        """Where several types are possible, the message is about the one that was meant."""
        (tmp_path / "r.toml").write_text(text)
        with pytest.raises(SpecError) as caught:
            read_fuse_recipe(tmp_path / "r.toml")
        assert caught.value.message.startswith(f"r.toml: {reported}")
        assert caught.value.hint

    def test_the_same_words_for_the_command_line(self) -> None:
        """One function makes them."""
        with pytest.raises(ValidationError) as caught:
            FuseRecipe(scale="much")
        assert mistake(caught.value).startswith("scale: Input should be a valid number")
