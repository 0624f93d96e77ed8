"""A publisher removes the bytes of what is its own, for good: the same purge that operators have, a hold wins over it.

The name and the version stay taken, and who asks is told the reason. A confirmation is part of the request: the name of
what goes, written out, so that no slip and no loop over a list takes anything with it.
"""

from __future__ import annotations

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.orm import Session

from cogen_registry.audit import log
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.tables import Project, Publisher, Repository
from cogen_registry.errors import Refused, not_found
from cogen_registry.operators.purge import delete_doomed
from cogen_registry.operators.takedown import Subject, take_down
from cogen_registry.service import Service


def purge_release(
    service: Service, principal: Principal, project: str, version: str, reason: str, confirmation: str
) -> int:
    """The wheel, its metadata, manifests and what others measured of it; how many rows are hidden.

    :raises Refused: 400, no reason, or the confirmation is not ``PROJECT==VERSION``; 403, it is not the publisher's, or
        the token is for one project alone; 404; 409, a legal hold, or it was purged before.
    """
    principal.need("packages")
    name = str(canonicalize_name(project))
    subject = Subject.of("release", f"{name}=={version}")
    _check_confirmation(confirmation, f"{name}=={version}")
    with service.sessions.write() as session:
        confirm(session, principal)
        owner = session.scalar(select(Project.publisher_id).where(Project.name == name))
        _check_owner(principal, owner, f"release {name} {version}"[:200])
        rows = take_down(session, log.actor_of(principal), subject, reason, purge=True)
    return _deleted(service, rows)


def purge_repository(
    service: Service, principal: Principal, namespace: str, name: str, reason: str, confirmation: str
) -> int:
    """Every commit of a repository of weights, and all bytes that were sent to it.

    :raises Refused: as :func:`purge_release`; the confirmation is ``NAMESPACE/NAME``.
    """
    principal.need("weights")
    key = f"{namespace}/{name}".lower()
    _check_confirmation(confirmation, key)
    with service.sessions.write() as session:
        confirm(session, principal)
        _check_owner(principal, _owner_of(session, key), f"repository {namespace}/{name}"[:200])
        rows = take_down(session, log.actor_of(principal), Subject.of("repository", key), reason, purge=True)
    return _deleted(service, rows)


def _owner_of(session: Session, key: str) -> int | None:
    owner = select(Repository.publisher_id).join(Publisher, Publisher.id == Repository.publisher_id)
    return session.scalar(owner.where(Repository.key == key))


def _check_confirmation(given: str, wanted: str) -> None:
    if given.strip().lower() != wanted.lower():
        raise Refused(400, "a purge is confirmed by the name of what goes", hint=f'"confirm": "{wanted[:200]}"')


def _check_owner(principal: Principal, owner: int | None, what: str) -> None:
    if owner is None:
        raise not_found(what, "it is named as it was published")
    if owner != principal.id:
        raise Refused(403, f"{what} belongs to another publisher", hint="ask its publisher, or the registry's operator")


def _deleted(service: Service, rows: int) -> int:
    """The bytes go before the answer does; where the store fails now, the service tries again."""
    service.changed()
    delete_doomed(service)
    return rows
