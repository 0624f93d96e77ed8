"""What goes between the service and its workers: JSON with its length before it, never a pickle.

A worker has read a stranger's bytes, so that what it says is checked here like anything else that comes from outside.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from typing import IO, TYPE_CHECKING, Any, BinaryIO

from packaging.version import Version

if TYPE_CHECKING:
    from cogen_registry.admission.wheel import Wheel

#: Bytes of one message. The manifests of a wheel are most of it.
LARGEST = 64 << 20
#: Types of fields, as they stand in the source.
_SPECS, _TEXTS = "tuple[ExpertSpec, ...]", "tuple[str, ...]"


class Garbled(Exception):
    """The other side said something that is not of this protocol, or ended."""


def send(file: IO[bytes], value: object) -> None:
    data = json.dumps(value, separators=(",", ":")).encode()
    file.write(len(data).to_bytes(4, "big") + data)
    file.flush()


def parse(data: bytes) -> dict[str, Any]:
    """:raises Garbled: it is not JSON, or no object."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Garbled(str(error)) from None
    if not isinstance(value, dict):
        raise Garbled("it is not an object")
    return value


def receive(file: BinaryIO) -> dict[str, Any] | None:
    """The next message; ``None`` at the end. Waits as long as it takes.

    :raises Garbled: it is cut off, too long or not JSON.
    """
    head = file.read(4)
    if not head:
        return None
    length = int.from_bytes(head, "big")
    data = file.read(length) if length <= LARGEST else b""
    if len(data) != length:
        raise Garbled("it is cut off, or too long")
    return parse(data)


def of_wheel(wheel: Wheel) -> dict[str, Any]:
    """A wheel that passed, field by field, as JSON."""
    return {field.name: _out(str(field.type), getattr(wheel, field.name)) for field in dataclasses.fields(wheel)}


def _out(kind: str, value: Any) -> Any:
    if kind == "Version":
        return {"version": str(value)}
    if kind == "bytes":
        return {"bytes": base64.b64encode(value).decode()}
    if kind == _SPECS:
        return {"specs": [spec.model_dump_json() for spec in value]}
    return list(value) if kind == _TEXTS else value


def to_wheel(document: dict[str, Any]) -> Wheel:
    """:raises Garbled: fields are missing, too many, or of another type; a manifest is not valid."""
    from cogen_registry.admission.wheel import Wheel

    fields = {field.name: str(field.type) for field in dataclasses.fields(Wheel)}
    if document.keys() != fields.keys():
        raise Garbled("a wheel with other fields")
    try:
        return Wheel(**{name: _in(fields[name], value) for name, value in document.items()})
    except (ValueError, KeyError, TypeError) as error:  # InvalidVersion, binascii.Error and ValidationError are some
        raise Garbled(f"a wheel that is none: {str(error)[:200]}") from None


def _in(kind: str, value: Any) -> Any:
    from cogen.spec.expert import ExpertSpec

    if kind == "Version":
        return Version(value["version"])
    if kind == "bytes":
        return base64.b64decode(value["bytes"], validate=True)
    if kind == _SPECS:
        return tuple(ExpertSpec.model_validate_json(one) for one in value["specs"])
    if kind == _TEXTS:
        return tuple(_in("str", one) for one in value)
    plain = {"str": (str,), "str | None": (str, type(None)), "bool": (bool,), "int": (int,)}[kind]
    if not isinstance(value, plain):
        raise ValueError(f"{kind} was expected")
    return value
