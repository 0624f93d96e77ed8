"""The signed statement of a release: exactly about it, by a key of its publisher that was not taken back."""

from __future__ import annotations

import datetime
import re
from typing import Any

from sqlalchemy import select

from cogen.spec.expert import canonical_digest
from cogen_registry.admission.releases import own, publisher_of
from cogen_registry.audit import log
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.tables import Key, Release, now
from cogen_registry.errors import Refused
from cogen_registry.service import Service

#: A clock that goes wrong may be so far ahead.
_AHEAD = datetime.timedelta(days=1)


def expected(release: Release) -> dict[str, Any]:
    """The statement that fits a release, but for the moment of signing."""
    experts = [
        {
            "id": row.expert,
            "spec_digest": canonical_digest(row.spec),
            "weights": {name: row.spec["model"][name] for name in ("source", "revision", "file_digest")},
        }
        for row in release.experts
    ]
    return {
        "schema": 1,
        "project": release.project.name,
        "version": release.version,
        "filename": release.filename,
        "sha256": release.sha256,
        "size": release.size,
        "publisher": publisher_of(release),
        "experts": sorted(experts, key=lambda one: str(one["id"])),
    }


def sign(
    service: Service,
    principal: Principal,
    project: str,
    version: str,
    statement: dict[str, Any],
    bundle: dict[str, Any],
) -> Release:
    """Keep a release's signature. The same again is not an error; another one only replaces that of a revoked key.

    :raises Refused: 400, it is about something else or does not hold; 409, there is one already.
    """
    with service.sessions.read() as session:
        row = own(session, principal, project, version)
        if publisher_of(row) != principal.name:
            raise Refused(
                403,
                f"{row.project.name} {row.version} was published by {publisher_of(row)}",
                hint="publish a new version, and sign that",
            )
        _check_fits(statement, expected(row))
        keys = session.scalars(select(Key).where(Key.publisher_id == principal.id, Key.revoked.is_(None))).all()
    key = _signer(statement, bundle, keys)
    with service.sessions.write() as session:
        confirm(session, principal)
        row = own(session, principal, project, version)
        # the key may have been revoked, and another signature have come, while this one was checked
        if session.scalar(select(Key.revoked).where(Key.id == key.id)) is not None:
            raise Refused(400, "the key was revoked", hint="sign with a key that is registered")
        if row.statement is not None and (row.statement, row.bundle) != (statement, bundle):
            before = session.scalar(select(Key).where(Key.fingerprint == row.key))
            if before is not None and before.revoked is None:
                raise Refused(409, f"{row.project.name} {row.version} is signed already", hint="nothing to do")
        row.statement, row.bundle, row.key = statement, bundle, key.fingerprint
        service.change(session, "project", row.project.name)
        log.record(
            session, log.actor_of(principal), "release.sign", f"{row.project.name} {row.version}", key=key.fingerprint
        )
    service.changed()
    return row


def _check_fits(statement: dict[str, Any], wanted: dict[str, Any]) -> None:
    signed = {name: value for name, value in statement.items() if name != "signed"}
    experts = signed.get("experts")
    if isinstance(experts, list) and all(isinstance(one, dict) for one in experts):
        signed["experts"] = sorted(experts, key=lambda one: str(one.get("id")))
    for name in wanted.keys() | signed.keys():
        # True == 1 in Python, and not in JSON
        if signed.get(name) != wanted.get(name) or type(signed.get(name)) is not type(wanted.get(name)):
            raise Refused(400, f"the statement and the release differ in {name}", hint="sign the file as uploaded")
    moment = statement.get("signed")
    try:
        if not isinstance(moment, str) or not re.match(r"\d{4}-\d{2}-\d{2}T", moment):
            raise ValueError
        when = datetime.datetime.fromisoformat(moment)
        if when.tzinfo is None or when > now() + _AHEAD:
            raise ValueError
    except ValueError:
        raise Refused(400, "the statement does not say when it was signed", hint="set the clock, sign again") from None


def _signer(statement: dict[str, Any], bundle: dict[str, Any], keys: Any) -> Key:
    from cogen.errors import CogenError
    from cogen.trust import check_statement

    problem: CogenError | None = None
    for key in keys:
        try:
            check_statement(statement, bundle, key.pem)
        except CogenError as error:
            problem = error
        else:
            found: Key = key
            return found
    if problem is None:
        raise Refused(400, "no key is registered to check it with", hint="run `cogen login` to register yours")
    raise Refused(
        400, f"no registered key signed this: {problem.message}", hint="sign with a key that is registered and valid"
    )
