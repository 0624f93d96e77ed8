"""The feed of changes: what became another, written in the transaction that changed it, read by every process.

A plain sequence would not do. Of two transactions that draw 5 and 6, the one with 6 may commit first; a reader that has
seen 6 never asks for 5 again. Here the numbers come from a row that stays locked until the commit, and it is locked as
the very last thing of a transaction: numbers become visible in their order, without gaps, and nobody waits for long.

What kinds there are, and what their keys say:

    project NAME               a release came, was yanked, signed, taken down …: all that is kept of it is read again
    expert ID                  what its page shows beside the release: measurements, composites that use it
    publisher NAME             its title or its keys
    composite PUBLISHER/NAME
    repository NAMESPACE/NAME  weights, its key in lower case
    vector ID,ID,…             rows of experts that were embedded; "embedder": all of them are gone
    withdrawn NAME             beside "project": an operator took it down, and copies of before have to go as well
    quarantine NAME            a release of this project waits for its weights
    all                        anything: everything that is kept is thrown away
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from cogen_registry.database.tables import Base, Change, Counter, now

#: (kind, key)
Item = tuple[str, str]
#: The one that says nothing: whoever reads it forgets everything.
ALL: Item = ("all", "")
#: How long changes are kept. Who was away for longer forgets everything.
_KEPT = datetime.timedelta(days=3)
_PENDING = "changes"
#: More than so many at once are read as one: everything.
_MOST = 10_000


def change(session: Session, kind: str, key: str = "") -> None:
    """Say within a transaction of ``Sessions.write()`` what it changes; see the module for kinds and keys."""
    session.info.setdefault(_PENDING, []).append((kind, key[:300]))


def record(session: Session) -> bool:
    """Write down what a transaction said that it changes, as the last thing before its commit; was there anything?"""
    items: list[Item] = list(dict.fromkeys(session.info.pop(_PENDING, ())))
    if not items:
        return False
    session.flush()
    counter = Base.metadata.tables[Counter.__tablename__]
    statement = update(counter).where(counter.c.id == 1).values(serial=counter.c.serial + len(items))
    last = session.execute(statement.returning(counter.c.serial)).scalar_one()
    rows = [
        {"serial": serial, "kind": kind, "key": key} for serial, (kind, key) in enumerate(items, last - len(items) + 1)
    ]
    session.execute(insert(Change), rows)
    return True


def newest(session: Session) -> int:
    """The number of the last change."""
    return session.scalar(select(Counter.serial).where(Counter.id == 1)) or 0


def since(session: Session, serial: int) -> tuple[int, Sequence[Item]]:
    """(the number of the last change, what changed after ``serial``, each once)."""
    last = newest(session)  # first: what comes between the two statements is for the next time
    if not 0 < last - serial <= _MOST:
        return last, [] if last == serial else [ALL]
    rows = session.execute(
        select(Change.kind, Change.key).where(Change.serial > serial, Change.serial <= last).order_by(Change.serial)
    ).all()
    if len(rows) != last - serial:  # trimmed by now
        return last, [ALL]
    return last, list(dict.fromkeys((row.kind, row.key) for row in rows))


def trim(session: Session) -> None:
    """Forget changes that everybody has read by now, or forgets everything for."""
    session.execute(delete(Change).where(Change.created < now() - _KEPT))
