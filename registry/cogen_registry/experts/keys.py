"""Public keys of publishers: who adds one proves that it is theirs; a key that was taken back never comes again."""

from __future__ import annotations

from sqlalchemy import func, select

from cogen.errors import CogenError
from cogen.trust.keys import check_possession, fingerprint, plain
from cogen_registry.audit import log
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Key, now
from cogen_registry.errors import Refused, missing
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
        raise Refused(422, error.message, hint=error.hint) from error
    with service.sessions.write() as session:
        known = session.scalar(select(Key).where(Key.fingerprint == name))
        if known is not None and (known.publisher_id != principal.id or known.revoked):
            raise Refused(409, "this key was revoked, or is another publisher's", hint="make a new one")
        if known is None:
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


def revoke(service: Service, principal: Principal, name: str) -> models.PublicKey:
    """Take a key back, for ever. What it signed stays there and says so.

    :param name: its fingerprint.
    :raises Refused: 404, it is none of this publisher's.
    """
    with service.sessions.write() as session:
        key = session.scalar(select(Key).where(Key.fingerprint == name, Key.publisher_id == principal.id))
        if key is None:
            raise missing(f"key {name!r} of {principal.name}", f"/api/v1/publishers/{principal.name} lists your keys")
        if key.revoked is None:
            key.revoked = now()
            log.record(session, log.actor_of(principal), "key.revoke", principal.name, key=name)
        service.change(session, "publisher", principal.name)
        answer = models.PublicKey.model_validate(key, from_attributes=True)
    service.changed()
    return answer
