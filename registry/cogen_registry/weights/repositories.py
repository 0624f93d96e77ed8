"""Repositories, revisions and who may write them."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any

from fastapi import Request
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from cogen_registry.admission.quota import check_projects, check_rows
from cogen_registry.admission.rules import check_prohibited, consented
from cogen_registry.audit import log, removals
from cogen_registry.auth import Principal, confirm, digest, required, secret_of
from cogen_registry.database import feed
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Reference, Repository, Token, now
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.weights.answers import hub_error, no_repository, no_revision

MAIN = "main"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_]|[.-](?=[A-Za-z0-9_])){0,95}")
_REVISION = re.compile(r"[A-Za-z0-9](?:[\w+-]|\.(?=[\w+-])){0,99}", re.ASCII)
_OID = re.compile(r"[0-9a-f]{40}")


def writer(service: Service, request: Request, namespace: str) -> Principal:
    """Who asks, if they may write weights in this namespace.

    :raises Refused: 401 without a token, 403 for somebody else's namespace.
    """
    try:
        principal = required(service.sessions, "weights")(request)
    except Refused as error:
        if error.status == 401:  # the client takes a bare 401 for a repository that is not there
            error.headers["X-Error-Message"] = "Invalid credentials in Authorization header"
        raise
    if principal.name != namespace:
        raise hub_error(403, f"{namespace} belongs to another publisher", f"publish as {principal.name}/…")
    return principal


def token_id(service: Service, request: Request) -> int:
    """The row of the token that a request proved: what is signed with it ends when it is revoked."""
    with service.sessions.read() as session:
        return session.scalars(select(Token.id).where(Token.digest == digest(secret_of(request) or ""))).one()


def token_lives(session: Session, token: int) -> bool:
    found = session.get(Token, token)
    return found is not None and not found.revoked and not (found.expires and found.expires <= now())


def find(session: Session, namespace: str, name: str) -> Repository:
    """:raises Refused: 404, also where only the case differs: two spellings of one name would be two in a cache;
    410 or 451, it was taken down.
    """
    found = session.scalar(select(Repository).where(Repository.key == f"{namespace}/{name}".lower()))
    if found is None or (found.publisher.name, found.name) != (namespace, name):
        raise no_repository(f"{namespace}/{name}")
    removals.check(session, "repository", found.id, f"{namespace}/{name}")
    return found


def commit_of(session: Session, repository: Repository, revision: str) -> Commit:
    """What a branch, a tag or 40 hex digits mean.

    :raises Refused: 404
    """
    oid: str | None = revision
    if not _OID.fullmatch(revision):
        oid = session.scalar(select(Reference.oid).filter_by(repository_id=repository.id, name=revision))
    found = session.scalar(select(Commit).filter_by(repository_id=repository.id, oid=oid))
    if found is None:
        raise no_revision(full_name(repository), revision)
    return found


def full_name(repository: Repository) -> str:
    return f"{repository.publisher.name}/{repository.name}"


def create(service: Service, principal: Principal, name: str) -> tuple[Repository, bool]:
    """A repository with an empty first commit, as the Hub makes it; and whether it is new.

    :raises Refused: 400, it is no name, or one that differs from another by case alone.
    """
    if not _NAME.fullmatch(name) or name.endswith((".git", ".ipynb")):
        raise hub_error(400, f"{name!r} can't be a repository's name", "letters, digits, and single - _ . between them")
    key = f"{principal.name}/{name}".lower()
    try:
        made, fresh = _create(service, principal, name, key)
    except IntegrityError:  # twice at once, on a database where writers don't wait for each other
        made, fresh = _create(service, principal, name, key)
    if fresh:
        service.changed()
    return made, fresh


def _create(service: Service, principal: Principal, name: str, key: str) -> tuple[Repository, bool]:
    with service.sessions.write() as session:
        confirm(session, principal)
        found = session.scalar(select(Repository).where(Repository.key == key))
        if found is not None:
            if found.name != name:  # not 409: the client would take the other one for its own
                raise hub_error(
                    400, f"{principal.name}/{found.name} is there and differs by case alone", "use that one"
                )
            removals.check(session, "repository", found.id, f"{principal.name}/{found.name}")
            return found, False
        if not consented(session, name, principal.id):
            check_prohibited(session, name)
        check_projects(session, service.settings.limits, principal.id)
        check_rows(session, service.settings.limits, principal.id, 3)
        made = Repository(publisher_id=principal.id, name=name, key=key)
        session.add(made)
        session.flush()
        first = Commit(repository_id=made.id, oid=commit_oid(key, None, [], "initial commit"), summary="initial commit")
        session.add(first)
        session.add(Reference(repository_id=made.id, name=MAIN, kind="branch", oid=first.oid))
        session.refresh(made, ["publisher"])
        feed.change(session, "repository", key)
        log.record(session, log.actor_of(principal), "repository.create", f"{principal.name}/{name}")
    return made, True


def commit_oid(key: str, parent: str | None, tree: list[tuple[str, str, int]], summary: str) -> str:
    """40 hex digits that depend on all that a commit says, its moment too."""
    parts: Any = [key, parent, tree, summary, now().isoformat()]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def add_reference(service: Service, principal: Principal, name: str, kind: str, at: str, called: str) -> str:
    """A new tag or branch; what it points to.

    :param called: The name of the tag or branch.
    :raises Refused: 400, it is no name; 404, ``at`` is not there; 409, the name is taken: tags never move.
    """
    if not _REVISION.fullmatch(called) or _OID.fullmatch(called) or called.lower() == "head":
        raise hub_error(400, f"{called!r} can't be the name of a {kind}", "letters, digits and - _ . +; no slashes")
    with service.sessions.write() as session:
        confirm(session, principal)
        repository = find(session, principal.name, name)
        commit = commit_of(session, repository, at)
        known = session.scalar(select(Reference).filter_by(repository_id=repository.id, name=called))
        if known is not None:
            raise hub_error(409, f"there is a {known.kind} {called} already", "a tag never moves: choose another name")
        check_rows(session, service.settings.limits, principal.id, 1)
        session.add(Reference(repository_id=repository.id, name=called, kind=kind, oid=commit.oid))
        oid = commit.oid
        feed.change(session, "repository", repository.key)
        log.record(
            session, log.actor_of(principal), f"repository.{kind}", full_name(repository), name=called, commit=oid
        )
    service.changed()
    return oid
