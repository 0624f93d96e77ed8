"""Looking for pinned weights in this registry: in its repositories and in the wheels that it released."""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from packaging.utils import canonicalize_name, canonicalize_version
from sqlalchemy import select

from cogen_registry.admission.pins import Pin
from cogen_registry.admission.weights import folder_digest, taken
from cogen_registry.audit.removals import shown
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Entry, Project, Release, Repository, Verified
from cogen_registry.service import Service

#: Of what one wheel may unpack to: as much is read for the pins of one release.
_MOST = 4


class PinNotFound(Exception):
    """Not here. ``final``: these very bytes are here and are others, so that looking elsewhere is of no use."""

    def __init__(self, reason: str, *, final: bool = False) -> None:
        super().__init__(reason)
        self.reason, self.final = reason, final


class ReadBudget:
    """Bytes that may be read for the pins of one release: a source of 440 characters can name a wheel twenty times."""

    def __init__(self, most: int) -> None:
        self._most = self._left = most

    def take(self, size: int) -> None:
        """:raises PinNotFound: it is too much."""
        self._left -= size
        if self._left < 0:
            raise PinNotFound(f"its pinned weights take more than {self._most:,} bytes to read", final=True)


def read_budget(service: Service) -> ReadBudget:
    """For the pins of one release."""
    return ReadBudget(_MOST * service.settings.limits.unpacked)


def find_pin(service: Service, session: Session, pin: Pin, budget: ReadBudget | None = None) -> None:
    """Return if the pinned weights are here with their digest, or were verified elsewhere before.

    :param budget: what may be read for this and other pins.
    :raises PinNotFound: otherwise.
    """
    budget = budget or read_budget(service)
    if session.get(Verified, (pin.key, pin.digest)) is not None:
        return
    have = _in_repository(session, pin) if pin.hub else _in_wheels(service, session, pin, budget)
    if have is None:
        raise PinNotFound(f"{pin.source} is not in this registry")
    if have != pin.digest:
        raise PinNotFound(f"{pin.source} has digest {have} here, {pin.digest} was promised", final=True)


def _in_repository(session: Session, pin: Pin) -> str | None:
    """Digest of what ``hf://`` would bring from here."""
    assert pin.hub is not None
    name, oid, file = pin.hub
    commit = session.scalar(
        select(Commit.id)
        .join(Repository)
        .where(Repository.key == name.lower(), Commit.oid == oid, shown("repository", Repository.id))
    )
    if commit is None:
        return None
    entries = select(Entry.path, Entry.sha256).where(Entry.commit_id == commit)
    if file is not None:
        found = session.execute(entries.where(Entry.path == file)).first()
        return f"sha256:{found.sha256}" if found else None
    return folder_digest((path, sha256) for path, sha256 in session.execute(entries) if taken(path))


def _in_wheels(service: Service, session: Session, pin: Pin, budget: ReadBudget) -> str | None:
    """Digest of what ``pypi://`` would take out of wheels that were released here."""
    whole = hashlib.sha256()
    for name, version, path in pin.wheels or [("", "", "")]:
        blob = session.scalar(
            select(Release.sha256)
            .join(Project)
            .where(Project.name == canonicalize_name(name), Release.same == canonicalize_version(version))
            .where(Release.state == "released")
        )
        if blob is None:
            return None
        try:
            with opened(service, blob, budget) as file, zipfile.ZipFile(file) as archive:
                if path.endswith("/"):
                    return _folder(archive, path, budget)
                for block in _blocks(archive.open(path)):
                    budget.take(len(block))
                    whole.update(block)
        except (KeyError, zipfile.BadZipFile, zlib.error):
            return None
    return f"sha256:{whole.hexdigest()}"


@contextmanager
def opened(service: Service, blob: str, budget: ReadBudget | None = None) -> Iterator[IO[bytes]]:
    """A blob as a file: its own, where blobs are files; else a copy."""
    place = getattr(service.blobs, "place", None)
    if place is not None:
        with place(blob).open("rb") as file:
            yield file
        return
    with tempfile.TemporaryFile() as copy:
        for block in service.blobs.read(blob):
            if budget is not None:
                budget.take(len(block))
            copy.write(block)
        yield copy


def _folder(archive: zipfile.ZipFile, path: str, budget: ReadBudget) -> str | None:
    entries = []
    for name in archive.namelist():
        if name.startswith(path) and not name.endswith("/"):
            digest = hashlib.sha256()
            for block in _blocks(archive.open(name)):
                budget.take(len(block))
                digest.update(block)
            entries.append((name.removeprefix(path), digest.hexdigest()))
    return folder_digest(entries) if entries else None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while block := file.read(1 << 20):
            yield block
