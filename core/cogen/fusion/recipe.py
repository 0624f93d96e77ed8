"""The integrator's wishes: ``recipe.toml`` for ``cogen fuse``, or the options of its command line."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, ValidationError

from cogen.errors import SpecError
from cogen.spec.base import ExpertId, Frozen

Level = Literal["quick", "full", "none"]
#: Where the search for the scale looks, unless the recipe says otherwise: the sum of all experts' shares. At 1 the
#: composite is their average; differences of several experts add up where they agree and blur each other, so the
#: best sum lies above 1 and falls behind N.
TOTALS = (0.8, 1.1, 1.4, 1.8, 2.4)


class FuseRecipe(Frozen):
    """What to build. ``experts`` maps ids to weights; empty: every installed expert with weight 1.

    ``parameters`` are the method's; ``scale`` as a number fixes it, as a list it is searched over on the dev
    parts of the experts' suites. Left out, the planner makes the list; one expert alone is taken as it is.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    experts: dict[ExpertId, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    strategy: Literal["auto", "merge"] = "auto"
    method: str = "task_arithmetic"
    scale: float | tuple[float, ...] | None = None
    parameters: dict[str, float] = Field(default_factory=dict)
    level: Level = "quick"


def read_fuse_recipe(path: Path) -> FuseRecipe:
    """:raises SpecError: unreadable, no TOML, or a field that is wrong, named with its place."""
    try:
        return FuseRecipe.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint="see examples/ for a recipe") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SpecError(f"{path} is not TOML: {error}", hint="mend the line that it names") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{path.name}: {place}: {first['msg']}", hint="see examples/ for a recipe") from error
