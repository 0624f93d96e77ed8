"""What is wrong with a key, a signature or a receipt."""

from __future__ import annotations

from cogen.errors import CogenError


class TrustError(CogenError):
    """Something is not what its publisher signed, or not signed at all."""
