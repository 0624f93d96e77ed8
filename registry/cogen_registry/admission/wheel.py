"""The rule of what a wheel may hold (:mod:`cogen.wheels`), applied to an upload; and what experts say, checked."""

from __future__ import annotations

import email
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from packaging.version import Version

from cogen.wheels import Limits as Sizes
from cogen.wheels import names, unpacked
from cogen_registry.errors import Refused, translated
from cogen_registry.settings import Limits

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec


@dataclass(frozen=True)
class Wheel:
    """A wheel that passed. ``metadata``: the bytes of its METADATA. ``experts``: their manifests.

    ``code``: does it hold anything that Python could run? ``requires``: what METADATA requires, cogen-core included.
    """

    project: str
    version: Version
    filename: str
    metadata: bytes
    requires_python: str | None
    summary: str
    experts: tuple[ExpertSpec, ...]
    code: bool
    requires: tuple[str, ...] = ()


def check_filename(filename: str) -> tuple[str, Version]:
    """As :func:`cogen.wheels.names.check_filename`.

    :raises Refused: 400
    """
    with translated():
        return names.check_filename(filename)


def check_marker(metadata: bytes) -> None:
    """As PyPI does: what is marked as private was never meant to be sent.

    :raises Refused: 400
    """
    found = email.message_from_bytes(metadata).get_all("Classifier") or []
    for classifier in found:
        if str(classifier).strip().lower().startswith("private ::"):
            raise Refused(
                400,
                f"the wheel is marked {str(classifier).strip()[:100]!r}",
                hint="`cogen publish` shows every file that leaves, asks, and takes the mark away",
            )


def check_wheel(path: Path, filename: str, limits: Limits, scratch: Path | None = None) -> Wheel:
    """Everything that can be said of a wheel by reading it.

    :param filename: Its name as uploaded; ``path`` is where its bytes are now.
    :param scratch: An existing folder to unpack in; nothing stays there.
    :raises Refused: 400 for what is wrong with it, 413 where it is too large.
    """
    from cogen_registry.admission.contents import check_experts

    sizes = Sizes(unpacked=limits.unpacked, members=limits.members, metadata=limits.metadata)
    with (
        translated(),
        unpacked(path, filename, sizes, allow=limits.allow_dependencies, scratch=scratch) as (wheel, place),
    ):
        raw = (place / wheel.info / "METADATA").read_bytes()
        check_marker(raw)
        experts = check_experts(place, wheel)
    return Wheel(
        wheel.project,
        Version(wheel.version),
        filename,
        raw,
        wheel.requires_python,
        wheel.summary,
        experts,
        wheel.code,
        wheel.requires,
    )
