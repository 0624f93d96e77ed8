"""Text out of archives: wheels, sdists (read, never built), Debian and npm packages, local folders."""

from __future__ import annotations

import gzip
import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from cogen.cache import cached
from cogen.checkpoints.digests import check_file
from cogen.errors import SourceError
from cogen.files import locked
from cogen.forge.account import BROKEN_LINK, LINKED, NO_FILE, NO_MATCH, OTHER_CASE, TOO_LARGE
from cogen.forge.recipe import CorpusSource
from cogen.reporter import Reporter

_MEMBER_LIMIT = 64 << 20
_NAME = r"[A-Za-z0-9][A-Za-z0-9._+-]*"
#: npm's names may have a scope: @scope/name.
_NPM_NAME = rf"(?:@{_NAME}/)?{_NAME}"
#: Called with the reason, name and size of each file that is not read.
Skipped = Callable[[str, str, int], None]
#: Files behind a link that are counted, at most.
_COUNTED = 100_000


def members(
    source: CorpusSource, home: Path, reporter: Reporter, skipped: Skipped = lambda reason, name, size: None
) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of every member that the source's globs name, sorted by name.

    ``**`` spans folders, ``*`` does not. The leading folder of an sdist or an npm package is not part of the name.
    A member ``x.json.gz`` is matched by its whole name and given as ``x.json``, unpacked.

    :param home: folder of the recipe, for relative ``file://`` paths.
    :param skipped: called with everything that is not read and might be meant: members of an archive that are larger
        than 64 MiB, names that differ from the globs only in letter case, links to folders (which are not followed),
        broken links, what is no plain file; and globs that no file matches.
    :raises SourceError: the folder does not exist, a file in it cannot be read, or the archive cannot be unpacked.
    """
    skipped = _with_case(source, skipped)
    matched: set[str] = set()
    for name, data in _read(source, home, reporter, skipped):
        matched.update(pattern for pattern in source.members if pattern not in matched and _glob(name, pattern))
        if not name.endswith(".gz") or name.endswith(".tar.gz"):
            yield name, data
        elif (unpacked := _gunzip(source, name, data)) is None:
            skipped(TOO_LARGE, name, _MEMBER_LIMIT + 1)
        else:
            yield name.removesuffix(".gz"), unpacked
    for pattern in source.members:
        if pattern not in matched:
            skipped(NO_MATCH, pattern, 0)


def _gunzip(source: CorpusSource, name: str, data: bytes) -> bytes | None:
    """The file in a gzip file; None: it is larger than 64 MiB."""
    try:
        with gzip.open(io.BytesIO(data)) as file:
            unpacked = file.read(_MEMBER_LIMIT + 1)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise SourceError(
            f"{name} of source {source.name!r} cannot be unpacked: {error}", hint="leave it out with `exclude`"
        ) from error
    return unpacked if len(unpacked) <= _MEMBER_LIMIT else None


def _read(source: CorpusSource, home: Path, reporter: Reporter, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    scheme, _, location = source.uri.partition("://")
    if scheme == "file":
        root = (home / location).resolve()
        if not root.exists():
            raise SourceError(f"{source.name}: {location} does not exist", hint="file:// is relative to the recipe")
        check_file(root, source.digest, source.uri)
        base, names = (root.parent, [root.name]) if root.is_file() else (root, _names(root, source, skipped))
        for name in sorted(names):
            if _wanted(name, source):
                yield name, _content(base / name, source)
        return
    archive = _fetch(scheme, location, source, reporter)
    try:
        yield from _members(scheme, archive, source, skipped)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise SourceError(
            f"{source.uri} cannot be unpacked: {error}", hint="is it an archive of the kind that its scheme says?"
        ) from error


def _names(root: Path, source: CorpusSource, skipped: Skipped) -> Iterator[str]:
    """Of the files in a folder and its sub-folders. Links to files are followed, links to folders are not."""

    def unreadable(error: OSError) -> None:
        skipped(NO_FILE, _inside(root, Path(os.fsdecode(error.filename))), 0)

    for folder, folders, files in os.walk(root, onerror=unreadable):
        folders.sort()
        for name in folders:
            if (path := Path(folder, name)).is_symlink():
                prefix = _inside(root, path)
                found = [size for other, size in _behind(path) if _wanted(f"{prefix}/{other}", source)]
                if found:
                    skipped(LINKED, prefix, sum(found))
        for name in sorted(files):
            path = Path(folder, name)
            inside = _inside(root, path)
            if path.is_file():
                if _wanted(inside, source):
                    yield inside
                else:
                    skipped(OTHER_CASE, inside, path.stat().st_size)
            elif _wanted(inside, source) or _wanted(inside, source, fold=True):
                skipped(BROKEN_LINK if path.is_symlink() else NO_FILE, inside, 0)


def _inside(root: Path, path: Path) -> str:
    return path.relative_to(root).as_posix()


def _behind(link: Path) -> Iterator[tuple[str, int]]:
    """(name, size) of the files in a folder that a link names."""
    count = 0
    for folder, _, files in os.walk(link):
        for name in files:
            path = Path(folder, name)
            if path.is_file():
                yield _inside(link, path), path.stat().st_size
            count += 1
            if count >= _COUNTED:
                return


def _content(path: Path, source: CorpusSource) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SourceError(
            f"{path.name} of source {source.name!r} cannot be read: {error.strerror or error}",
            hint="correct its permissions, or leave it out with `exclude`",
        ) from error


def _with_case(source: CorpusSource, skipped: Skipped) -> Skipped:
    """The same, where a name is skipped for its letter case only if that is all that keeps it out."""

    def called(reason: str, name: str, size: int) -> None:
        if reason != OTHER_CASE or _wanted(name, source, fold=True):
            skipped(reason, name, size)

    return called


def _members(scheme: str, archive: Path, source: CorpusSource, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    if scheme == "deb":
        yield from _tar_members(_deb_tar(archive), source, 0, skipped)
    elif archive.suffix in (".whl", ".zip"):
        with zipfile.ZipFile(archive) as bundle:
            strip = 0 if archive.suffix == ".whl" else 1
            entries = [(_strip(info.filename, strip), info) for info in bundle.infolist() if not info.is_dir()]
            for name, info in sorted(entries, key=lambda entry: entry[0]):
                if _fits(name, info.file_size, source, skipped):
                    yield name, bundle.read(info)
    else:
        yield from _tar_members(archive.read_bytes(), source, 1, skipped)


def _tar_members(data: bytes, source: CorpusSource, strip: int, skipped: Skipped) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(fileobj=io.BytesIO(data)) as bundle:
        members = bundle.getmembers()
        for info in members:
            if not info.isfile() and not info.isdir() and _wanted(name := _strip(info.name, strip), source):
                skipped(NO_FILE, name, 0)
        entries = [(_strip(info.name, strip), info) for info in members if info.isfile()]
        for name, info in sorted(entries, key=lambda entry: entry[0]):
            file = bundle.extractfile(info) if _fits(name, info.size, source, skipped) else None
            if file is not None:
                yield name, file.read()


def _fits(name: str, size: int, source: CorpusSource, skipped: Skipped) -> bool:
    if not _wanted(name, source):
        skipped(OTHER_CASE, name, size)
        return False
    if size > _MEMBER_LIMIT:
        skipped(TOO_LARGE, name, size)
    return size <= _MEMBER_LIMIT


def _strip(name: str, count: int) -> str:
    return "/".join(PurePosixPath(name.removeprefix("./")).parts[count:])


def _wanted(name: str, source: CorpusSource, *, fold: bool = False) -> bool:
    """Do the globs name it? ``fold``: letter case aside."""
    if not fold:
        return any(_glob(name, p) for p in source.members) and not any(_glob(name, p) for p in source.exclude)
    lower = name.lower()
    return any(_glob(lower, p.lower()) for p in source.members) and not any(
        _glob(lower, p.lower()) for p in source.exclude
    )


def _glob(name: str, pattern: str) -> bool:
    """PurePath.full_match of Python 3.13: ``**`` is any number of folders, ``*`` stays inside one."""
    parts, globs = name.split("/"), pattern.split("/")

    def match(i: int, j: int) -> bool:
        if j == len(globs):
            return i == len(parts)
        if globs[j] == "**":
            return any(match(k, j + 1) for k in range(i, len(parts) + 1))
        return i < len(parts) and fnmatchcase(parts[i], globs[j]) and match(i + 1, j + 1)

    return match(0, 0)


def _fetch(scheme: str, location: str, source: CorpusSource, reporter: Reporter) -> Path:
    """The archive in our cache, downloaded once and checked against the recipe's digest."""
    match = re.fullmatch(rf"({_NPM_NAME if scheme == 'npm' else _NAME})==([^\s/-][^\s/]*)", location)
    if not match:
        raise SourceError(f"{source.uri} is not {scheme}://name==version", hint="pin the version with ==")
    assert source.digest is not None  # the recipe's validator demands it
    folder = cached("corpora", source.digest.removeprefix("sha256:")[:24])
    with locked(folder):
        found = [file for file in folder.glob("*") if not file.name.startswith(".")] if folder.is_dir() else []
        if not found:
            if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
                raise SourceError(
                    f"{location} is not in the cache and HF_HUB_OFFLINE asks for no network",
                    hint="unset HF_HUB_OFFLINE once",
                )
            reporter.note(f"fetching {location} ({scheme})")
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder, prefix=".part.") as part:
                fetchers = {"wheel": _wheel, "sdist": _sdist, "deb": _deb, "npm": _npm}
                fetched = fetchers[scheme](match[1], match[2], Path(part))
                check_file(fetched, source.digest, source.uri)
                shutil.move(fetched, folder / fetched.name)
            found = [folder / fetched.name]
    check_file(found[0], source.digest, source.uri)
    return found[0]


def _run(command: list[str], cwd: Path, what: str, hint: str) -> None:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True)
    except OSError as error:
        raise SourceError(f"{what}: {command[0]} cannot be started", hint=hint) from error
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no message"]
        raise SourceError(f"{what}: {lines[-1]}", hint=hint)


def _wheel(name: str, version: str, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    _run(
        [*command, "--disable-pip-version-check", "--dest", str(folder), f"{name}=={version}"],
        folder,
        f"pip could not download {name} {version}",
        "check the network and `pip config list`",
    )
    return next(folder.glob("*.whl"))


def _sdist(name: str, version: str, folder: Path) -> Path:
    """By the index's own page: `pip download` of an sdist would run its build code to learn its metadata."""
    from pypi_simple import NoSuchProjectError, PyPISimple

    hint = "check the name and version, the network and `pip config get global.index-url`"
    endpoint = os.environ.get("PIP_INDEX_URL") or _pip_config("global.index-url") or "https://pypi.org/simple/"
    try:
        with PyPISimple(endpoint=endpoint) as index:
            if certificate := os.environ.get("PIP_CERT") or _pip_config("global.cert"):
                index.s.verify = certificate
            packages = index.get_project_page(name).packages
            found = [p for p in packages if p.package_type == "sdist" and p.version == version]
            if not found:
                raise SourceError(f"the index has no sdist of {name} {version}", hint=hint)
            target = folder / found[0].filename
            # The recipe's digest is checked by the caller; many indexes give none.
            index.download_package(found[0], target, verify=False)
            return target
    except NoSuchProjectError as error:
        raise SourceError(f"the index has no {name}", hint=hint) from error
    except OSError as error:  # requests' errors are OSErrors
        raise SourceError(f"{name} {version} could not be downloaded: {type(error).__name__}", hint=hint) from error


def _pip_config(key: str) -> str | None:
    done = subprocess.run([sys.executable, "-m", "pip", "config", "get", key], capture_output=True, text=True)
    return done.stdout.strip() or None if done.returncode == 0 else None


def _deb(name: str, version: str, folder: Path) -> Path:
    hint = "this source needs a Debian system with `apt-get update` done; leave the source out elsewhere"
    _run(["apt-get", "download", f"{name}={version}"], folder, f"apt-get could not download {name} {version}", hint)
    return next(folder.glob("*.deb"))


def _deb_tar(archive: Path) -> bytes:
    try:
        done = subprocess.run(["dpkg-deb", "--fsys-tarfile", str(archive)], capture_output=True)
    except OSError as error:
        raise SourceError("dpkg-deb cannot be started", hint="deb:// sources need a Debian system") from error
    if done.returncode:
        raise SourceError(f"{archive.name} is not a whole Debian package", hint="fetch it again")
    return done.stdout


def _npm(name: str, version: str, folder: Path) -> Path:
    _run(
        ["npm", "pack", "--silent", "--ignore-scripts", f"{name}@{version}"],
        folder,
        f"npm could not download {name} {version}",
        "this source needs the npm client; leave the source out where there is none",
    )
    return next(folder.glob("*.tgz"))
