"""Which experts form one model, and which of these is the student; from manifests alone."""

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
    """The student and its teachers."""

    student: ModelGroup
    teachers: tuple[ModelGroup, ...]


def assign_roles(chosen: Sequence[Expert], settings: Distillation, *, alone: bool = False) -> Roles:
    """The student and its teachers.

    :param alone: it needs none.
    :raises UsageError: the student is neither an installed expert nor a known base.
    :raises CompatibilityError: no teacher is left.
    """
    groups = _group_experts(chosen, apart=settings.groups == "apart")
    if isinstance(settings.pivot, BaseRef):
        student = ModelGroup(settings.pivot.name, (), settings.pivot)
    elif settings.pivot is None:
        student = max(groups, key=lambda group: len(group.experts))  # the first of several
    elif settings.pivot in BASES:
        student = ModelGroup(settings.pivot, (), BASES[settings.pivot][0])
    else:
        found = [group for group in groups if settings.pivot in group.ids]
        if not found:
            known = sorted({*(expert.id for expert in chosen), *BASES})
            raise UsageError(
                f"the student {settings.pivot!r} is not among the experts", hint=f"known are {', '.join(known)}"
            )
        student = found[0]
    teachers = tuple(group for group in groups if group is not student)
    if not teachers and not alone:
        raise CompatibilityError(
            f"{', '.join(student.ids)} share one base, so they become one model and no teacher is left",
            hint='use --strategy merge or --strategy moe, or keep each expert as a teacher: groups = "apart"',
        )
    return Roles(student, teachers)


def _group_experts(chosen: Sequence[Expert], *, apart: bool) -> list[ModelGroup]:
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
