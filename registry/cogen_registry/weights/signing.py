"""What this service signs for itself: URLs that need no token, and tokens of the Xet shim."""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import time
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from cogen_registry.database.sessions import Sessions
from cogen_registry.database.tables import Secret

#: Seconds that a signature is good for. Checked where a body begins, so a slow upload may take longer.
LASTS = 6 * 3600
_NAME = "url.key"


class UrlSigner:
    """HMAC-SHA256 with a secret of 32 bytes: what one replica signs holds at all of them."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def sign(self, *parts: str | int) -> str:
        """:param parts: Numbers and words without a line break; the first says what the signature is for."""
        return hmac.new(self._key, "\n".join(map(str, parts)).encode(), hashlib.sha256).hexdigest()

    def holds(self, signature: str, expires: int, *parts: str | int) -> bool:
        """Whether this very thing was signed, and its time is not over."""
        fresh = hmac.compare_digest(signature.encode(), self.sign(*parts, expires).encode())
        return fresh and time.time() < expires


def expiry() -> int:
    return int(time.time()) + LASTS


def key_of(root: Path, sessions: Sessions) -> bytes:
    """In ``root/url.key``, which its owner alone may read; of several replicas in the database, which all of them read.

    A root that had its own before gives it to the database: links under way go on.
    """
    file = root / "url.key"
    if not sessions.postgresql:
        return _key(file)
    fresh = file.read_bytes() if file.exists() else secrets.token_bytes(32)
    with sessions.write() as session:
        session.execute(insert(Secret).values(name=_NAME, value=fresh).on_conflict_do_nothing())
        return session.scalars(select(Secret.value).where(Secret.name == _NAME)).one()


def _key(file: Path) -> bytes:
    """Made once; whole or not there, and nobody else's to read from its first moment."""
    if not file.exists():
        draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as opened:
            opened.write(secrets.token_bytes(32))
            opened.flush()
            os.fsync(opened.fileno())
        draft.replace(file)
    return file.read_bytes()
