"""Data or code, of releases from before the registry looked: read from their wheels, once."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path

from sqlalchemy import select

from cogen.wheels import Limits, WheelError
from cogen.wheels.archive import blocks, open_archive
from cogen.wheels.kinds import is_code
from cogen_registry.database.tables import Release
from cogen_registry.errors import Refused
from cogen_registry.service import Service

_log = logging.getLogger(__name__)
_LARGEST = 1 << 20


def fill(service: Service) -> int:
    """Write down of every release of which it is not known whether it holds code; how many there were."""
    with service.sessions.read() as session:
        unknown = session.execute(select(Release.id, Release.sha256).where(Release.code.is_(None))).all()
    count = failed = 0
    for release, sha256 in unknown:
        try:
            found = _look(service, sha256)
        except (Refused, OSError) as error:
            failed += 1
            if failed == 1:
                _log.warning("release %s: data or code? its wheel cannot be read: %s", release, error)
            continue
        with service.sessions.write() as session:
            row = session.get(Release, release)
            if row is not None and row.code is None:
                row.code = found
                count += 1
    if failed > 1:
        _log.warning("nor of %d others; `cogen-registry check` says which bytes are lost", failed - 1)
    if count:
        service.changed()
    return count


def _look(service: Service, sha256: str) -> bool:
    """What cannot be read as the rule wants it counts as code."""
    with tempfile.TemporaryDirectory(prefix="cogen-code-", dir=service.settings.root) as place:
        path = Path(place) / "wheel"
        with path.open("wb") as file:
            for block in service.blobs.read(sha256):
                file.write(block)
        try:
            with open_archive(path, Limits()) as archive:
                return any(
                    is_code(info.filename, b"".join(blocks(archive, info)) if info.file_size <= _LARGEST else b"large")
                    for info in archive.infolist()
                    if not info.is_dir()
                    and info.filename.lower().endswith((".py", ".pyc", ".pyd", ".so", ".pth", ".pyw"))
                )
        except WheelError:
            return True
