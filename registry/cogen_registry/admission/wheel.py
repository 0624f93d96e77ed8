"""Is this file a wheel that holds expert plugins and nothing else? Read as data: nothing is imported or installed.

One wheel a version, for everybody (``py3-none-any``, no build tag): a later file of the same version would be
installed in its place. And a wheel writes to no package but its own, runs nothing at the start of Python (``.pth``)
and installs no command: what it does, it does through the hooks of CoGen.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.metadata import ExceptionGroup, InvalidMetadata, Metadata
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version

from cogen_registry.admission.archive import blocks, open_archive, read_member
from cogen_registry.admission.kinds import check_kind, check_kind_of_info
from cogen_registry.admission.names import check_package, package_of, project_name
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec

_BUILD = "build the wheel again with a current build tool"
_GROUP = "cogen"


@dataclass(frozen=True)
class Wheel:
    """A wheel that passed. ``metadata``: the bytes of its METADATA. ``experts``: their manifests."""

    project: str
    version: Version
    filename: str
    metadata: bytes
    requires_python: str | None
    summary: str
    experts: tuple[ExpertSpec, ...]


def check_filename(filename: str) -> tuple[str, Version]:
    """Project and version of a wheel's file name, which has exactly one spelling for them.

    :raises Refused: 400
    """
    if not filename.endswith(".whl"):
        raise Refused(
            400, f"{filename[:200]!r} is not a wheel", hint="upload wheels only: a source distribution runs code"
        )
    try:
        name, version, build, tags = parse_wheel_filename(filename)
    except (InvalidWheelFilename, InvalidVersion) as error:
        raise Refused(400, f"the file's name is not a wheel's: {error}", hint=_BUILD) from None
    if build:
        raise Refused(
            400, f"{filename} has a build tag, which would shadow the same version", hint="raise the version instead"
        )
    if {str(tag) for tag in tags} != {"py3-none-any"}:
        raise Refused(400, f"{filename} is not for everybody", hint="a plugin is data and Python: py3-none-any")
    project = project_name(name)
    if version.local:
        raise Refused(400, f"{version} is a local version", hint="leave out what follows the +")
    if filename != (wanted := f"{package_of(project)}-{version}-py3-none-any.whl"):
        raise Refused(400, f"the file is called {filename}, not {wanted}", hint=_BUILD)
    if len(str(version)) > 100:
        raise Refused(400, "the version has more than 100 characters", hint="choose a shorter one")
    return project, version


def check_wheel(path: Path, filename: str, limits: Limits, scratch: Path | None = None) -> Wheel:
    """Everything that can be said of a wheel by reading it.

    :param filename: Its name as uploaded; ``path`` is where its bytes are now.
    :param scratch: An existing folder to unpack in; nothing stays there.
    :raises Refused: 400 for what is wrong with it, 413 where it is too large.
    """
    from cogen_registry.admission.contents import check_experts

    project, version = check_filename(filename)
    with open_archive(path, limits) as archive:
        info = f"{package_of(project)}-{version}.dist-info"
        names = [name for name in archive.namelist() if not name.endswith("/")]
        points = _entry_points(read_member(archive, f"{info}/entry_points.txt", limits.metadata))
        _check_places(archive.namelist(), info, project, points)
        _check_wheel_file(read_member(archive, f"{info}/WHEEL", limits.metadata))
        raw = read_member(archive, f"{info}/METADATA", limits.metadata)
        metadata = _metadata(raw, project, version)
        record = _record(read_member(archive, f"{info}/RECORD", limits.unpacked), info, names)
        with tempfile.TemporaryDirectory(prefix="cogen-wheel-", dir=scratch) as place:
            for member, file in _unpack(archive, Path(place), record):
                if member.startswith(info + "/"):
                    check_kind_of_info(file, member)
                else:
                    check_kind(file, member)
            experts = check_experts(Path(place), project, str(version), points, limits)
    python = str(metadata.requires_python) if metadata.requires_python is not None else None
    if python and len(python) > 200:
        raise Refused(400, "Requires-Python has more than 200 characters", hint="shorten it")
    return Wheel(project, version, filename, raw, python, metadata.summary or "", experts)


def _entry_points(content: bytes) -> dict[str, str]:
    """Name → package, of the one group that is allowed. Only the plain form is read, which everybody reads alike."""
    points: dict[str, str] = {}
    group = None
    for line in _text(content, "entry_points.txt").splitlines():
        if not line.strip() or line.startswith(("#", ";")):
            continue
        if match := re.fullmatch(r"\[([\w.-]+)\]\s*", line):
            group = match[1]
            if group != _GROUP:
                raise Refused(
                    400, f"the wheel has entry points of the group {group}", hint="a plugin has those of `cogen` only"
                )
        elif group and (match := re.fullmatch(r"([\w.-]+)\s*=\s*([A-Za-z_]\w*)\s*", line)) and match[1] not in points:
            points[match[1]] = match[2]
        else:
            raise Refused(
                400, f"entry_points.txt has a line that is no entry point: {line[:80]!r}",
                hint="the value is the package that holds expert.toml, without dots or a colon",
            )  # fmt: skip
    if not points:
        raise Refused(400, "the wheel has no entry point of the group `cogen`", hint="this registry holds experts only")
    if len(set(points.values())) != len(points):
        raise Refused(400, "two entry points name the same package", hint="one expert.toml a package, one expert each")
    return points


def _check_places(names: list[str], info: str, project: str, points: dict[str, str]) -> None:
    """Every member lies in a package of the plugin's own, or in the wheel's own dist-info folder."""
    for package in points.values():
        check_package(project, package)
    for name in names:
        top = name.split("/")[0]
        if "/" not in name or (top != info and top not in points.values()):
            raise Refused(
                400, f"{name} lies outside of the plugin's own packages", hint=f"ship {', '.join(points.values())} only"
            )


def _check_wheel_file(content: bytes) -> None:
    fields: dict[str, list[str]] = {}
    for line in _text(content, "WHEEL").splitlines():
        key, colon, value = line.partition(":")
        if colon:
            fields.setdefault(key.strip().lower(), []).append(value.strip())
    right = {"root-is-purelib": ["true"], "tag": ["py3-none-any"], "build": []}
    if not fields.get("wheel-version", [""])[0].startswith("1."):
        raise Refused(400, "WHEEL is of a version that is not known", hint=_BUILD)
    for key, wanted in right.items():
        if [value.lower() for value in fields.get(key, [])] != wanted:
            raise Refused(400, f"WHEEL and the file's name contradict each other in {key}", hint=_BUILD)


def _metadata(raw: bytes, project: str, version: Version) -> Metadata:
    try:
        metadata = Metadata.from_email(raw, validate=True)
    except (ExceptionGroup, InvalidMetadata, ValueError) as error:
        first = error.exceptions[0] if isinstance(error, ExceptionGroup) else error
        raise Refused(400, f"METADATA is not valid: {' '.join(str(first).split())[:200]}", hint=_BUILD) from None
    if canonicalize_name(metadata.name) != project or metadata.version != version:
        raise Refused(
            400, f"METADATA is of {metadata.name} {metadata.version}, the file's name of {project} {version}",
            hint="upload the file as it was built",
        )  # fmt: skip
    needed = {canonicalize_name(one.name) for one in metadata.requires_dist or []}
    if direct := next((one for one in metadata.requires_dist or [] if one.url), None):
        raise Refused(400, f"it requires {direct.name} from a URL", hint="require a version of it")
    if "cogen" in needed:
        raise Refused(
            400, "it depends on `cogen`, an unrelated package of 2009", hint='say dependencies = ["cogen-core"]'
        )
    if "cogen-core" not in needed:
        raise Refused(400, "it does not depend on cogen-core", hint='say dependencies = ["cogen-core"]')
    return metadata


def _record(content: bytes, info: str, names: list[str]) -> dict[str, tuple[str, bytes]]:
    """Path → (hash, digest) of every member but RECORD itself.

    :raises Refused: 400, a file is missing, listed twice or without a safe hash.
    """
    found: dict[str, tuple[str, bytes]] = {}
    own = f"{info}/RECORD"
    try:
        rows = list(csv.reader(io.StringIO(_text(content, "RECORD"), newline="")))
    except csv.Error as error:
        raise Refused(400, f"RECORD cannot be read: {error}", hint=_BUILD) from None
    for row in rows:
        if not row:
            continue
        match = re.fullmatch(r"(sha256|sha384|sha512)=([A-Za-z0-9_-]+)", row[1]) if len(row) == 3 else None
        if row[0] == own and len(row) == 3 and not row[1]:
            continue
        if match is None or row[0] in found or row[0] == own:
            raise Refused(400, f"RECORD lists {row[0][:200]!r} twice, or without its SHA-256", hint=_BUILD)
        found[row[0]] = match[1], base64.urlsafe_b64decode(match[2] + "=" * (-len(match[2]) % 4))
    if wrong := sorted(set(names) - {own} ^ set(found)):
        raise Refused(400, f"RECORD and the archive differ in {wrong[0][:200]!r}", hint=_BUILD)
    return found


def _unpack(
    archive: zipfile.ZipFile, place: Path, record: dict[str, tuple[str, bytes]]
) -> Iterator[tuple[str, Path]]:  # fmt: skip
    """Write every file below ``place`` and compare it with RECORD; paths were checked before."""
    for info in archive.infolist():
        if info.is_dir():
            continue
        target = place.joinpath(*PurePosixPath(info.filename).parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        method, wanted = record.get(info.filename, ("sha256", b""))
        digest = hashlib.new(method)
        with target.open("xb") as file:
            for block in blocks(archive, info):
                file.write(block)
                digest.update(block)
        if wanted and digest.digest() != wanted:
            raise Refused(400, f"{info.filename} is not the file that RECORD lists", hint=_BUILD)
        yield info.filename, target


def _text(content: bytes, name: str) -> str:
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise Refused(400, f"{name} is not UTF-8 text", hint=_BUILD) from None
