"""Fingerprints as people type them."""

from __future__ import annotations

from cogen.errors import UsageError


def digits_of(wanted: str) -> str:
    """The hex digits of a fingerprint, or of its beginning.

    :raises UsageError: it is none, or too short to say anything.
    """
    digits = wanted.lower().removeprefix("sha256:")
    if not 16 <= len(digits) <= 64 or not all(digit in "0123456789abcdef" for digit in digits):
        raise UsageError(f"{wanted!r} is not a fingerprint", hint="sha256: and at least 16 hex digits")
    return digits
