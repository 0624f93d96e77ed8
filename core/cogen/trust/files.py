"""Files of the user's own: settings, keys that were seen, receipts."""

from __future__ import annotations

from pathlib import Path

from cogen.files import atomic_write
from cogen.system_errors import describe
from cogen.trust.errors import TrustError


def write_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Write ``text`` to ``path``, whole or not at all; only the owner may read it unless ``mode`` says otherwise.

    :raises TrustError: it can't be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700 if mode == 0o600 else 0o755)
        atomic_write(path, text.encode(), mode)
    except OSError as error:
        wrong, hint = describe(error)
        raise TrustError(f"{path} cannot be written: {wrong}", hint=hint) from error
