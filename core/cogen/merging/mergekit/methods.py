"""What mergekit calls its methods and parameters, their defaults there, and which of ours does what it documents.

The defaults are those of mergekit 0.1.5's registry; ours are others, so every one is passed on.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from cogen.errors import UsageError
from cogen.merging.mergekit.settings import Kind
from cogen.merging.method import Method

#: In the place of a default: the recipe has to say it.
REQUIRED: Any = object()


@dataclass(frozen=True)
class Parameter:
    """One parameter of a recipe.

    :param ours: our keyword; ``weight`` is the experts' weight; ``None`` has no counterpart.
    :param own: every model may have its own, below ``models`` or ``sources``.
    :param values: what ours takes for mergekit's values, where that is something else.
    :param only: the values that can be honoured, and ``why`` the others cannot.
    """

    ours: str | None
    kind: Kind
    default: Any = REQUIRED
    own: bool = False
    values: Mapping[Any, Any] | None = None
    only: tuple[Any, ...] | None = None
    why: str = ""


@dataclass(frozen=True)
class MergekitMethod:
    """A method of mergekit.

    :param target: where ours is, as ``module:attribute``.
    :param role: what base_model is: what differences are taken from (required, or where there is one), the first of
        two models (``first``), or nothing to the arithmetic (``unused``: its config and tokenizer are used).
    :param least: the fewest models beside the base; ``most``: the most.
    """

    name: str
    target: str
    role: Literal["required", "optional", "first", "unused"]
    least: int
    most: int | None
    parameters: Mapping[str, Parameter] = field(default_factory=dict)

    @functools.cached_property
    def method(self) -> Method:
        module, _, attribute = self.target.partition(":")
        found: Method = getattr(importlib.import_module(module), attribute)
        return found


_WEIGHT = {"weight": Parameter("weight", "number", own=True)}
#: Only the type of mergekit's masks in memory: whatever it says, every method honours it.
MASK = {"int8_mask": Parameter(None, "switch", False)}


def _task(normalize: bool, **more: Parameter) -> dict[str, Parameter]:
    return {
        **_WEIGHT,
        "lambda": Parameter("scale", "number", 1.0),
        "normalize": Parameter("normalize", "switch", normalize),
        **more,
    }


def _sparse(normalize: bool, rescale: bool, by: str, **more: Parameter) -> dict[str, Parameter]:
    """:param by: how ours rescales where mergekit's ``rescale`` is true."""
    return _task(
        normalize,
        density=Parameter("density", "number", 1.0, own=True),
        rescale=Parameter("rescale", "switch", rescale, values={True: by, False: "none"}),
        **more,
    )


_GAMMA = Parameter("gamma", "number", 0.01, own=True)
_EPSILON = Parameter("epsilon", "number", 0.15, own=True)
_NOTHING_DROPPED = "it drops nothing, so it has no density: ties and dare_linear have one"


def _peer(name: str, role: Any, models: tuple[int, int | None], **parameters: Parameter) -> MergekitMethod:
    return MergekitMethod(name, f"cogen.merging.methods.{name}:{name}", role, *models, parameters)


_SWITCH = functools.partial(Parameter, kind="switch")
_NUMBER = functools.partial(Parameter, kind="number")
_ALL = (
    _peer("linear", "unused", (1, None), **_WEIGHT, normalize=_SWITCH("normalize", default=True)),
    _peer("slerp", "first", (1, 1), t=_NUMBER("t")),
    _peer(
        "nuslerp",
        "optional",
        (2, 2),
        **_WEIGHT,
        nuslerp_flatten=_SWITCH("flatten", default=True),
        nuslerp_row_wise=_SWITCH("row_wise", default=False),
    ),
    _peer(
        "multislerp",
        "optional",
        (1, None),
        **_WEIGHT,
        normalize_weights=_SWITCH("normalize", default=True),
        eps=_NUMBER(None, default=1e-8, only=(1e-8,), why="nothing has to be kept from zero here"),
    ),
    _peer(
        "karcher",
        "unused",
        (1, None),
        max_iter=Parameter("max_iter", "integer", 10),
        tol=_NUMBER("tol", default=1e-5),
    ),
    _peer("passthrough", "unused", (1, 1), scale=_NUMBER("scale", default=1.0, own=True)),
    _peer("model_stock", "required", (2, None), filter_wise=_SWITCH("filter_wise", default=False)),
    _peer("nearswap", "first", (1, 1), t=_NUMBER("t")),
    _peer("arcee_fusion", "first", (1, 1)),
    _peer("sce", "required", (0, None), select_topk=_NUMBER("select_topk", default=1.0)),
    _peer("ram", "required", (0, None), epsilon=_NUMBER("epsilon", default=1e-5)),
    _peer(
        "ramplus_tl",
        "required",
        (0, None),
        epsilon=_NUMBER("epsilon", default=1e-5),
        r=_NUMBER("r", default=0.1),
        alpha=_NUMBER("alpha", default=0.2),
    ),
    _peer(
        "task_arithmetic",
        "required",
        (0, None),
        **_task(
            False,
            density=_NUMBER(None, default=1.0, own=True, only=(1.0,), why=_NOTHING_DROPPED),
            rescale=_SWITCH(None, default=False),  # nothing is dropped, so nothing has to be restored
        ),
    ),
    _peer("ties", "required", (0, None), **_sparse(True, False, "l1")),
    _peer("dare_linear", "required", (0, None), **_sparse(False, True, "inverse")),
    _peer("dare_ties", "required", (0, None), **_sparse(False, True, "inverse")),
    _peer("breadcrumbs", "required", (0, None), **_sparse(False, False, "l1", gamma=_GAMMA)),
    _peer("breadcrumbs_ties", "required", (0, None), **_sparse(False, False, "l1", gamma=_GAMMA)),
    _peer("della", "required", (0, None), **_sparse(True, True, "inverse", epsilon=_EPSILON)),
    _peer("della_linear", "required", (0, None), **_sparse(False, True, "inverse", epsilon=_EPSILON)),
)
PEERS: dict[str, MergekitMethod] = {peer.name: peer for peer in _ALL}


def find_peer(name: str) -> MergekitMethod:
    """:raises UsageError: mergekit 0.1.5 has no such method of its own."""
    if name not in PEERS:
        raise UsageError(
            f"merge_method {name!r} is not known: methods in Python of your own are not run",
            hint=f"known are {', '.join(sorted(PEERS))}",
        )
    return PEERS[name]
