"""What an operator looks up beside the running service: publishers, tokens, and releases that nobody sees yet."""

from __future__ import annotations

import datetime
from collections.abc import Iterator

from sqlalchemy import select

from cogen_registry.admission.quota import rows, usage
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Project, Publisher, Release, Token, now
from cogen_registry.errors import Refused

#: Cells of one line.
Line = tuple[str, ...]


def publishers(session: Session) -> Iterator[Line]:
    """Name, bytes that are stored, limits of its own, full name; then bytes by kind, and lines of the database."""
    for one in session.scalars(select(Publisher).order_by(Publisher.name)):
        limits = " ".join(f"{field}={value}" for field, value in sorted(one.limits.items()))
        used = usage(session, one.id)
        kinds = ", ".join(f"{size:,} {what}" for what, size in used.items() if size)
        more = f"{kinds or 'nothing'}; {rows(session, one.id):,} rows"
        yield one.name, f"{sum(used.values()):,} bytes", limits or "-", one.title, more


def tokens(session: Session, publisher: str | None = None) -> Iterator[Line]:
    """Number, publisher, state, scopes, label, last use; the secret is known to its owner alone."""
    asked = select(Token).join(Publisher).order_by(Publisher.name, Token.id)
    if publisher is not None:
        asked = asked.where(Publisher.name == publisher)
    for one in session.scalars(asked):
        yield (
            str(one.id),
            one.publisher.name,
            _state(one),
            " ".join(one.scopes),
            one.label or "-",
            _used(one.used),
        )


def _used(last: datetime.datetime | None) -> str:
    return "never used" if last is None else f"last used {_day(last)}"


def _state(token: Token) -> str:
    if token.revoked:
        return f"revoked {token.revoked:%Y-%m-%d}"
    if token.expires is None:
        return "valid"
    return f"{'expired' if token.expires <= now() else 'valid until'} {token.expires:%Y-%m-%d}"


def quarantine(session: Session) -> Iterator[Line]:
    """Release, publisher, since when, why; the oldest first."""
    waiting = select(Release).join(Project).where(Release.state == "quarantined").order_by(Release.created, Release.id)
    for one in session.scalars(waiting):
        yield f"{one.project.name} {one.version}", one.project.publisher.name, _day(one.created), one.reason or "-"


def _day(moment: datetime.datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M}"


def token_named(session: Session, name: str, digest: str) -> Token:
    """By its number in the list, or by the digest of its secret.

    :raises Refused: 404
    """
    short = name.isdecimal() and len(name) < 10
    found = session.get(Token, int(name)) if short else session.scalar(select(Token).where(Token.digest == digest))
    if found is None:
        raise Refused(404, "this token is not known", hint="`cogen-registry token list` has the numbers")
    return found
