"""Listens to transactions: whatever changes a release, its project or a key is signed before it is committed.

So nobody has to remember it: an upload, a yank, an operator's command beside the service.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event, insert, inspect, select
from sqlalchemy.orm import ORMExecuteState

from cogen_registry.database.sessions import Session, Sessions
from cogen_registry.database.tables import Key, Project, Publisher, Release, Unsigned
from cogen_registry.metadata import state
from cogen_registry.metadata.signer import Signer

_CHANGED = "metadata"


def watch(sessions: Sessions, signer: Signer | None) -> None:
    """From now on ``sessions`` sign what they change; without a signer they write down what is to be signed."""
    event.listen(sessions.writing, "after_flush", _collect)
    event.listen(sessions.writing, "do_orm_execute", _collect_bulk)

    def before_commit(session: Session) -> None:
        session.flush()
        changed = session.info.pop(_CHANGED, None)
        if not changed or not state.initialised(session):
            return
        with session.no_autoflush:
            _sign(session, signer, changed)

    sessions.guards.append(before_commit)  # before the feed of changes: who signs and who counts wait in one order
    event.listen(sessions.writing, "after_rollback", lambda session: session.info.pop(_CHANGED, None))


def _sign(session: Session, signer: Signer | None, changed: set[Any]) -> None:
    ids = [one for one in changed if isinstance(one, int)]
    names = list(session.scalars(select(Project.name).where(Project.id.in_(ids))))
    names += [one for one in changed if isinstance(one, str) and one]
    if signer is not None:
        signer.change(session, names, revocations="" in changed)
        return
    waiting = set(session.scalars(select(Unsigned.project)))
    if rows := [{"project": name} for name in {*names, *([""] if "" in changed else [])} - waiting]:
        session.execute(insert(Unsigned), rows)


def _collect(session: Session, context: Any) -> None:
    """Ids of projects; their names, where they are gone; "": a key was revoked."""
    for row in (*session.new, *session.dirty, *session.deleted):
        if isinstance(row, Release):
            _changed(session).add(row.project_id)
        elif isinstance(row, Project):
            _changed(session).add(row.name if row in session.deleted else row.id)
        elif isinstance(row, Key) and row.revoked is not None:
            _changed(session).add("")
        elif isinstance(row, Publisher) and inspect(row).attrs.name.history.has_changes() and row not in session.new:
            _changed(session).update(session.scalars(select(Project.id).where(Project.publisher_id == row.id)))


def _collect_bulk(execute: ORMExecuteState) -> None:
    """Of UPDATE and DELETE statements: those whose rows are in the tables that are watched."""
    if not (execute.is_update or execute.is_delete) or execute.bind_mapper is None:
        return
    owner: Any = execute.bind_mapper.class_
    if owner not in (Release, Project, Key):
        return
    session, where = execute.session, getattr(execute.statement, "whereclause", None)
    if owner is Key:
        _changed(session).add("")
        return
    wanted = select(Release.project_id if owner is Release else Project.id)
    found = session.scalars(wanted if where is None else wanted.where(where)).all()
    _changed(session).update(found)


def _changed(session: Session) -> set[Any]:
    found: set[Any] = session.info.setdefault(_CHANGED, set())
    return found
