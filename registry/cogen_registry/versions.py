"""Versions as strangers write them."""

from __future__ import annotations

from packaging.version import InvalidVersion, Version

#: What fits into the database; Python itself takes no numbers of more than 4,300 digits.
LONGEST = 100


def version_of(text: str) -> Version:
    """:raises InvalidVersion: it is none of PEP 440, or longer than any that could be stored."""
    if len(text) > LONGEST:
        raise InvalidVersion(f"{text[:20]}… has more than {LONGEST} characters")
    return Version(text)
