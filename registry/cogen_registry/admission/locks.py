"""Locks of composites, read as ``cogen`` reads them from a composite's folder, so that both say the same."""

from __future__ import annotations

from pathlib import Path

from cogen.artifacts.lock import Lock, read_lock
from cogen.errors import CogenError
from cogen_registry.errors import Refused

_HINT = "send the lock that `cogen fuse` wrote"
#: Experts of one composite.
MOST = 1000


def read(path: Path) -> Lock:
    """:raises Refused: 422, it is not a lock of this CoGen, or its plan is not the one that was locked."""
    try:
        lock = read_lock(path)
    except CogenError as error:
        raise Refused(422, error.message, hint=error.hint or _HINT) from error
    except (ValueError, RecursionError) as error:
        raise Refused(422, f"the lock can't be read: {error}", hint="send it as `cogen fuse` wrote it") from error
    if not lock.plan.experts:
        raise Refused(422, "the lock names no expert", hint=_HINT)
    if len(lock.plan.experts) > MOST:
        raise Refused(422, f"the lock names more than {MOST:,} experts", hint=_HINT)
    ids = [expert.id for expert in lock.plan.experts]
    if len(set(ids)) != len(ids):
        raise Refused(422, "the lock names an expert twice", hint=_HINT)
    return lock
