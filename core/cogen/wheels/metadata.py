"""``METADATA`` and ``WHEEL``: what installers read of a wheel, read as they do and within bounds."""

from __future__ import annotations

import re
from dataclasses import dataclass

from packaging.metadata import ExceptionGroup, InvalidMetadata, Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from cogen.wheels.errors import WheelError
from cogen.wheels.limits import Limits

#: Bytes of a field. Readers take the parameters of a content type apart in time by their number, squared.
_LENGTH = 4_000
_LENGTHS = {
    b"license": 200_000,
    b"description": 200_000,
    b"keywords": 20_000,
    b"author": 20_000,
    b"maintainer": 20_000,
    b"author-email": 20_000,
    b"maintainer-email": 20_000,
    b"description-content-type": 200,
    b"requires-dist": 1_000,
    b"requires-python": 1_000,
    b"name": 200,
    b"version": 200,
}
_BUILD = "build the wheel again with a current build tool"


@dataclass(frozen=True)
class Described:
    """What a METADATA says that is acted upon."""

    requires_python: str | None
    summary: str
    requires: tuple[Requirement, ...]


def read_metadata(raw: bytes, project: str, version: Version, limits: Limits) -> Described:
    """:raises WheelError: it is not valid, of another release, or dear to read."""
    _check_headers(raw, limits)
    try:
        metadata = Metadata.from_email(raw, validate=True)
        name, own, summary = metadata.name, metadata.version, metadata.summary
        requires, python = tuple(metadata.requires_dist or ()), metadata.requires_python
    except ExceptionGroup as error:
        first = error.exceptions[0] if error.exceptions else error
        raise WheelError(f"METADATA is not valid: {' '.join(str(first).split())[:200]}", hint=_BUILD) from None
    except (InvalidMetadata, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise WheelError(f"METADATA is not valid: {' '.join(str(error).split())[:200]}", hint=_BUILD) from None
    if canonicalize_name(name) != project or own != version:
        raise WheelError(
            f"METADATA is of {name[:100]} {own}, the file's name of {project} {version}",
            hint="take the file as it was built",
        )
    if python is not None and len(str(python)) > 200:
        raise WheelError("Requires-Python has more than 200 characters", hint="shorten it")
    return Described(str(python) if python is not None else None, summary or "", requires)


def _check_headers(raw: bytes, limits: Limits) -> None:
    """The lines before the long text: few, none too long, and nothing that makes parts of the text.

    The reader looks each name up among all lines, so their number counts squared; brackets of a marker nest.
    """
    # only a line without even a blank ends them, for the reader
    head = raw.replace(b"\r\n", b"\n").replace(b"\r", b"\n").partition(b"\n\n")[0]
    lines = head.strip(b"\n").split(b"\n")
    if len(head) > limits.header_bytes or len(lines) > 20 * limits.headers:
        raise WheelError("METADATA has more than fits before its long text", hint="shorten it", too_large=True)
    fields: list[bytes] = []
    for line in lines:
        if fields and line[:1] in (b" ", b"\t"):
            fields[-1] += line
        else:
            fields.append(line)
    if len(fields) > limits.headers:
        raise WheelError(
            f"METADATA has {len(fields):,} fields, at most {limits.headers:,} are allowed",
            hint="shorten it",
            too_large=True,
        )
    for field in fields:
        name = field.partition(b":")[0].strip().lower()
        if name.startswith(b"content-") or name == b"mime-version":
            raise WheelError("METADATA is not valid: it says that its text has parts", hint=_BUILD)
        most = _LENGTHS.get(name, _LENGTH)
        if len(field) > most:
            shown = name[:40].decode("ascii", "replace")
            raise WheelError(
                f"METADATA's field {shown!r} has {len(field):,} bytes, at most {most:,} are allowed", hint="shorten it"
            )
        if name.startswith(b"requires") and field.count(b"(") > 20:
            raise WheelError("METADATA has a requirement of brackets in brackets", hint="shorten it")


def check_wheel_file(content: bytes) -> None:
    """``WHEEL`` says the same as the file's name, once, to everybody.

    :raises WheelError: it does not.
    """
    fields: dict[str, list[str]] = {}
    text = content.replace(b"\r\n", b"\n")
    if re.search(rb"[^\t\n\x20-\x7e]|\n[ \t]|\n\n+[^\n]|^[ \t\n]", text):
        raise WheelError("WHEEL has more than plain lines", hint=_BUILD)
    for line in text.decode("ascii").split("\n"):
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), []).append(value.strip())
        elif line:
            raise WheelError("WHEEL has more than plain lines", hint=_BUILD)
    right = {"root-is-purelib": ["true"], "tag": ["py3-none-any"], "build": []}
    if not re.fullmatch(r"1\.\d+", ",".join(fields.get("wheel-version", []))):
        raise WheelError("WHEEL is of a version that is not known", hint=_BUILD)
    for key, wanted in right.items():
        if [value.lower() for value in fields.get(key, [])] != wanted:
            raise WheelError(f"WHEEL and the file's name contradict each other in {key}", hint=_BUILD)
