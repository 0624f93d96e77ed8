"""``RECORD``: every file of a wheel with its hash."""

from __future__ import annotations

import base64
import binascii
import csv
import io
import re
from collections.abc import Collection

from cogen.wheels.errors import WheelError

_BUILD = "build the wheel again with a current build tool"
_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64}
Hashes = dict[str, tuple[str, bytes]]


def read_record(content: bytes, info: str, names: Collection[str]) -> Hashes:
    """Path → (hash, digest) of every member but RECORD itself.

    :param names: the files of the archive.
    :raises WheelError: a file is missing, listed twice or without a safe hash.
    """
    own = f"{info}/RECORD"
    found: Hashes = {}
    for row in rows(content):
        if row[0] == own and len(row) == 3 and not row[1]:
            continue
        digest = _digest(row[1]) if len(row) == 3 else None
        if digest is None or row[0] in found or row[0] == own:
            raise WheelError(f"RECORD lists {row[0][:200]!r} twice, or without its SHA-256", hint=_BUILD)
        found[row[0]] = digest
    if wrong := sorted(set(names) - {own} ^ set(found)):
        raise WheelError(f"RECORD and the archive differ in {wrong[0][:200]!r}", hint=_BUILD)
    return found


def rows(content: bytes) -> list[list[str]]:
    """The lines that are not empty.

    :raises WheelError: it is not CSV, or not text.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise WheelError("RECORD is not UTF-8 text", hint=_BUILD) from None
    try:
        return [row for row in csv.reader(io.StringIO(text, newline="")) if row]
    except csv.Error as error:
        raise WheelError(f"RECORD cannot be read: {error}", hint=_BUILD) from None


def _digest(text: str) -> tuple[str, bytes] | None:
    match = re.fullmatch(r"(sha256|sha384|sha512)=([A-Za-z0-9_-]{1,100})", text)
    if match is None:
        return None
    try:
        value = base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
    except (binascii.Error, ValueError):
        return None
    return (match[1], value) if len(value) == _LENGTHS[match[1]] else None
