"""``/tuf/…``: bytes of the tables, as python-tuf's client asks for them."""

from __future__ import annotations

import re

from sqlalchemy import select

from cogen_registry.database.tables import SignedFile, SignedRole
from cogen_registry.errors import not_found
from cogen_registry.service import Service

_HINT = "timestamp.json is the newest; N.root.json, N.snapshot.json and N.ROLE.json are versions"


def role(service: Service, name: str) -> tuple[bytes, bool]:
    """(``timestamp.json`` or ``N.ROLE.json``, may it be kept for ever).

    :raises Refused: 404
    """
    match = re.fullmatch(r"(?:([1-9]\d{0,8})\.)?([a-z]+(?:-[0-9a-f]{1,8})?)\.json", name)
    if match is None or (match[1] is None) is not (match[2] == "timestamp"):
        raise not_found(f"metadata {name[:100]!r}", _HINT)
    rows = select(SignedRole.data).where(SignedRole.role == match[2]).order_by(SignedRole.version.desc()).limit(1)
    with service.sessions.read() as session:
        data = session.scalar(rows if match[1] is None else rows.where(SignedRole.version == int(match[1])))
    if data is None:
        raise not_found(f"metadata {name!r}", _HINT)
    return data, match[1] is not None


def target(service: Service, path: str) -> bytes:
    """``FOLDER/SHA256.NAME``.

    :raises Refused: 404
    """
    match = re.fullmatch(r"((?:[a-z0-9-]+/)*)([0-9a-f]{64})\.([a-z0-9.]+)", path)
    data = None
    if match is not None:
        with service.sessions.read() as session:
            data = session.scalar(
                select(SignedFile.data).where(SignedFile.path == match[1] + match[3], SignedFile.sha256 == match[2])
            )
    if data is None:
        raise not_found(f"target {path[:200]!r}", "the metadata in /tuf/ names all that there are")
    return data
