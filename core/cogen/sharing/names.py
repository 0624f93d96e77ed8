"""What a registry signed of its projects, by python-tuf's client: the registry and its mirrors are only messengers.

The root that was seen first is pinned (``tuf/REGISTRY/`` in the user's settings); it is followed where the operator
exchanges keys. Timestamps end after a day: an old copy, a frozen mirror and a list that leaves something out are found
out. What was read of a project is compared with its pins (:mod:`cogen.trust.pins`).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from packaging.version import Version

from cogen.errors import CogenError
from cogen.files import config_dir
from cogen.locks import ProcessLock
from cogen.remote.client import Client
from cogen.remote.errors import NotThere, RegistryError
from cogen.remote.fields import line, text, whole
from cogen.sharing.fingerprints import digits_of
from cogen.trust import pins
from cogen.trust.errors import TrustError
from cogen.trust.metadata.project import MOST_BYTES, MOST_ROOTS, Chain, verify
from cogen.trust.pins import Pins, pins_of, update

_ROOT = 512_000
#: Seconds for one document: a server that drips is given up.
_PATIENCE = 60.0
_TELL = "do not use it, and tell the registry's operator"


class Untold(RegistryError):
    """A registry without signed metadata: of an older version."""


@dataclass(frozen=True)
class ListedNames:
    """One release, as the registry signed it. ``key``: of the signed statement.

    ``publisher``: who published it; ``owner``: whose the project is now.
    """

    project: str
    publisher: str
    version: str
    filename: str
    sha256: str
    size: int
    yanked: str | None
    key: str | None
    experts: tuple[str, ...]
    owner: str


class Names:
    """The signed metadata of one registry, as of now. ``identity``: the fingerprint of its first root."""

    def __init__(self, client: Client, updater: Any, folder: Path) -> None:
        self.client, self._updater, self._folder = client, updater, folder
        self.identity = _fingerprint(folder, 1)
        #: Of the newest root.
        self.root = max(_fingerprints(folder).items())[1]
        self._cache: dict[str, bytes | None] = {}
        seen = _revocations(self.read("revocations.json"))
        self.pins: Pins = pins_of(self.identity)
        if seen.keys() - self.pins.revoked.keys():
            update(self.identity, revoked=seen)
            self.pins = pins_of(self.identity)

    @property
    def revoked(self) -> dict[str, str]:
        """Fingerprint → who revoked it and why; what was seen once counts for ever."""
        return self.pins.revoked

    def read(self, path: str) -> bytes | None:
        """A file that the metadata names; ``None``: it names none."""
        if path not in self._cache:
            with _plainly(self.client.url), tempfile.TemporaryDirectory(prefix="cogen-tuf-") as place:
                info = self._updater.get_targetinfo(path)
                if info is not None and info.length > MOST_BYTES:
                    raise TrustError(f"{path} has {info.length:,} bytes", hint=_TELL)
                if info is not None:
                    self._updater.download_target(info, str(Path(place) / "file"))
                self._cache[path] = None if info is None else (Path(place) / "file").read_bytes()
        return self._cache[path]

    def releases(self, project: str) -> list[ListedNames]:
        """Everything that is released of a project; empty, where there is no such project."""
        data = self.read(f"projects/{project}/releases.json")
        if data is None:
            return []
        try:
            document = json.loads(data)
            if document["schema"] != 1 or document["project"] != project:
                raise ValueError
            return [
                ListedNames(
                    project,
                    text(one.get("publisher", document["publisher"])),
                    str(Version(one["version"])),
                    text(one["filename"]),
                    text(one["sha256"]),
                    whole(one["size"]),
                    _text(one["yanked"]),
                    _text(one["key"]),
                    tuple(map(text, one["experts"])),
                    text(document["publisher"]),
                )
                for one in document["releases"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            raise RegistryError(
                f"{self.client.url} describes {project} in a form that is not known", hint="a newer CoGen may be needed"
            ) from error

    def recovered(self, project: str) -> str | None:
        """When and why the operator let the project begin anew, after its keys were lost."""
        data = self.read(f"projects/{project}/recovered.json")
        if data is None:
            return None
        try:
            last = json.loads(data)["recovered"][-1]
            return f"on {str(last['when'])[:10]}: {line(str(last['reason']))}"
        except (KeyError, TypeError, ValueError, IndexError, RecursionError):
            return "for a reason that cannot be read"

    def documents(self, project: str) -> tuple[list[bytes], bytes] | None:
        """(roots, list of releases) of a project's chain; ``None``: it has none."""
        roots: list[bytes] = []
        while len(roots) < MOST_ROOTS:
            data = self.read(f"projects/{project}/{len(roots) + 1}.root.json")
            if data is None:
                break
            roots.append(data)
        targets = self.read(f"projects/{project}/targets.json")
        return None if not roots or targets is None else (roots, targets)

    def chain(self, project: str, *, pinned: bool = True) -> Chain | None:
        """The project's keys and what they signed, compared with what was seen before.

        :param pinned: ``False``: as if nothing had been seen.
        :raises ChainChanged: the keys were exchanged, and the old ones didn't sign that.
        :raises TrustError: it doesn't hold, it is older, or it was taken away.
        """
        found = self.documents(project)
        pin = self.pins.projects.get(project) if pinned else None
        if found is None:
            if pin is not None and pin.root is not None:
                raise self.lost(project)
            return None
        return verify(
            project, *found, pinned=pin.root if pin else None, seen=pin.targets if pin else 0, revoked=self.revoked
        )

    def lost(self, project: str) -> TrustError:
        """A project that had keys has none any more."""
        why = self.recovered(project)
        return TrustError(
            f"{project} was signed with keys of its publisher and is not any more"
            + (f"; the registry's operator let it begin anew {why}" if why else ""),
            hint="do not use it; ask its publisher, and the registry's operator",
        )


def open_names(client: Client, *, root_key: str | None = None) -> Names:
    """Read what the registry signed today; the first time, its root is pinned.

    :param root_key: the fingerprint that the operator gave (or its first digits): it has to be that of one of the
        roots; then they are pinned, in place of others.
    :raises Untold: it has no signed metadata, and never had. :raises TrustError: it doesn't hold; the message says why.
    """
    folder = folder_of(client.url)
    with _alone(folder):
        known = (folder / "root.json").is_file()
        if not known or root_key is not None:
            first = _first_root(client, known)
            with tempfile.TemporaryDirectory(prefix=".new-", dir=folder.parent) as place:
                fresh = Path(place) / "tuf"
                fresh.mkdir()
                _updater(client, fresh, first)
                if root_key is not None:
                    _compare(root_key, fresh, client.url)
                if not known or _fingerprint(folder, 1) != _fingerprint(fresh, 1):
                    if folder.exists():
                        folder.rename(Path(place) / "old")
                    fresh.rename(folder)
        return Names(client, _updater(client, folder, None), folder)


def _updater(client: Client, folder: Path, first: bytes | None) -> Any:
    """python-tuf's client, which has read all that is the newest.

    :param first: the root to begin with; ``None``: the one that is kept.
    """
    from tuf.ngclient import Updater, UpdaterConfig

    from cogen.sharing.tuf_fetcher import Fetcher

    with _plainly(client.url):
        updater = Updater(
            str(folder),
            f"{client.url}/tuf/",
            target_base_url=f"{client.url}/tuf/targets/",
            fetcher=Fetcher(client, _PATIENCE),
            config=UpdaterConfig(max_root_rotations=1024),
            bootstrap=first,
        )
        updater.refresh()
    return updater


def folder_of(url: str) -> Path:
    """Where the metadata of a registry is kept."""
    return config_dir() / "tuf" / quote(url, safe="")


def forget(url: str) -> None:
    """Take back that a registry was seen, as if that had never been."""
    import shutil

    folder = folder_of(url)
    if (identity := pinned_identity(url)) is not None:
        pins.forget(identity)
    shutil.rmtree(folder, ignore_errors=True)
    _lock_of(folder).unlink(missing_ok=True)
    if {path.name for path in config_dir().glob("*")} <= {".lock", "tuf"}:
        (config_dir() / ".lock").unlink(missing_ok=True)
    for empty in (folder.parent, config_dir()):
        try:
            empty.rmdir()
        except OSError:
            break  # it holds something of other registries


def pinned_identity(url: str) -> str | None:
    """The fingerprint of the first root that was pinned of a registry."""
    folder = folder_of(url)
    return _fingerprint(folder, 1) if (folder / "root_history" / "1.root.json").is_file() else None


def _first_root(client: Client, known: bool) -> bytes:
    try:
        return client.read("/tuf/1.root.json", _ROOT)
    except NotThere as error:
        if known:
            raise TrustError(
                f"{client.url} has no signed metadata any more",
                hint="somebody took it away: ask its operator",
            ) from error
        raise Untold(
            f"{client.url} signs nothing: it is a registry of an older version",
            hint="ask its operator to update it and to run `cogen-registry init`",
        ) from error


def _compare(wanted: str, folder: Path, url: str) -> None:
    digits = digits_of(wanted)
    found = _fingerprints(folder)
    if not any(one.removeprefix("sha256:").startswith(digits) for one in found.values()):
        raise TrustError(
            f"the root of {url} is {max(found.items())[1]}, not {wanted}",
            hint="this is not the registry that its operator named: do not use it",
        )


def _fingerprints(folder: Path) -> dict[int, str]:
    """Version → ``sha256:…`` of the file, of all roots."""
    names = [int(path.name.partition(".")[0]) for path in (folder / "root_history").glob("*.root.json")]
    return {version: _fingerprint(folder, version) for version in names}


def _fingerprint(folder: Path, version: int) -> str:
    data = (folder / "root_history" / f"{version}.root.json").read_bytes()
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _lock_of(folder: Path) -> Path:
    return folder.parent / f".{folder.name[:150]}.lock"


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time: python-tuf's client asks for that."""
    lock = ProcessLock(_lock_of(folder))
    try:
        folder.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock.acquire()
        try:
            yield
        finally:
            lock.release()
    except OSError as error:
        if isinstance(error, CogenError):
            raise
        raise TrustError(f"{folder} cannot be written: {error}", hint="check its permissions") from error


@contextmanager
def _plainly(url: str) -> Iterator[None]:
    """python-tuf's errors, as what they mean for who installs something."""
    from tuf.api import exceptions

    try:
        yield
    except CogenError:
        raise
    except (exceptions.RepositoryError, exceptions.DownloadError, ValueError, KeyError, RecursionError) as error:
        raise _meaning(url, error) from error


def _meaning(url: str, error: Exception) -> CogenError:
    from tuf.api import exceptions

    cause = error.__cause__
    reason = line(str(error))
    if isinstance(error, exceptions.DownloadHTTPError):
        return TrustError(f"{url} leaves out signed metadata: {reason}", hint="ask its operator; try again later")
    if isinstance(error, exceptions.DownloadError) and isinstance(cause, CogenError):
        return cause
    if isinstance(error, exceptions.ExpiredMetadataError):
        return TrustError(
            f"what {url} signed is too old: {reason}",
            hint="an old copy is shown, or a mirror that is not brought up to date: ask its operator; check your clock",
        )
    if isinstance(error, exceptions.BadVersionNumberError):
        return TrustError(
            f"{url} shows an older state than it did before: {reason}",
            hint="somebody brings back the past: do not use it, and tell the registry's operator",
        )
    if isinstance(error, exceptions.DownloadLengthMismatchError):
        return TrustError(f"{url} sends more than it promised: {reason}", hint=_TELL)
    if isinstance(error, exceptions.UnsignedMetadataError):
        return TrustError(
            f"what {url} sends is not signed by its keys: {reason}",
            hint="it is not the registry that you know; if its operator began anew: `cogen login URL --root-key "
            "FINGERPRINT`, with what the operator tells you",
        )
    return TrustError(f"the signed metadata of {url} does not hold: {reason}", hint=_TELL)


def _revocations(data: bytes | None) -> dict[str, str]:
    if data is None:
        return {}
    try:
        keys = json.loads(data)["keys"]
        return {
            str(one["fingerprint"]): line(f"by its {one['by']} on {str(one['when'])[:10]} {one['reason']}")
            for one in keys
        }
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise RegistryError("the list of revoked keys cannot be read", hint="a newer CoGen may be needed") from error


def _text(value: Any) -> str | None:
    """:raises TypeError: it is neither text nor nothing."""
    if value is None:
        return None
    if not isinstance(value, str):
        raise TypeError
    return line(value)
