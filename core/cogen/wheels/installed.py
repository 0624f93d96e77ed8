"""The rule on what lies in an environment: a distribution's files, its RECORD, and what somebody put beside them."""

from __future__ import annotations

import base64
import re
import unicodedata
from collections.abc import Collection, Iterator
from importlib.metadata import Distribution
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cogen.files import sha256_of
from cogen.wheels.compiled import check_compiled, is_compiled
from cogen.wheels.dependencies import check_dependencies
from cogen.wheels.errors import WheelError
from cogen.wheels.kinds import check_name, check_place, is_code
from cogen.wheels.limits import Limits
from cogen.wheels.metadata import read_metadata
from cogen.wheels.names import check_package, package_of, project_name
from cogen.wheels.points import read_points
from cogen.wheels.record import rows

#: What pip, uv and their like write into dist-info, beside the files of a wheel.
INSTALLERS = ("INSTALLER", "RECORD", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json")


def check_installed(
    found: Distribution, *, allow: Collection[str] | None = (), host: str | None = None, editable: bool = False
) -> Iterator[str]:
    """One line for every breach of the rule; nothing is imported.

    :param allow: distributions that it may require beside cogen-core; ``None``: whatever it requires.
    :param editable: it is a link to a source tree: only what it declares is looked at.
    """
    try:
        project = project_name(str(found.metadata["Name"]))
        version = Version(found.version)
    except (WheelError, InvalidVersion, TypeError, KeyError) as error:
        yield error.message if isinstance(error, WheelError) else "its metadata names no version"
        return
    limits = Limits()
    points: dict[str, str] = {}
    try:
        points = read_points((found.read_text("entry_points.txt") or "").encode())
        for package in points.values():
            check_package(project, package)
    except WheelError as error:
        yield error.message
    try:
        metadata = read_metadata((found.read_text("METADATA") or "").encode(), project, version, limits)
        check_dependencies(metadata.requires, allow, host)
    except WheelError as error:
        yield error.message
    if editable:
        return
    root = Path(str(found.locate_file("")))
    yield from _recorded(found, root, points)
    yield from beside(root, project, info_name(found), points.values())


def _recorded(found: Distribution, root: Path, points: dict[str, str]) -> Iterator[str]:
    """What RECORD says that installing wrote."""
    info = info_name(found)
    try:
        listed = [row[0] for row in rows((found.read_text("RECORD") or "").encode())]
    except WheelError as error:
        yield error.message
        return
    for name in sorted(set(listed)):
        if is_compiled(name) and name.partition("/")[0] in points.values():
            continue
        if name.startswith(f"{info}/") and name.partition("/")[2] in INSTALLERS:
            continue
        try:
            check_place(name, info, list(points.values()))
            check_name(name, info)
        except WheelError as error:
            yield error.message


def beside(root: Path, project: str, info: str, packages: Collection[str]) -> Iterator[str]:
    """What lies in site-packages under a name of this plugin and is not its own: it could be taken for it."""
    own = package_of(project)
    expected = {*packages, info}
    try:
        names = sorted(path.name for path in root.iterdir())
    except OSError:
        return
    for name in names:
        plain = unicodedata.normalize("NFKC", name).casefold()
        if name in expected or not re.fullmatch(re.escape(own) + r"(__[a-z0-9_]+)?([-.].*)?", plain):
            continue
        if re.fullmatch(r".*\.dist-info", plain) and canonicalize_name(plain.split("-")[0]) != project:
            continue
        yield f"{name}: added beside its packages"


def files_of(root: Path, tops: Collection[str]) -> Iterator[tuple[str, Path]]:
    """(path below ``root``, place) of everything in these folders that is not a folder itself, links included."""
    for top in sorted(tops):
        for path in sorted((root / top).rglob("*")):
            if path.is_symlink() or not path.is_dir():
                yield path.relative_to(root).as_posix(), path


def compare_files(root: Path, expected: dict[str, str], info: str) -> Iterator[str]:
    """One line for every file that is not as it was verified, or was added; compiled files are compared, too.

    :param expected: path below ``root`` → hex SHA-256.
    """
    found: dict[str, str | None] = {}
    for name, path in files_of(root, {name.partition("/")[0] for name in expected if "/" in name}):
        if name.startswith(f"{info}/") and name.partition("/")[2] in INSTALLERS:
            continue
        if is_compiled(name) or "/__pycache__/" in name:
            continue
        found[name] = "a link" if path.is_symlink() else sha256_or_none(path)
    yield from compare(expected, found)
    sources = [name for name, sha256 in expected.items() if name.endswith(".py") and found.get(name) == sha256]
    yield from check_compiled(root, {name.partition("/")[0] for name in expected if "/" in name}, sources)


def compare(expected: dict[str, str], found: dict[str, str | None]) -> Iterator[str]:
    """One line for every file that is not as it was."""
    for path in sorted(expected.keys() | found.keys()):
        before, now = expected.get(path), found.get(path)
        if before is None:
            yield f"{path}: added"
        elif now is None:
            yield f"{path}: missing"
        elif now != before:
            what = now if now == "a link" else f"altered, sha256 {now[:12]}…"
            yield f"{path}: {what} where {before[:12]}… was verified"


def recorded_files(found: Distribution) -> dict[str, str]:
    """Path → hex SHA-256 of what RECORD lists with one, as pip wrote it; what installers wrote themselves is left out.

    :raises WheelError: RECORD cannot be read.
    """
    info, listed = info_name(found), {}
    for row in rows((found.read_text("RECORD") or "").encode()):
        own = row[0].startswith(f"{info}/") and row[0].partition("/")[2] in INSTALLERS
        if len(row) == 3 and row[1].startswith("sha256=") and not own and not is_compiled(row[0]):
            value = row[1].removeprefix("sha256=")
            try:
                listed[row[0]] = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
            except ValueError:
                listed[row[0]] = "no digest"
    return listed


def holds_code(root: Path, packages: Collection[str]) -> bool:
    """Does any file of these packages, as it lies there, hold anything that Python could run?"""
    for name, path in files_of(root, packages):
        if is_compiled(name):
            continue
        try:
            large = path.stat().st_size > 1 << 20
            if is_code(name, b"large" if large or not name.endswith("__init__.py") else path.read_bytes()):
                return True
        except OSError:
            return True
    return False


def sha256_or_none(path: Path) -> str | None:
    """Hex SHA-256 of a file; ``None``: there is none."""
    try:
        return sha256_of(path)
    except OSError:
        return None


def info_name(found: Distribution) -> str:
    """Name of the folder that holds a distribution's metadata."""
    return str(getattr(found, "_path", "")).replace("\\", "/").rstrip("/").rpartition("/")[2]
