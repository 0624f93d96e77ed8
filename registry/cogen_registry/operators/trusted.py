"""Trusted publishing: a build machine proves by its own issuer who it is, and gets a token of a few minutes.

Operators say which issuer and which claims (:func:`add`). No other issuer is ever asked for anything, and an identity
token is good for one exchange.
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from cogen_registry.admission.names import project_name
from cogen_registry.audit import log, removals
from cogen_registry.auth import digest, made_token
from cogen_registry.database.tables import Exchanged, Project, Publisher, Token, TrustedPublisher, now
from cogen_registry.errors import Refused, not_found
from cogen_registry.operators.issuers import Identity, Issuers, is_issuer
from cogen_registry.service import Service

#: How long a token lives that was given for an identity.
LASTS = datetime.timedelta(minutes=15)
#: Short names of issuers, and which claims name whose build it is: one of them has to be asked for.
ISSUERS = {"github": "https://token.actions.githubusercontent.com", "gitlab": "https://gitlab.com"}
_WHOSE = ("sub", "repository", "repository_id", "project_path", "project_id", "email")
#: Claims that hold ``PLACE/path/of/workflow.yml@ref``, the one that says most first.
_WORKFLOWS = ("job_workflow_ref", "workflow_ref", "ci_config_ref_uri")
_HINT = "`cogen-registry trusted-publisher add` says who may publish a project from where"


def add(
    session: Session, who: log.Actor, project: str, issuer: str, claims: dict[str, str], publisher: str | None
) -> TrustedPublisher:
    """Let an identity get tokens for a project: that of its owner, or where it is not there yet, of ``publisher``.

    :raises Refused: 400, 404, 409
    """
    name = project_name(project)
    issuer = ISSUERS.get(issuer, issuer)
    if not is_issuer(issuer):
        raise Refused(400, f"{issuer!r} is not an issuer", hint="an https URL, or one of " + ", ".join(ISSUERS))
    if not any(claims.get(one) for one in _WHOSE):
        raise Refused(
            400,
            "these claims would let in everybody who builds at this issuer",
            hint="--subject …, or --claims with one of " + ", ".join(_WHOSE[1:]),
        )
    owner = _owner(session, name, publisher)
    known = session.scalars(select(TrustedPublisher).where(TrustedPublisher.project == name)).all()
    if any((one.issuer, one.claims, one.publisher_id) == (issuer, claims, owner.id) for one in known):
        raise Refused(409, f"{name} has this trusted publisher already", hint="nothing to do")
    made = TrustedPublisher(publisher_id=owner.id, project=name, issuer=issuer, claims=claims)
    session.add(made)
    session.flush()
    log.record(
        session, who, "trusted-publisher.add", name, id=made.id, issuer=issuer, claims=claims, publisher=owner.name
    )
    return made


def _owner(session: Session, project: str, publisher: str | None) -> Publisher:
    found = session.scalar(select(Project).where(Project.name == project))
    if found is not None:
        if publisher not in (None, found.publisher.name):
            raise Refused(409, f"{project} is {found.publisher.name}'s", hint="leave out --publisher")
        return found.publisher
    if publisher is None:
        raise Refused(404, f"there is no project {project} yet", hint="--publisher says whose it will be")
    owner = session.scalar(select(Publisher).where(Publisher.name == publisher))
    if owner is None:
        raise not_found(f"publisher {publisher!r}", f"cogen-registry publisher add {publisher}")
    return owner


def remove(session: Session, who: log.Actor, id: int) -> TrustedPublisher:
    """:raises Refused: 404"""
    found = session.get(TrustedPublisher, id)
    if found is None:
        raise not_found(f"trusted publisher {id}", "`cogen-registry trusted-publisher list` has the numbers")
    session.delete(found)
    log.record(session, who, "trusted-publisher.remove", found.project, id=id, issuer=found.issuer, claims=found.claims)
    return found


@dataclass(frozen=True)
class Minted:
    """A token, and what it is for."""

    token: str
    expires: datetime.datetime
    projects: list[str]


def exchange(service: Service, issuers: Issuers, audience: str, token: str, address: str | None) -> Minted:
    """A short-lived token for whoever an identity token names; it is good for no second exchange.

    :raises Refused: 422, it does not hold, or nobody trusts it.
    """
    with service.sessions.read() as session:
        known = set(session.scalars(select(TrustedPublisher.issuer).distinct()))
    identity = issuers.verified(token, audience, known)
    try:
        with service.sessions.write() as session:
            return _mint(session, identity, address)
    except IntegrityError:  # the same identity token twice at the same moment
        raise _used() from None


def _mint(session: Session, identity: Identity, address: str | None) -> Minted:
    jti = hashlib.sha256(identity.jti.encode()).hexdigest()
    if session.get(Exchanged, (identity.issuer, jti)) is not None:
        raise _used()
    rows = session.scalars(
        select(TrustedPublisher).where(TrustedPublisher.issuer == identity.issuer).order_by(TrustedPublisher.id)
    )
    trusted = [one for one in rows if matches(one.claims, identity.claims)]
    # What was transferred meanwhile is somebody else's.
    names = [one.project for one in trusted]
    owned = session.execute(select(Project.name, Project.publisher_id).where(Project.name.in_(names)))
    owners = {row.name: row.publisher_id for row in owned}
    trusted = [one for one in trusted if owners.get(one.project, one.publisher_id) == one.publisher_id]
    if not trusted:
        shown = ", ".join(f"{key}={identity.claims[key]}" for key in _WHOSE if identity.claims.get(key))
        raise Refused(422, f"no project trusts this identity ({shown})"[:400], hint=_HINT)
    publisher = trusted[0].publisher
    if any(one.publisher_id != publisher.id for one in trusted):
        raise Refused(422, "projects of several publishers trust this identity", hint="narrow the claims of each")
    removals.check(session, "publisher", publisher.id, f"publisher {publisher.name}")
    projects = sorted({one.project for one in trusted})
    expires = now() + LASTS
    secret, row = made_token(session, publisher, [f"packages:{one}" for one in projects], _label(identity), expires)
    _forget(session)
    session.add(
        Exchanged(
            issuer=identity.issuer, jti=jti, expires=identity.expires, minted=row.id, claims=identity.shown_claims()
        )
    )
    who = log.Actor(publisher=publisher.name, token=row.id, address=address)
    log.record(
        session,
        who,
        "token.mint",
        publisher.name,
        projects=projects,
        issuer=identity.issuer,
        claims=identity.shown_claims(),
        expires=expires.isoformat(),
    )
    return Minted(secret, expires, projects)


def _forget(session: Session) -> None:
    """Exchanges that nobody can repeat, with the tokens that were given for them."""
    old = select(Exchanged).where(Exchanged.expires < now() - datetime.timedelta(days=1)).limit(500)
    for one in session.scalars(old).all():
        session.execute(delete(Token).where(Token.id == one.minted))
        session.delete(one)


def burn(session: Session, token: str, address: str | None) -> None:
    """End a token that was given for an identity, once it is not needed any longer; of others nothing is said."""
    found = session.scalar(select(Token).where(Token.digest == digest(token)))
    if found is None or found.revoked or session.scalar(select(Exchanged).where(Exchanged.minted == found.id)) is None:
        return
    found.revoked = now()
    who = log.Actor(publisher=found.publisher.name, token=found.id, address=address)
    log.record(session, who, "token.burn", found.publisher.name)


def _label(identity: Identity) -> str:
    return f"{identity.issuer.partition('//')[2]} {identity.claims.get('sub', '')}"[:100]


def _used() -> Refused:
    return Refused(422, "this identity token was used already", hint="ask the issuer for a new one, and try again")


def matches(wanted: dict[str, Any], claims: dict[str, Any]) -> bool:
    """Has the identity all of the claims, exactly? ``workflow=release.yml`` is the file that the build runs."""
    return all(_has(name, str(value), claims) for name, value in wanted.items())


def _has(name: str, value: str, claims: dict[str, Any]) -> bool:
    if name == "workflow" and re.search(r"\.ya?ml$", value):
        place = next((str(claims[one]) for one in _WORKFLOWS if claims.get(one)), "")
        path = place.rpartition("@")[0]
        return path.endswith("/" + value) and _inside(path, claims)
    found = claims.get(name)
    return isinstance(found, (str, int)) and not isinstance(found, bool) and str(found) == value


def _inside(path: str, claims: dict[str, Any]) -> bool:
    """A workflow of another repository has the same name easily: it must be one of the repository that builds."""
    own = claims.get("repository") or claims.get("project_path")
    return isinstance(own, str) and f"/{path}".find(f"/{own}/") >= 0


def listed(session: Session, project: str | None = None) -> Sequence[TrustedPublisher]:
    wanted = select(TrustedPublisher).order_by(TrustedPublisher.project, TrustedPublisher.id)
    return session.scalars(wanted if project is None else wanted.where(TrustedPublisher.project == project)).all()
