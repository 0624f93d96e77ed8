"""From a loss's name to what it needs and to the loss itself, for one student and one teacher."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.losses.names import LOSSES, PREFERENCES
from cogen.fusion.distill.losses.plugin import PluginLoss
from cogen.fusion.distill.teachers.needs import TeacherStatistics

if TYPE_CHECKING:
    from cogen.fusion.distill.losses.loss import Loss

#: Parameters of each loss with their defaults.
PARAMETERS: dict[str, dict[str, float]] = {
    "uld": {"k": 10},
    "alm": {"tau": 5.0, "gamma": 0.1},
    "p_kl": {"k": 128},
    "piece_kl": {"k": 128},
    "h_kl": {"k": 128},
    "graph": {"k": 10},
    "kl": {"k": 128},
    "gold": {"k": 128, "beta": 0.5},
    "mined": {"k": 10},
    "infifpo": {"beta": 2.5},
    "dpo": {"beta": 2.5},
}


#: Losses of plugins, by name.
Extra = Mapping[str, PluginLoss]
_NONE: Extra = MappingProxyType({})


def parts(name: str, extra: Extra = _NONE) -> list[str]:
    """ "uld+alm" → ["uld", "alm"].

    :raises UsageError: an unknown loss, or a preference loss among several.
    """
    found = name.split("+")
    every = [*LOSSES, *PREFERENCES, *extra]
    for part in found:
        if part not in every:
            raise UsageError(f"unknown distillation loss {part!r}", hint=f"one of {', '.join(every)}")
    if len(found) > 1 and set(found) & set(PREFERENCES):
        raise UsageError(f"{name}: a preference loss cannot be combined with others", hint="name one loss")
    return found


def check_parameters(name: str, parameters: Mapping[str, Any], extra: Extra = _NONE) -> None:
    """:raises UsageError: a parameter that none of the losses takes, or no number in its range."""
    found = parts(name, extra)
    own = {key: value for part in found if part in PARAMETERS for key, value in PARAMETERS[part].items()}
    known = own | {key: value for part in found if part in extra for key, value in extra[part].parameters.items()}
    for key, value in parameters.items():
        if key not in known:
            hint = f"it takes {', '.join(sorted(known))}" if known else "it takes none"
            raise UsageError(f"{name} has no parameter {key!r}", hint=hint)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"{key} of {name} must be a number", hint=f"for example {key} = {known[key]:g}")
        wrong = key in own and not _in_range(key, value, own[key], "gold" in found)
        if wrong or not math.isfinite(value):
            raise UsageError(f"{key} = {value} is out of range", hint=f"for example {key} = {known[key]:g}")


def _in_range(key: str, value: float, default: float, mixed: bool) -> bool:
    """:param mixed: is β the share of a mixture? That of preferences has no upper end."""
    if isinstance(default, int):
        return 2 <= value <= 1024 and value == int(value)
    return 0 < value < (1 if key == "gamma" or (key == "beta" and mixed) else math.inf)


def _value(name: str, parameters: Mapping[str, Any], key: str) -> Any:
    default = PARAMETERS[name][key]
    return type(default)(parameters.get(key, default))


def needs_of(name: str, parameters: Mapping[str, Any] | None = None, extra: Extra = _NONE) -> TeacherStatistics:
    """What the teacher cache has to hold: always log-probabilities, which decide the teacher of each text."""
    given, found = parameters or {}, TeacherStatistics(logprob=True)
    for part in parts(name, extra):
        found |= extra[part].needs(extra[part].values(given)) if part in extra else _needs(part, given)
    return found


def _needs(name: str, given: Mapping[str, Any]) -> TeacherStatistics:
    """Of one loss."""
    if name in PREFERENCES:
        return TeacherStatistics()
    if name == "alm":
        return TeacherStatistics(boundary=True)
    k = _value(name, given, "k")
    return TeacherStatistics(top=k) if name in ("uld", "graph") else TeacherStatistics(sparse=k)


def make_loss(
    name: str,
    student: Encoder,
    teacher: Encoder,
    parameters: Mapping[str, Any] | None = None,
    seen: tuple[np.ndarray, np.ndarray] | None = None,
    extra: Extra = _NONE,
) -> list[Loss]:
    """The losses of a name, for one pair of models; "graph" is ULD and the graph.

    :param seen: the student's and the teacher's token at the start of every chunk of the texts, shape (n,): piece_kl
        estimates from it the student's tokens for each of the teacher's.
    :raises CompatibilityError: kl, and the vocabularies differ.
    """
    given = parameters or {}
    return [
        loss
        for part in parts(name, extra)
        for loss in (
            extra[part].make(student, teacher, extra[part].values(given))
            if part in extra
            else _build(part, student, teacher, given, seen)
        )
    ]


def _build(
    name: str, student: Encoder, teacher: Encoder, given: Mapping[str, Any], seen: tuple[np.ndarray, np.ndarray] | None
) -> list[Loss]:
    import torch

    def value(key: str) -> Any:
        return _value(name, given, key)

    if name in ("uld", "graph"):
        from cogen.fusion.distill.losses.graph import Graph
        from cogen.fusion.distill.losses.uld import Uld

        return [Uld(value("k"))] if name == "uld" else [Uld(value("k")), Graph(value("k"))]
    if name == "alm":
        from cogen.fusion.distill.losses.alm import Alm

        return [Alm(torch.from_numpy(student.begins_word), value("tau"), value("gamma"))]
    if name == "kl":
        from cogen.fusion.distill.losses.kl import Kl

        if student.token_bytes != teacher.token_bytes:
            raise CompatibilityError(
                "kl needs student and teacher with the same vocabulary", hint="use alm, uld or p_kl"
            )
        return [Kl(value("k"))]
    from cogen.fusion.distill.alignment.vocabularies import (
        Nearest,
        estimate_first_pieces,
        first_pieces,
        matches,
        projection,
    )

    if name == "p_kl":
        from cogen.fusion.distill.losses.projection import ProjectionKl
        from cogen.fusion.distill.losses.projection_map import Map

        found = projection(student.token_bytes, teacher.token_bytes, teacher.tokens)
        return [ProjectionKl(Map(*map(torch.from_numpy, found)), value("k"))]
    if name == "piece_kl":
        from cogen.fusion.distill.losses.pieces import PieceKl

        first = first_pieces(student.token_bytes, teacher.token_bytes, student.tokens)
        none = np.zeros(0, dtype=np.int64)
        pieces, shares = map(torch.from_numpy, estimate_first_pieces(first, *(seen or (none, none))))
        return [PieceKl(piece=pieces, share=shares, k=value("k"))]
    if name == "mined":
        from cogen.fusion.distill.losses.mined import MinEd

        return [MinEd(Nearest(student.token_bytes, teacher.token_bytes), value("k"))]
    match = torch.from_numpy(matches(student.token_bytes, teacher.token_bytes))
    unmatched = torch.ones(len(student.token_bytes), dtype=torch.bool)
    unmatched[match[match >= 0]] = False
    if name == "h_kl":
        from cogen.fusion.distill.losses.projection import HybridKl

        return [HybridKl(match, unmatched, value("k"))]
    from cogen.fusion.distill.losses.gold import Gold

    return [Gold(match, unmatched, value("k"), value("beta"))]
