"""Which experts belong together, and who teaches whom; from manifests alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cogen.checkpoints.bases import BASES
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.distill.settings import Distillation
from cogen.host import Expert
from cogen.spec.model import BaseRef


@dataclass(frozen=True)
class ModelGroup:
    """Experts that become one model: of one base and one tokenizer. None: the base itself.

    :param base: what they descend from; of an expert from scratch, the expert's own weights.
    """

    name: str
    experts: tuple[Expert, ...]
    base: BaseRef

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(expert.id for expert in self.experts)


@dataclass(frozen=True)
class Roles:
    """Who learns, and who teaches."""

    pivot: ModelGroup
    teachers: tuple[ModelGroup, ...]


def cast(chosen: Sequence[Expert], wish: Distillation, *, alone: bool = False) -> Roles:
    """The pivot and its teachers.

    :param alone: it needs none.
    :raises UsageError: the pivot is no installed expert and no known base.
    :raises CompatibilityError: nobody is left to teach.
    """
    groups = _grouped(chosen, apart=wish.groups == "apart")
    if isinstance(wish.pivot, BaseRef):
        pivot = ModelGroup(wish.pivot.name, (), wish.pivot)
    elif wish.pivot in BASES:
        pivot = ModelGroup(wish.pivot, (), BASES[wish.pivot][0])
    elif wish.pivot is not None:
        found = [group for group in groups if wish.pivot in group.ids]
        if not found:
            known = sorted({*(expert.id for expert in chosen), *BASES})
            raise UsageError(f"the pivot {wish.pivot!r} is not among the experts", hint=f"known are {', '.join(known)}")
        pivot = found[0]
    else:
        pivot = max(groups, key=lambda group: len(group.experts))  # the first of several
    teachers = tuple(group for group in groups if group is not pivot)
    if not teachers and not alone:
        raise CompatibilityError(
            f"{', '.join(pivot.ids)} are of one base, so they become one model and nobody is left to teach it",
            hint='merge or stack them (--strategy merge, --strategy moe), or let them teach apart: groups = "apart"',
        )
    return Roles(pivot, teachers)


def _grouped(chosen: Sequence[Expert], *, apart: bool) -> list[ModelGroup]:
    parts: dict[tuple[str, ...], list[Expert]] = {}
    for expert in chosen:
        spec = expert.spec
        key = (expert.id,) if apart else (spec.model.lineage, spec.tokenizer.digest)
        parts.setdefault(key, []).append(expert)
    found = []
    for experts in parts.values():
        # A model that others descend from adds nothing to them.
        grown = [expert for expert in experts if expert.spec.model.relation != "scratch"] or experts[:1]
        found.append(ModelGroup(" + ".join(expert.id for expert in grown), tuple(grown), _base(grown[0])))
    return found


def _base(expert: Expert) -> BaseRef:
    model = expert.spec.model
    if model.base is not None:
        return model.base
    fields = {name: getattr(model, name) for name in ("name", "source", "revision", "format", "dtype")}
    return BaseRef(
        **fields, file_digest=model.file_digest, weights_digest=model.weights_digest, license=expert.spec.license
    )
