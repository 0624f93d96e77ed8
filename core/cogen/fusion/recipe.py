"""The options of a fusion: ``recipe.toml`` for ``cogen fuse``, or the options of its command line."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, ConfigDict, Field, ValidationError, field_validator

from cogen.errors import SpecError
from cogen.fusion.distill.settings import Distillation
from cogen.merging.parameters import Conditional, Setting
from cogen.spec.base import Digest, ExpertId, Frozen
from cogen.untrusted.toml_text import read_toml

#: What pydantic calls the possible types of a field in the place of an error.
_TYPE = re.compile(r"(bool|float|str|constrained-float|ExpertOptions|literal\[.*|tuple\[.*|function-after\[.*)$")
Level = Literal["quick", "full", "none"]
Transplant = Literal["mean", "subword", "omp"]
#: How a mixture's routers are made: from token frequencies of the experts' samples, from states of the base on these
#: samples, from sentence embeddings of them, as the experts ship them, or by a short training.
Routing = Literal["prefix", "hidden", "embedding", "anchored", "trained"]
#: What experts are measured on: their own suites and general text, or every suite.
MatrixKind = Literal["own", "full"]
#: What a route is measured beside: nothing that runs all experts at once, the mean of their next-token probabilities,
#: or their mean weighted by what each expert's likelihood of the text before says.
EnsembleKind = Literal["none", "uniform", "posterior"]
#: What the first slot of a mixture with routing prefix holds.
PublicExpert = Literal["mean", "base"]
#: Where the search for the scale looks, unless the recipe says otherwise: the sum of all experts' shares. At 1 the
#: composite is their average; differences of several experts add up where they agree and blur each other, so the
#: best sum lies above 1 and falls behind N.
TOTALS = (0.8, 1.1, 1.4, 1.8, 2.4)


def _scalars(setting: Any) -> list[bool | float | str]:
    """Every single value of a setting."""
    if isinstance(setting, Conditional):
        return _scalars(setting.value)
    return [one for part in setting for one in _scalars(part)] if isinstance(setting, tuple) else [setting]


def _some(setting: Setting) -> Setting:
    if not _scalars(setting):
        raise ValueError("an empty list gives no value")
    return setting


def _numbers(setting: Setting) -> Setting:
    if any(isinstance(value, bool | str) for value in _scalars(_some(setting))):
        raise ValueError("a weight is a number")
    if any(abs(float(value)) > LARGEST for value in _scalars(setting)):
        raise ValueError(f"a weight is at most {LARGEST:,.0f}")
    return setting


#: Weights and scales beyond are mistakes: what they make of a model is beyond what its type can hold.
LARGEST = 1e6
_Scale = Annotated[float, Field(ge=-LARGEST, le=LARGEST)]


Parameters = dict[str, Annotated[Setting, AfterValidator(_some)]]


class ExpertOptions(Frozen):
    """What an expert has for itself: its weight, and parameters that the method takes for each expert."""

    model_config = ConfigDict(allow_inf_nan=False)

    weight: Annotated[Setting, AfterValidator(_numbers)] = 1.0
    parameters: Parameters = Field(default_factory=dict)


class FuseRecipe(Frozen):
    """What to build. ``experts`` maps ids to weights; empty: every installed expert with weight 1.

    ``parameters`` are the method's; ``scale`` as a number fixes it, as a list it is searched over on the dev
    splits of the experts' suites. Left out, the planner makes the list; one expert alone is taken as it is.
    ``search`` is a budget of evaluations: the method's parameters are tuned on the dev splits, within ``space``
    (parameter, or ``weight.ID`` → lowest and highest value; default: the method's own, for all that is not given).
    Tuning starts at what is given, or at the method's defaults.
    ``tokenizer`` says whose tokens the composite has, where those of the experts differ: every model's ("union"), the
    base's ("base") or those of an expert, by its id. Left out, all must have the base's. ``transplant`` is how a model
    gets an embedding for a token that it lacks: the mean of its own, the mean of those of the token's "subword"
    pieces, or a sparse combination ("omp", arXiv:2506.06607). ``chat_template``: the expert whose template is taken;
    left out, the one that comes with the tokenizer. ``generation_config``: the expert whose generation_config.json and
    tokens that begin, end and fill a text are taken; left out, the base's, or those that come with the tokenizer.

    ``matrix`` says what experts are measured on: their "own" suites and general text, so that the cost grows linearly
    with their number, or all suites ("full"). Base and composite are measured on all.

    ``ensemble`` is for the strategy route: which ensemble of all experts it is measured beside, and with "posterior"
    also answers by. Left out: "uniform" with a full matrix, else none, since every expert runs on every text.

    ``routing``, ``top_k`` and ``public`` are for the strategy moe: how its routers are made, how many experts work on a
    token, and whether the base's own feed-forward blocks are one of them. There ``method`` and ``scale`` are for what
    is not a feed-forward block, and default to the plain average. ``public_expert`` is for routing "prefix": whether
    general text is handled by the "mean" of the experts (the default) or by the "base", with which an expert can be
    removed by deletion. ``embedder`` is the sentence-embedding model of strategy route and of routing "embedding", a
    source and its file digest.

    ``distill`` is for the strategy of that name; there ``method`` is the loss, and ``parameters`` are the loss's.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    experts: dict[ExpertId, Annotated[float, Field(gt=0, le=LARGEST)] | ExpertOptions] = Field(default_factory=dict)
    strategy: str = "auto"
    method: str = "task_arithmetic"
    scale: _Scale | tuple[_Scale, ...] | None = None
    parameters: Parameters = Field(default_factory=dict)
    search: Annotated[int, Field(ge=0)] = 0
    space: dict[str, tuple[float, float]] = Field(default_factory=dict)
    level: Level = "quick"
    matrix: MatrixKind = "own"
    tokenizer: Literal["base", "union"] | ExpertId | None = None
    transplant: Transplant = "mean"
    chat_template: ExpertId | None = None
    generation_config: ExpertId | None = None
    routing: Routing | None = None
    top_k: Annotated[int, Field(ge=1)] | None = None
    public: bool = True
    public_expert: PublicExpert | None = None
    embedder: str | None = None
    embedder_digest: Digest | None = None
    ensemble: EnsembleKind | None = None
    distill: Distillation = Distillation()

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        """In TOML, an unquoted ``weight.power = [0, 2]`` is a table in a table."""
        if isinstance(space, Mapping) and isinstance(weights := space.get("weight"), Mapping):
            rest = {name: bounds for name, bounds in space.items() if name != "weight"}
            return rest | {f"weight.{id}": bounds for id, bounds in weights.items()}
        return space

    def options(self, id: str) -> ExpertOptions:
        """The options of one expert; weight 1 where the recipe gives none."""
        found = self.experts.get(id, 1.0)
        return found if isinstance(found, ExpertOptions) else ExpertOptions(weight=found)


def read_fuse_recipe(path: Path) -> FuseRecipe:
    """:raises SpecError: unreadable, no TOML, or a field that is wrong, named with its place."""
    try:
        return FuseRecipe.model_validate(read_toml(path))
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint="see examples/ for a recipe") from error
    except ValidationError as error:
        raise SpecError(f"{path.name}: {mistake(error)}", hint="see examples/ for a recipe") from error
    except ValueError as error:
        raise SpecError(str(error), hint="fix the line shown above") from error


def mistake(error: ValidationError) -> str:
    """The place in the recipe and what is wrong there, in one line.

    Where several types are possible, pydantic tells for each why it is not that one. What is wrong is what it says of
    the type that was meant: not that the type is another one, and as deep in the value as it came.
    """
    every = error.errors()
    if (wrong := _wrong_choice(every)) is not None:
        return wrong
    meant = [one for one in every if not one["type"].endswith("_type")]
    found = max(meant or every[:1], key=lambda one: len(one["loc"]))
    text = found["msg"] if meant or len(every) == 1 else "a value of this type is not possible here"
    # Parts such as `float` name a possible type, not a place.
    place = [part for part in found["loc"] if isinstance(part, int) or not _TYPE.match(part)]
    return f"{'.'.join(map(str, place))}: {text.removeprefix('Value error, ')}"


def _wrong_choice(errors: Sequence[Any]) -> str | None:
    """Of a field that takes one of several words: "unknown strategy 'foo'; one of merge, moe, …"; else ``None``."""
    literal = [one for one in errors if one["type"] == "literal_error" and isinstance(one["input"], str)]
    if not literal or len(literal) != len(errors):
        return None
    place = [part for part in literal[0]["loc"] if isinstance(part, int) or not _TYPE.match(part)]
    words = [word for one in reversed(literal) for word in re.findall(r"'([^']*)'", one["ctx"]["expected"])]
    kind = ".".join(map(str, place)).replace("_", " ")
    return f"unknown {kind} {literal[0]['input']!r}; one of {', '.join(dict.fromkeys(words))}"
