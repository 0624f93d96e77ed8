"""Plugins look at a plan before it is carried out."""

from __future__ import annotations

from typing import Protocol, Self, TypeVar

from cogen.errors import CompatibilityError
from cogen.fusion.plan import Note
from cogen.host import Host


class Reviewable(Protocol):
    """Any plan: pydantic, with notes."""

    @property
    def notes(self) -> tuple[Note, ...]: ...

    def model_copy(self, *, update: dict[str, object]) -> Self: ...


P = TypeVar("P", bound=Reviewable)


def reviewed(host: Host, plan: P) -> P:
    """The plan with what plugins say of it.

    :raises CompatibilityError: one of them vetoes it.
    """
    notes = list(plan.notes)
    for source, diagnostic in host.review(plan):
        if diagnostic.severity == "veto":
            raise CompatibilityError(f"{source} vetoes this plan: {diagnostic.message}", hint=diagnostic.hint)
        notes.append(Note(severity=diagnostic.severity, source=source, message=diagnostic.message))
    return plan.model_copy(update={"notes": tuple(notes)})
