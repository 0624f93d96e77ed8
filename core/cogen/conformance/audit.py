"""The privacy audit in the card: asked of experts whose training text is private."""

from __future__ import annotations

from collections.abc import Iterator

from cogen.conformance.result import Check
from cogen.host import Expert
from cogen.spec.data import DataCard

_PRIVATE = ("present", "unknown")


def check_audit(expert: Expert) -> Iterator[Check]:
    """A failure where private text has no audit, or one that found leaks; of public text the verdict alone.

    Manifests of schema version 1 could hold no audit: of them a missing one is named, and is no failure.
    """
    card = expert.spec.data
    hint = "its publisher runs `cogen audit RECIPE --save`; recipes with a table [audit] are audited by `cogen train`"
    if card.audit is None:
        if _private(card):
            failed = False if expert.spec.schema_version > 1 else None
            yield Check("audit", failed, "its training text is private, and the card holds no privacy audit", hint)
        return
    audit = card.audit
    why = f": {audit.notes[0]}" if audit.notes and audit.verdict != "no leak found" else ""
    leaks = audit.verdict == "leaks" and _private(card)
    remedy = "train with fewer passes, on more text, or with `privacy = {epsilon, delta}`" if leaks else None
    yield Check("audit", not leaks, f"privacy audit of {audit.date}: {audit.verdict}{why}", remedy)


def _private(card: DataCard) -> bool:
    """Does some text of it have personal data, or may it, or stays it at home?"""
    sources = card.sources if card.sources != "unknown" else ()
    stated = [source.personal_data or card.personal_data for source in sources] or [card.personal_data]
    return any(kind in _PRIVATE for kind in stated) or any(
        source.leaves in ("nothing", "figures") for source in sources
    )
