"""What a mixture of experts can take from an earlier one, of which it has one expert more or less."""

from __future__ import annotations

from pathlib import Path

from cogen.checkpoints.model import open_folder
from cogen.fusion.details import MoeDetails
from cogen.fusion.moe.routers import ROUTER, read_rows
from cogen.fusion.moe.write import Reuse
from cogen.fusion.plan import Plan


def reusable_parts(before: Plan, now: Plan, composite: Path) -> tuple[Reuse | None, str]:
    """What the plan ``now`` can take from ``composite`` as it is, and in words what is rebuilt and why.

    :param before: the plan of ``composite``.
    """
    old, new = before.details, now.details
    ids = ", ".join(sorted(expert.id for expert in now.experts))
    assert isinstance(old, MoeDetails)
    assert isinstance(new, MoeDetails)
    if not (old.exact and new.exact):
        reason = (
            "its routers were trained with all of its experts"
            if old.routing == "trained"
            else "experts share what is not a feed-forward block"
        )
        return None, f"rebuilt from {ids}: {reason}"
    if (old.architecture, old.width, before.base) != (new.architecture, new.width, now.base):
        return None, f"rebuilt from {ids}: base or widths are others"
    had = {expert.id: (expert.spec_digest, expert.file_digest, expert.weights_digest) for expert in before.experts}
    same = {e.id for e in now.experts if had.get(e.id) == (e.spec_digest, e.file_digest, e.weights_digest)}
    kept = {id: slot for slot, id in enumerate(old.slots) if id in same or id == "base"}
    rows = {id: row for id, row in read_rows(composite / ROUTER).items() if id in same}
    fresh = sorted({expert.id for expert in now.experts} - same)
    rest = f"made anew: {', '.join(fresh)}" if fresh else "nothing is made anew"
    return Reuse(open_folder(composite), kept, rows), f"kept as they are: {', '.join(sorted(same)) or 'none'}; {rest}"
