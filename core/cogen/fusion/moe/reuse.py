"""What a mixture of experts can take from an earlier one, of which it has one expert more or less."""

from __future__ import annotations

from pathlib import Path

from cogen.checkpoints.model import open_folder
from cogen.fusion.details import MoeDetails
from cogen.fusion.moe.prefix.rows import FEATURES
from cogen.fusion.moe.routers import rows_of
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
    if old.routing == new.routing == "prefix" and not old.merged and not new.merged:
        return _of_prefix(before, now, composite)
    if not (old.exact and new.exact):
        reason = (
            "its routers were trained with all of its experts"
            if old.routing == "trained"
            else "experts share what is not a feed-forward block"
        )
        return None, f"rebuilt from {ids}: {reason}"
    if (old.architecture, old.width, before.base) != (new.architecture, new.width, now.base):
        return None, f"rebuilt from {ids}: base or widths are others"
    same = _unchanged(before, now)
    kept = {id: slot for slot, id in enumerate(old.slots) if id in same or id == "base"}
    rows = {id: row for id, row in rows_of(composite).items() if id in same}
    return Reuse(open_folder(composite), kept, rows), _message(now, same)


def _of_prefix(before: Plan, now: Plan, composite: Path) -> tuple[Reuse | None, str]:
    """With the base in the public slot everything of the experts that stay; else all but public slot and evidence.

    Evidence of more experts than the extra head carries is of all of them together, and is made again.
    """
    old, new = before.details, now.details
    assert isinstance(old, MoeDetails)
    assert isinstance(new, MoeDetails)
    ids = ", ".join(sorted(expert.id for expert in now.experts))
    if (old.architecture, before.base, before.tokenizer_digest) != (new.architecture, now.base, now.tokenizer_digest):
        return None, f"rebuilt from {ids}: the base is another"
    same = _unchanged(before, now)
    own = new.exact and old.exact
    base = bool(old.prefix and new.prefix and old.prefix.public == new.prefix.public == "base")
    stored = rows_of(composite)
    # What the file has beside the experts' evidence is of the base alone.
    rows = {id: row for id, row in stored.items() if (id.startswith(".") and id != FEATURES) or (own and id in same)}
    fits = (old.width, old.prefix and old.prefix.hidden) == (new.width, new.prefix and new.prefix.hidden)
    kept = {id: slot for slot, id in enumerate(old.slots) if fits and (id in same or (base and id == "base"))}
    text = _message(now, same, (*(() if base else ("public slot",)), *(() if own else ("evidence",))))
    return Reuse(open_folder(composite), kept, rows), text


def _unchanged(before: Plan, now: Plan) -> set[str]:
    had = {expert.id: (expert.spec_digest, expert.file_digest, expert.weights_digest) for expert in before.experts}
    return {e.id for e in now.experts if had.get(e.id) == (e.spec_digest, e.file_digest, e.weights_digest)}


def _message(now: Plan, same: set[str], also: tuple[str, ...] = ()) -> str:
    fresh = [*sorted({expert.id for expert in now.experts} - same), *also]
    rest = f"made anew: {', '.join(fresh)}" if fresh else "nothing is made anew"
    return f"kept as they are: {', '.join(sorted(same)) or 'none'}; {rest}"
