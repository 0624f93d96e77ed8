"""Who asks: a token with scopes, sent as ``Bearer TOKEN`` (hf, cogen) or as Basic ``__token__:TOKEN`` (twine, uv)."""

from __future__ import annotations

import base64
import datetime
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from packaging.utils import InvalidName, canonicalize_name
from sqlalchemy import select

from cogen_registry.audit.removals import takedown_of
from cogen_registry.database.sessions import Session, Sessions
from cogen_registry.database.tables import Publisher, Token, now
from cogen_registry.errors import Refused

#: What a token may do. ``packages`` and ``weights`` upload; ``evaluations`` says what was measured, and of composites;
#: ``keys`` adds and revokes the keys that releases are signed with. ``packages:NAME`` is for one project alone.
SCOPES = ("packages", "weights", "evaluations", "keys")
PREFIX = "cogen_"


@dataclass(frozen=True)
class Principal:
    """A publisher who proved a token."""

    id: int
    name: str
    scopes: frozenset[str]
    limits: dict[str, Any]
    #: The row of the token, and where the request came from: for the audit log.
    token: int | None = None
    address: str | None = None

    def need(self, scope: str, project: str | None = None) -> None:
        """:raises Refused: 403, the token has no such scope."""
        if scope not in self.scopes and (project is None or f"{scope}:{project}" not in self.scopes):
            raise Refused(
                403, f"this token has no scope {scope!r}", hint="ask the registry's operator for a token that has it"
            )


def checked_scopes(wanted: list[str]) -> list[str]:
    """Scopes as a token holds them; "all" stands for every one.

    :raises Refused: 400, there are none, or unknown ones.
    """
    every = ", ".join((*SCOPES, "packages:PROJECT"))
    if not wanted:
        raise Refused(400, "no scope was given for the token", hint=f"--scope one of {every}; or --scope all")
    if "all" in wanted:
        return list(SCOPES)
    found = []
    for one in wanted:
        scope, colon, project = one.partition(":")
        if scope not in SCOPES or (colon and scope != "packages"):
            raise Refused(400, f"{one!r} is no scope", hint=f"one of {every}; or all")
        found.append(f"{scope}:{_project(project)}" if colon else scope)
    return list(dict.fromkeys(found))


def _project(name: str) -> str:
    """:raises Refused: 400, it names no project: there are no wildcards, and one scope is one project."""
    try:
        return str(canonicalize_name(name.strip(), validate=True))
    except InvalidName:
        raise Refused(
            400,
            f"{name.strip()!r} names no project",
            hint="packages:cogen-plugin-power is for that project alone, packages for all projects of the publisher",
        ) from None


def new_token(
    session: Session, publisher: Publisher, scopes: list[str], label: str = "", expires: datetime.datetime | None = None
) -> str:
    """A fresh secret, stored as its digest alone."""
    return made_token(session, publisher, scopes, label, expires)[0]


def made_token(
    session: Session, publisher: Publisher, scopes: list[str], label: str = "", expires: datetime.datetime | None = None
) -> tuple[str, Token]:
    """The same, and its row."""
    secret = PREFIX + secrets.token_urlsafe(32)
    row = Token(publisher_id=publisher.id, label=label, digest=digest(secret), scopes=scopes, expires=expires)
    session.add(row)
    session.flush()
    return secret, row


def digest(secret: str) -> str:
    """A fast hash is enough: secrets are random and of 256 bits."""
    return hashlib.sha256(secret.encode()).hexdigest()


def secret_of(request: Request) -> str | None:
    """The token of a request, ``None`` without one.

    :raises Refused: 401, the header is neither of the two forms.
    """
    header = request.headers.get("authorization", "")
    kind, _, value = header.partition(" ")
    if not header:
        return None
    if kind.lower() == "bearer":
        return value.strip()
    if kind.lower() == "basic":
        try:
            _, _, password = base64.b64decode(value, validate=True).decode().partition(":")
        except ValueError:  # of base64, of UTF-8, and of a header that is not ASCII
            password = ""
        if password:
            return password
    raise _unknown()


def principal_of(sessions: Sessions, secret: str | None, address: str | None = None) -> Principal | None:
    """:raises Refused: 401, the token is not known, expired or revoked; 403, its publisher was taken down."""
    if secret is None:
        return None
    with sessions.read() as session:
        token = session.scalar(select(Token).where(Token.digest == digest(secret)))
        if token is None or token.revoked or (token.expires and token.expires <= now()):
            raise _unknown()
        owner = token.publisher
        if (why := takedown_of(session, "publisher", owner.id)) is not None:
            raise Refused(403, f"{owner.name} was taken down: {why.reason}", hint="ask the registry's operator")
        sessions.tally.used(token.id)
        return Principal(
            owner.id, owner.name, frozenset(token.scopes), dict(owner.limits), token=token.id, address=address
        )


def confirm(session: Session, principal: Principal) -> None:
    """Once more, within the transaction that writes: a request may have waited, and its publisher been taken down or
    its token revoked meanwhile. The publisher's row is held: a take-down waits, or is seen here.

    :raises Refused: 401, 403
    """
    owner = session.get_one(Publisher, principal.id, with_for_update={"read": True}, populate_existing=True)
    if (why := takedown_of(session, "publisher", owner.id)) is not None:
        raise Refused(403, f"{owner.name} was taken down: {why.reason}", hint="ask the registry's operator")
    if principal.token is not None:
        token = session.get(Token, principal.token, populate_existing=True)
        if token is None or token.revoked:  # one that ends meanwhile was good when it was shown
            raise _unknown()


def address_of(request: Request) -> str | None:
    """Of the client; behind a proxy, what the proxy says it is."""
    return request.client.host if request.client else None


def required(sessions: Sessions, scope: str | None = None) -> Callable[[Request], Principal]:
    """A dependency of FastAPI: who asks, with a scope."""

    def found(request: Request) -> Principal:
        principal = principal_of(sessions, secret_of(request), address_of(request))
        if principal is None:
            raise Refused(
                401,
                "authentication required: no token was sent",
                hint="run `cogen login`, or send it as password of the user __token__",
                headers={"WWW-Authenticate": 'Basic realm="cogen-registry"'},
            )
        if scope:
            principal.need(scope)
        return principal

    return found


def _unknown() -> Refused:
    # The Hub's client takes a bare 401 for a repository that is not there, unless it reads this.
    return Refused(
        401,
        "unknown or expired token",
        hint="ask the registry's operator for a new one",
        headers={"X-Error-Message": "Invalid credentials in Authorization header"},
    )
