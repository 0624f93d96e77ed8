"""What a search looks at: the scales to try, the parameters to tune, and the budget."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from inspect import Parameter

from cogen.errors import UsageError
from cogen.fusion.recipe import TOTALS, FuseRecipe
from cogen.host import Expert
from cogen.merging.method import Method
from cogen.merging.parameters import Conditional, Setting

Bounds = tuple[float, float]


@dataclass(frozen=True)
class SearchSpace:
    """The fields ``scales``, ``search`` and ``space`` of a plan."""

    scales: tuple[float, ...]
    search: int = 0
    space: dict[str, Bounds] = field(default_factory=dict)

    @property
    def evaluations(self) -> int:
        """As :attr:`cogen.fusion.plan.Plan.evaluations`."""
        return self.search or (len(self.scales) if len(self.scales) > 1 else 0)


def search_space(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> SearchSpace:
    """What the recipe leaves open.

    :raises UsageError: a search that is impossible, or that would look at nothing.
    """
    scales = _scales(chosen, recipe, method)
    if method.selects:
        return SearchSpace(scales, _selection(chosen, recipe, method))
    if not recipe.search:
        if recipe.space:
            raise UsageError("a space without a budget is never searched", hint="add --search 20, or search = 20")
        if recipe.level == "none" and len(scales) > 1:
            raise UsageError(
                "without an evaluation the scale cannot be searched for", hint="give one scale, e.g. --scale 0.3"
            )
        return SearchSpace(scales)
    if recipe.level == "none":
        raise UsageError("without an evaluation nothing can be searched for", hint="leave out --level none")
    space = _space(chosen, recipe, method, scales)
    # A scale that is not tuned is the middle one of those that would have been tried.
    return SearchSpace(scales if "scale" in space else (scales[len(scales) // 2],), recipe.search, space)


def _scales(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> tuple[float, ...]:
    """The values of the scale to try, smallest first; one value is no search.

    A method that adds differences up has as scale the wanted sum divided by the sum of the weights; one that averages
    them takes the sum as it is.
    """
    if "scale" not in method.parameters:
        if recipe.scale not in (None, 1.0):
            raise UsageError(f"method {recipe.method} takes no scale", hint="leave --scale out")
        return (1.0,)
    if recipe.scale is None:
        share = _sum(chosen, recipe) if method.adds else 1.0
        totals = TOTALS if measurable(chosen) else (TOTALS[len(TOTALS) // 2],)  # nothing to compare candidates on
        # One expert alone: its weight is what it says.
        scales = (1.0,) if len(chosen) == 1 else tuple(float(f"{total / share:.3g}") for total in totals)
    else:
        scales = (recipe.scale,) if isinstance(recipe.scale, float) else tuple(sorted(set(recipe.scale)))
    if not scales:
        raise UsageError("the list of scales is empty", hint="leave it out, or name at least one")
    return scales


def measurable(chosen: Sequence[Expert]) -> bool:
    """Has any of these experts a suite that candidates can be measured on here? Private ones are not such."""
    return any(suite.metric == "bits_per_byte" for expert in chosen for suite in expert.spec.suites)


def _selection(chosen: Sequence[Expert], recipe: FuseRecipe, method: Method) -> int:
    """Evaluations of a method that chooses among the experts: each alone, and each but the best with others."""
    if recipe.search or recipe.space:
        raise UsageError(
            f"method {method.name} chooses experts and has nothing to tune", hint="leave --search and --tune out"
        )
    weighted = sorted(expert.id for expert in chosen if recipe.options(expert.id).weight != 1.0)
    if weighted:
        raise UsageError(
            f"method {method.name} gives every expert the same weight, but {weighted[0]} has its own",
            hint="leave the weights out, or use --method linear",
        )
    if len(chosen) == 1:
        return 0
    if recipe.level == "none":
        raise UsageError(
            f"without an evaluation method {method.name} cannot choose experts",
            hint="leave out --level none, or use --method linear",
        )
    return 2 * len(chosen) - 1


def _space(
    chosen: Sequence[Expert], recipe: FuseRecipe, method: Method, scales: tuple[float, ...]
) -> dict[str, Bounds]:
    """The recipe's space, or the method's parameters that the recipe leaves open."""
    listed = isinstance(recipe.scale, tuple) and len(scales) > 1
    own = {name for expert in chosen for name in recipe.options(expert.id).parameters}
    space = dict(recipe.space)
    if not space:
        fixed = set(recipe.parameters) | own | ({"scale"} if recipe.scale is not None else set())
        space = {name: bounds for name, bounds in method.space.items() if name not in fixed}
        if "scale" in space and method.adds:
            total = _sum(chosen, recipe)
            space["scale"] = (space["scale"][0] / total, space["scale"][1] / total)
    if listed:
        space.setdefault("scale", (scales[0], scales[-1]))
    _check_bounds(space, chosen, recipe, method, own)
    if not space:
        raise UsageError(
            f"method {method.name} has nothing left to tune",
            hint=f"name something, e.g. --tune weight.{chosen[0].id}=0:2",
        )
    return dict(sorted(space.items()))


def _check_bounds(
    space: Mapping[str, Bounds], chosen: Sequence[Expert], recipe: FuseRecipe, method: Method, own: set[str]
) -> None:
    """What cannot be tuned, or has a value outside the bounds that it is to be tuned in."""
    weights = {f"weight.{expert.id}": recipe.options(expert.id).weight for expert in chosen}
    numbers = {n for n, d in method.parameters.items() if n in method.space or d is Parameter.empty or type(d) is float}
    given: dict[str, Setting] = {**recipe.parameters}
    given |= {name: weight for name, weight in weights.items() if weight != 1.0}
    if isinstance(recipe.scale, float):
        given["scale"] = recipe.scale
    for name, (low, high) in space.items():
        if name not in numbers and name not in weights:
            listed = ", ".join([*sorted(numbers), *sorted(weights)])
            raise UsageError(f"a search cannot tune {name!r}", hint=f"it can tune {listed}")
        if not low < high:
            raise UsageError(f"the space of {name} is empty: {low:g} to {high:g}", hint="give the lower value first")
        if name in own:
            raise UsageError(f"{name} is each expert's own, so it cannot be tuned for all", hint=f"leave {name} out")
        value = given.get(name, low)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{name} differs by tensor, so it cannot be tuned", hint=f"leave {name} out")
        if not low <= value <= high:
            raise UsageError(
                f"{name} is {value:g}, which is not between {low:g} and {high:g}",
                hint="the search starts at the value that you give: leave it out, or widen the space",
            )


def _sum(chosen: Sequence[Expert], recipe: FuseRecipe) -> float:
    return math.fsum(_number(recipe.options(expert.id).weight) for expert in chosen)


def _number(weight: Setting) -> float:
    """A weight as one number, where it differs by tensor: the mean of its values."""
    if not isinstance(weight, (list, tuple)):
        return float(weight)
    values = [_number(item.value if isinstance(item, Conditional) else item) for item in weight]
    return math.fsum(values) / len(values)
