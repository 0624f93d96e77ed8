"""What a wheel file holds, read without installing it."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import re
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from cogen.errors import SpecError, UnsafeError
from cogen.host.scan import GROUP
from cogen.spec.expert import ExpertSpec

_MAX_TEXT = 4 << 20


@dataclass(frozen=True)
class Wheel:
    """``files``: path in site-packages → hex SHA-256, as the wheel's RECORD says and its bytes confirm."""

    path: Path
    project: str
    version: str
    metadata: str
    experts: tuple[ExpertSpec, ...]
    files: dict[str, str]


def read_wheel(path: Path) -> Wheel:
    """Open a wheel, compare every member with its RECORD, and read the manifests of its experts.

    :raises UnsafeError: it would write outside of its own place, or holds what its RECORD does not list.
    :raises SpecError: it is no wheel of an expert, or a manifest does not validate.
    """
    from packaging.utils import InvalidWheelFilename, parse_wheel_filename

    try:
        project, version, _, _ = parse_wheel_filename(path.name)
    except InvalidWheelFilename as error:
        raise SpecError(f"{path.name} is not the name of a wheel", hint="build it again") from error
    try:
        with zipfile.ZipFile(path) as archive:
            names = [info.filename for info in archive.infolist() if not info.is_dir()]
            for name in names:
                _plain(name, path)
            info = _dist_info(names, path)
            files = _files(archive, info, names, path)
            metadata = _text(archive, f"{info}/METADATA")
            experts = tuple(_experts(archive, info, names, path))
    except (zipfile.BadZipFile, KeyError, OSError, UnicodeDecodeError, EOFError) as error:
        raise SpecError(f"{path.name} is not a whole wheel: {error}", hint="build or download it again") from error
    return Wheel(path, str(project), str(version), metadata, experts, files)


def _plain(name: str, path: Path) -> None:
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or re.search(r"[\\:\0]", name):
        raise UnsafeError(f"{path.name} holds the path {name!r}", hint="do not install it, and tell its publisher")
    # *.data goes into scripts, headers or anywhere below the environment: no expert needs that.
    if parts[0].endswith((".data", ".pth")):
        raise UnsafeError(
            f"{path.name} would write {name} outside of its package", hint="do not install it, and tell its publisher"
        )


def _dist_info(names: list[str], path: Path) -> str:
    found = {name.partition("/")[0] for name in names if name.partition("/")[0].endswith(".dist-info")}
    if len(found) != 1:
        raise SpecError(f"{path.name} has {len(found)} folders .dist-info, not one", hint="build it again")
    return found.pop()


def _files(archive: zipfile.ZipFile, info: str, names: list[str], path: Path) -> dict[str, str]:
    listed: dict[str, str] = {}
    for row in csv.reader(io.StringIO(_text(archive, f"{info}/RECORD"))):
        if len(row) == 3 and row[1]:
            method, _, value = row[1].partition("=")
            if method == "sha256":
                listed[row[0]] = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).hex()
    own = {f"{info}/RECORD", f"{info}/RECORD.jws", f"{info}/RECORD.p7s"}
    if len(set(names)) != len(names) or set(names) - own != set(listed):
        raise UnsafeError(f"{path.name} holds other files than its RECORD lists", hint="build it again")
    for name, expected in listed.items():
        with archive.open(name) as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != expected:  # type: ignore[arg-type]
                raise UnsafeError(f"{path.name}: {name} is not what its RECORD says", hint="build it again")
    return listed


def _experts(archive: zipfile.ZipFile, info: str, names: list[str], path: Path) -> list[ExpertSpec]:
    from pydantic import ValidationError

    from cogen.host.scan import _group

    if f"{info}/entry_points.txt" not in names:
        raise SpecError(f"{path.name} declares no entry point of the group {GROUP}", hint="see `cogen new`")
    found = []
    for name, module in _group(_text(archive, f"{info}/entry_points.txt")):
        manifest = f"{module}/expert.toml"
        if manifest not in names:
            continue  # a plugin of hooks alone
        try:
            spec = ExpertSpec.model_validate(tomllib.loads(_text(archive, manifest)))
        except (ValidationError, tomllib.TOMLDecodeError) as error:
            problem = " ".join(str(error).split())[:200]
            raise SpecError(
                f"{manifest} in {path.name} does not validate: {problem}", hint="run `cogen check`"
            ) from error
        if spec.id != name:
            raise SpecError(f"{manifest} has the id {spec.id}, its entry point {name}", hint="give both one name")
        found.append(spec)
    return sorted(found, key=lambda spec: spec.id)


def _text(archive: zipfile.ZipFile, name: str) -> str:
    if archive.getinfo(name).file_size > _MAX_TEXT:
        raise KeyError(f"{name} is too large")
    return archive.read(name).decode("utf-8")
