"""The methods that a recipe may name: mergekit's names, parameters and defaults, and the implementation of each.

The defaults are those of mergekit 0.1.5's registry. CoGen's own defaults differ, so every value is passed on.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cogen.errors import UsageError
from cogen.merging.mergekit.settings import Kind
from cogen.merging.method import Method
from cogen.merging.methods import METHODS, load_method

#: In the place of a default: the recipe must give a value.
REQUIRED: Any = object()


Role = Literal["required", "optional", "first", "unused"]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a recipe.

    :param keyword: of the implementation; ``weight`` is the model's weight; ``None`` has no counterpart.
    :param per_model: every model may have its own value, below ``models`` or ``sources``.
    :param values: the implementation's values for mergekit's, where they differ.
    :param only: the supported values, and ``why`` the others are not.
    """

    keyword: str | None
    kind: Kind
    default: Any = REQUIRED
    per_model: bool = False
    values: Mapping[Any, Any] | None = None
    only: tuple[Any, ...] | None = None
    why: str = ""


@dataclass(frozen=True)
class MergekitMethod:
    """A method as a recipe sees it.

    :param load: gives the implementation.
    :param role: of ``base_model``: what differences are taken from (``required``, or ``optional``), the first of two
        models (``first``), or not part of the arithmetic (``unused``: its config and tokenizer are used).
    :param least: the fewest models beside the base; ``most``: the most.
    """

    name: str
    load: Callable[[], Method]
    role: Role
    least: int
    most: int | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @functools.cached_property
    def implementation(self) -> Method:
        return self.load()


_WEIGHT = {"weight": Parameter("weight", "number", per_model=True)}
#: The type of mergekit's masks in memory: accepted by every method, and without effect on the result.
MASK = {"int8_mask": Parameter(None, "switch", False)}


def _task(normalize: bool, **more: Parameter) -> dict[str, Parameter]:
    return {
        **_WEIGHT,
        "lambda": Parameter("scale", "number", 1.0),
        "normalize": Parameter("normalize", "switch", normalize),
        **more,
    }


def _sparse(normalize: bool, rescale: bool, by: str, **more: Parameter) -> dict[str, Parameter]:
    """:param by: the implementation's ``rescale`` where mergekit's is true."""
    return _task(
        normalize,
        density=Parameter("density", "number", 1.0, per_model=True),
        rescale=Parameter("rescale", "switch", rescale, values={True: by, False: "none"}),
        **more,
    )


_GAMMA = Parameter("gamma", "number", 0.01, per_model=True)
_EPSILON = Parameter("epsilon", "number", 0.15, per_model=True)
_NOTHING_DROPPED = "task_arithmetic drops nothing; ties and dare_linear have a density"


def _method(name: str, role: Role, models: tuple[int, int | None], **parameters: Parameter) -> MergekitMethod:
    return MergekitMethod(name, functools.partial(load_method, name), role, *models, parameters)


_SWITCH = functools.partial(Parameter, kind="switch")
_NUMBER = functools.partial(Parameter, kind="number")
_ALL = (
    _method("linear", "unused", (1, None), **_WEIGHT, normalize=_SWITCH("normalize", default=True)),
    _method("slerp", "first", (1, 1), t=_NUMBER("t")),
    _method(
        "nuslerp",
        "optional",
        (2, 2),
        **_WEIGHT,
        nuslerp_flatten=_SWITCH("flatten", default=True),
        nuslerp_row_wise=_SWITCH("row_wise", default=False),
    ),
    _method(
        "multislerp",
        "optional",
        (1, None),
        **_WEIGHT,
        normalize_weights=_SWITCH("normalize", default=True),
        eps=_NUMBER(None, default=1e-8, only=(1e-8,), why="the implementation needs no epsilon"),
    ),
    _method(
        "karcher",
        "unused",
        (1, None),
        max_iter=Parameter("max_iter", "integer", 10),
        tol=_NUMBER("tol", default=1e-5),
    ),
    _method("passthrough", "unused", (1, 1), scale=_NUMBER("scale", default=1.0, per_model=True)),
    _method("model_stock", "required", (2, None), filter_wise=_SWITCH("filter_wise", default=False)),
    _method("nearswap", "first", (1, 1), t=_NUMBER("t")),
    _method("arcee_fusion", "first", (1, 1)),
    _method("sce", "required", (0, None), select_topk=_NUMBER("select_topk", default=1.0)),
    _method("ram", "required", (0, None), epsilon=_NUMBER("epsilon", default=1e-5)),
    _method(
        "ramplus_tl",
        "required",
        (0, None),
        epsilon=_NUMBER("epsilon", default=1e-5),
        r=_NUMBER("r", default=0.1),
        alpha=_NUMBER("alpha", default=0.2),
    ),
    _method(
        "task_arithmetic",
        "required",
        (0, None),
        **_task(
            False,
            density=_NUMBER(None, default=1.0, per_model=True, only=(1.0,), why=_NOTHING_DROPPED),
            rescale=_SWITCH(None, default=False),  # nothing is dropped, so nothing has to be restored
        ),
    ),
    _method("ties", "required", (0, None), **_sparse(True, False, "l1")),
    _method("dare_linear", "required", (0, None), **_sparse(False, True, "inverse")),
    _method("dare_ties", "required", (0, None), **_sparse(False, True, "inverse")),
    _method("breadcrumbs", "required", (0, None), **_sparse(False, False, "l1", gamma=_GAMMA)),
    _method("breadcrumbs_ties", "required", (0, None), **_sparse(False, False, "l1", gamma=_GAMMA)),
    _method("della", "required", (0, None), **_sparse(True, True, "inverse", epsilon=_EPSILON)),
    _method("della_linear", "required", (0, None), **_sparse(False, True, "inverse", epsilon=_EPSILON)),
)
MERGEKIT_METHODS: dict[str, MergekitMethod] = {method.name: method for method in _ALL}


#: Looks a method up that is neither mergekit's nor CoGen's, such as a plugin's; ``None`` where there is no such method.
FindMethod = Callable[[str], Method | None]


def find_mergekit_method(name: str, find: FindMethod | None = None) -> MergekitMethod:
    """A method that a recipe names: mergekit's, another one of CoGen, or one that ``find`` knows.

    :raises UsageError: there is no such method, or it needs more than weights (calibration data, evaluation).
    """
    if name in MERGEKIT_METHODS:
        return MERGEKIT_METHODS[name]
    method = load_method(name) if name in METHODS else find(name) if find is not None else None
    if method is None:
        raise UsageError(
            f"unknown merge_method {name!r}",
            hint=f"one of {', '.join(sorted({*MERGEKIT_METHODS, *_recipe_methods()}))}",
        )
    if method.calibrated or method.selects:
        needs = "calibration data" if method.calibrated else "an evaluation of every expert"
        raise UsageError(
            f"merge_method {name} needs {needs}, which a recipe cannot give", hint="use `cogen fuse` instead"
        )
    return recipe_method_of(method)


def _recipe_methods() -> list[str]:
    """CoGen's methods that mergekit lacks and that need nothing but weights."""
    others = [load_method(name) for name in sorted(set(METHODS) - set(MERGEKIT_METHODS))]
    return [method.name for method in others if not (method.calibrated or method.selects)]


def recipe_method_of(method: Method) -> MergekitMethod:
    """A method with its own parameter names and defaults as a recipe takes them.

    ``seed`` is that of the command line. A parameter's kind is that of its default; one without a default is a number.
    """
    kinds: dict[type, Kind] = {bool: "switch", int: "integer", str: "text"}
    parameters = dict(_WEIGHT) if method.weighted else {}
    for name, default in method.parameters.items():
        if name in ("seed", "grams"):
            continue
        required = default is inspect.Parameter.empty
        parameters[name] = Parameter(
            name,
            kinds.get(type(default), "number"),
            REQUIRED if required else default,
            per_model=name in method.per_expert,
        )
    least, most = method.experts
    return MergekitMethod(method.name, lambda: method, method.base, least, most, parameters)
