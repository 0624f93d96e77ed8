"""Small files that appear whole or not at all, and digests: without anything of the rooms above."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from cogen.trust.errors import TrustError


def sha256_of(path: Path) -> str:
    """Hex SHA-256 of one file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write ``text`` to ``path``, whole or not at all; only the owner may read it unless ``mode`` says otherwise.

    :raises TrustError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if mode == 0o600 else 0o755)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")  # 0600 from the start
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise TrustError(f"{path} cannot be written: {error.strerror}", hint="check its permissions") from error
