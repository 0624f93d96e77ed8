"""Public keys of publishers: who adds one proves that it is theirs; a key that was taken back never comes again.

The first key of a publisher needs a token alone, every further one the signature of a key that it has: who steals a
token adds none.
"""

from __future__ import annotations

from sqlalchemy import func, select

from cogen.errors import CogenError
from cogen.trust.keys import check_possession, check_succession, fingerprint, plain
from cogen_registry.audit import log
from cogen_registry.auth import Principal, confirm
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Key, now
from cogen_registry.errors import Refused, not_found
from cogen_registry.experts import models
from cogen_registry.service import Service

#: Keys of one publisher, those that were revoked with them.
MOST = 50


def add(service: Service, principal: Principal, new: models.NewKey) -> tuple[models.PublicKey, bool]:
    """Add a key after its proof; the same again is the same. (the key, is it new?)

    :raises Refused: 409, 422, 429
    """
    try:
        name = fingerprint(new.pem)
        check_possession(new.pem, principal.name, new.proof)
    except CogenError as error:
        raise Refused(422, error.message, hint=error.hint or "see docs/registry.md") from error
    agreed = _agreed(service, principal, new, name)
    with service.sessions.write() as session:
        confirm(session, principal)
        known = session.scalar(select(Key).where(Key.fingerprint == name))
        if known is not None and (known.publisher_id != principal.id or known.revoked):
            raise Refused(409, "this key was revoked, or is another publisher's", hint="make a new one")
        if known is None:
            if agreed not in _live(session, principal.id):  # looked at again: it may have changed meanwhile
                raise _without(principal)
            if (session.scalar(select(func.count()).where(Key.publisher_id == principal.id)) or 0) >= MOST:
                raise Refused(429, f"{principal.name} has {MOST} keys already", hint="ask the registry's operator")
            made = Key(publisher_id=principal.id, fingerprint=name, pem=plain(new.pem))
            session.add(made)
            session.flush()
            service.change(session, "publisher", principal.name)
            log.record(session, log.actor_of(principal), "key.add", principal.name, key=name)
        answer = models.PublicKey.model_validate(known or made, from_attributes=True)
    if known is None:
        service.changed()
    return answer, known is None


def _agreed(service: Service, principal: Principal, new: models.NewKey, name: str) -> str | None:
    """The fingerprint of the live key that agrees to the new one; ``None``: there is none yet.

    :raises Refused: 403, there is one, and it doesn't.
    """
    with service.sessions.read() as session:
        live = _live(session, principal.id)
    if None in live or name in live:
        return None
    if new.by is None or new.by.fingerprint not in live:
        raise _without(principal)
    try:
        check_succession(str(live[new.by.fingerprint]), principal.name, name, new.by.proof)
    except CogenError as error:
        raise Refused(403, error.message, hint=error.hint or "see docs/registry.md") from error
    return new.by.fingerprint


def _live(session: Session, publisher: int) -> dict[str | None, str | None]:
    """Fingerprint → key, of all that were not revoked; ``{None: None}``: there is none."""
    rows = session.execute(select(Key.fingerprint, Key.pem).where(Key.publisher_id == publisher, Key.revoked.is_(None)))
    return {row.fingerprint: row.pem for row in rows} or {None: None}


def _without(principal: Principal) -> Refused:
    return Refused(
        403,
        f"{principal.name} has a key already, and a further one needs its signature",
        hint="`cogen key rotate` exchanges a key; a lost one the registry's operator revokes",
    )


def revoke(service: Service, principal: Principal, name: str) -> models.PublicKey:
    """Take a key back, for ever. What it signed stays there and says so.

    :param name: its fingerprint.
    :raises Refused: 404, it is none of this publisher's.
    """
    with service.sessions.write() as session:
        confirm(session, principal)
        key = session.scalar(select(Key).where(Key.fingerprint == name, Key.publisher_id == principal.id))
        if key is None:
            raise not_found(f"key {name!r} of {principal.name}", f"/api/v1/publishers/{principal.name} lists your keys")
        if key.revoked is None:
            key.revoked = now()
            log.record(session, log.actor_of(principal), "key.revoke", principal.name, key=name)
        service.change(session, "publisher", principal.name)
        answer = models.PublicKey.model_validate(key, from_attributes=True)
    service.changed()
    return answer
