"""Pinned weights against what manifests say of them: nothing is released that nobody can open.

Weights in a repository, or in a wheel, of this registry are read by a worker: a few megabytes while the wheel is
uploaded, more by the verifier while the release waits in quarantine. The rule is
:func:`cogen.checkpoints.facts.compare`, as `cogen check` and `cogen publish` apply it.
"""

from __future__ import annotations

import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from packaging.utils import canonicalize_name, canonicalize_version
from sqlalchemy import select

from cogen.spec.expert import canonical_digest
from cogen.spec.model import ModelSpec
from cogen_registry.admission.find_pins import PinNotFound, opened
from cogen_registry.admission.pins import Pin
from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.weights import taken
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Entry, Project, Release, Repository, Verified
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.settings import MB

#: Bytes that are read while an upload waits for its answer.
AT_ONCE = 64 * MB
#: Why a release waits; then the verifier reads.
WAITING = "is being compared with its manifest"
#: Small files that say what weights are: configurations and indices.
_DESCRIBES = (".json",)
_SMALL = 4 * MB


def check_openable(service: Service, session: Session, pin: Pin, most: int | None = None) -> None:
    """Return if the weights, whose bytes are known, are as described; or nobody can tell (GGUF).

    :param most: bytes to read at most; ``None``: all.
    :raises PinNotFound: they are something else (``final``), or larger than ``most``, or lie elsewhere.
    """
    if pin.claim is None or pin.claim.format == "gguf" or known(session, pin):
        return
    if (pin.hub is not None and pin.hub[2] is not None) or (pin.wheels and not pin.source.endswith("/")):
        raise PinNotFound(f"{pin.source} is one file, and {pin.claim.format} is a folder of files", final=True)
    with _here(service, session, pin, most) as folder:
        if folder is not None:
            compare(service, pin, folder)
        elif service.settings.verify_elsewhere:  # the bytes were verified before: these words on them were not
            raise PinNotFound(f"{pin.source} {WAITING}")


def compare(service: Service, pin: Pin, folder: Path) -> None:
    """Let a worker compare.

    :raises PinNotFound: final, with the first difference.
    """
    assert pin.claim is not None
    kind = "model" if isinstance(pin.claim, ModelSpec) else "base"
    of = {"path": str(folder), "kind": kind, "claim": pin.claim.model_dump_json()}
    size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) if folder.is_dir() else 0
    try:
        found = pool_of(service.settings.limits).run("openable", of, size)
    except Refused as refused:
        raise PinNotFound(f"{pin.source} cannot be read: {refused.message}", final=True) from None
    if (problem := found.get("problem")) is not None:
        raise PinNotFound(f"{pin.source} is not what the manifest says: {problem}", final=True)


def known(session: Session, pin: Pin) -> bool:
    """Whether the same bytes were compared with the same words before."""
    return session.get(Verified, _key(pin)) is not None


def remember(session: Session, pin: Pin) -> None:
    """Next time nothing is read."""
    if pin.claim is not None and not known(session, pin):
        source, digest = _key(pin)
        session.add(Verified(source=source, digest=digest))


def _key(pin: Pin) -> tuple[str, str]:
    """Of the bytes and of all that is said of them, wherever they lie."""
    assert pin.claim is not None
    claim = pin.claim.model_dump(mode="json", exclude={"name", "source", "revision", "license", "upstream"})
    return f"as described: {pin.digest}", canonical_digest(claim)


@contextmanager
def _here(service: Service, session: Session, pin: Pin, most: int | None) -> Iterator[Path | None]:
    """A folder of the weights, if they are in this registry."""
    with tempfile.TemporaryDirectory(prefix="weights-", dir=_scratch(service)) as place:
        folder = Path(place) / "weights"
        folder.mkdir()
        found = (
            _repository(service, session, pin, folder, most) if pin.hub else _wheel(service, session, pin, folder, most)
        )
        yield folder if found else None


def _scratch(service: Service) -> Path:
    place = service.settings.root / "scratch"
    place.mkdir(exist_ok=True)
    return place


def _repository(service: Service, session: Session, pin: Pin, folder: Path, most: int | None) -> bool:
    """Links to blobs, or copies where blobs are not files."""
    assert pin.hub is not None
    name, oid, _ = pin.hub
    commit = session.scalar(select(Commit.id).join(Repository).where(Repository.key == name.lower(), Commit.oid == oid))
    entries = session.execute(select(Entry.path, Entry.sha256, Entry.size).where(Entry.commit_id == commit)).all()
    wanted = [
        (path, sha256, size)
        for path, sha256, size in entries
        if "/" not in path
        and taken(path)
        and (path.endswith(".safetensors") or (path.endswith(_DESCRIBES) and size <= _SMALL))
    ]
    _allow(pin, sum(size for _, _, size in wanted), most)
    for path, sha256, _ in wanted:
        _blob(service, sha256, folder / path)
    return bool(wanted)


def _blob(service: Service, sha256: str, target: Path) -> None:
    place = getattr(service.blobs, "place", None)
    if place is not None:
        target.symlink_to(Path(place(sha256)).absolute())
        return
    with target.open("wb") as file:
        for block in service.blobs.read(sha256):
            file.write(block)


def _wheel(service: Service, session: Session, pin: Pin, folder: Path, most: int | None) -> bool:
    """A folder of one wheel that was released here, unpacked."""
    if not pin.wheels:
        return False
    name, version, inside = pin.wheels[0]
    blob = session.scalar(
        select(Release.sha256)
        .join(Project)
        .where(Project.name == canonicalize_name(name), Release.same == canonicalize_version(version))
        .where(Release.state == "released")
    )
    if blob is None:
        return False
    with opened(service, blob) as file, zipfile.ZipFile(file) as archive:
        members = [
            info
            for info in archive.infolist()
            if info.filename.startswith(inside) and "/" not in info.filename[len(inside) :] and not info.is_dir()
        ]
        _allow(pin, sum(info.file_size for info in members), most)
        for info in members:  # their names were checked when the wheel was admitted
            with archive.open(info) as source, (folder / info.filename[len(inside) :]).open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
    return bool(members)


def _allow(pin: Pin, size: int, most: int | None) -> None:
    if most is not None and size > most:
        raise PinNotFound(f"{pin.source} ({size:,} bytes) {WAITING}")
