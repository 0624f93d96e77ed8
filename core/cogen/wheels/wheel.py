"""Is this file a wheel that holds a plugin and nothing else? Read as data: nothing is imported or installed.

One wheel a version, for everybody (``py3-none-any``, no build tag): a later file of the same version would be
installed in its place. And a wheel writes to no package but its own, runs nothing at the start of Python (``.pth``,
``sitecustomize``) and installs no command: what it does, it does through the hooks of CoGen.
"""

from __future__ import annotations

import hashlib
import tempfile
import zipfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.requirements import Requirement

from cogen.host.manifest import MANIFEST, read_manifest
from cogen.wheels.archive import blocks, open_archive, read_member
from cogen.wheels.dependencies import check_dependencies
from cogen.wheels.errors import WheelError
from cogen.wheels.kinds import check_kind, check_name, check_place, is_code
from cogen.wheels.limits import Limits
from cogen.wheels.metadata import check_wheel_file, read_metadata
from cogen.wheels.names import check_filename, check_package, package_of
from cogen.wheels.points import read_points
from cogen.wheels.record import Hashes, read_record

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.suite import StatisticsFile

_BUILD = "build the wheel again with a current build tool"


@dataclass(frozen=True)
class Wheel:
    """A wheel that passed.

    ``metadata``: its METADATA. ``files``: path in site-packages → hex SHA-256, as its RECORD says and its bytes confirm
    (RECORD itself is left out: installers write their own). ``points``: entry point → package. ``code``: does it hold
    anything that Python could run? ``requires``: as METADATA says it, cogen-core included.
    """

    path: Path
    filename: str
    project: str
    version: str
    metadata: str
    requires_python: str | None
    summary: str
    requires: tuple[str, ...]
    points: dict[str, str]
    experts: tuple[ExpertSpec, ...]
    files: dict[str, str]
    code: bool

    @property
    def info(self) -> str:
        """Its dist-info folder."""
        return f"{package_of(self.project)}-{self.version}.dist-info"


def read_wheel(
    path: Path,
    filename: str | None = None,
    limits: Limits | None = None,
    *,
    allow: Collection[str] | None = (),
    host: str | None = None,
) -> Wheel:
    """Everything that reading a wheel tells of it; see :func:`unpacked`."""
    with unpacked(path, filename, limits, allow=allow, host=host) as (wheel, _):
        return wheel


@contextmanager
def unpacked(
    path: Path,
    filename: str | None = None,
    limits: Limits | None = None,
    *,
    allow: Collection[str] | None = (),
    host: str | None = None,
    scratch: Path | None = None,
) -> Iterator[tuple[Wheel, Path]]:
    """Check a wheel and keep its files in a folder of their own for the length of a ``with``.

    :param filename: its name as published; that of ``path`` by default.
    :param allow: distributions that it may require beside cogen-core; ``None``: any.
    :param host: version of the cogen-core that it is to be installed beside.
    :param scratch: an existing folder to unpack in; nothing stays there.
    :raises WheelError: what is wrong with it; ``too_large`` where it is only that.
    """
    limits = limits or Limits()
    filename = path.name if filename is None else filename
    project, version = check_filename(filename)
    with open_archive(path, limits) as archive:
        info = f"{package_of(project)}-{version}.dist-info"
        names = [name for name in archive.namelist() if not name.endswith("/")]
        points = read_points(read_member(archive, f"{info}/entry_points.txt", limits.points))
        if len(points) > limits.experts:
            raise _dear(f"the wheel has {len(points)} experts, at most {limits.experts} are allowed")
        for package in points.values():
            check_package(project, package)
        for name in archive.namelist():
            check_place(name, info, list(points.values()))
        for name in names:
            check_name(name, info)
        check_wheel_file(read_member(archive, f"{info}/WHEEL", limits.wheel_file))
        raw = read_member(archive, f"{info}/METADATA", limits.metadata)
        metadata = read_metadata(raw, project, version, limits)
        check_dependencies(metadata.requires, allow, host)
        record = read_record(read_member(archive, f"{info}/RECORD", limits.record), info, names)
        with tempfile.TemporaryDirectory(prefix="cogen-wheel-", dir=scratch) as folder:
            place = Path(folder)
            files, code = _unpack(archive, place, record, info)
            experts = tuple(_experts(place, points, limits))
            _check_costs(experts, points, place, limits)
            yield (
                Wheel(
                    path,
                    filename,
                    project,
                    str(version),
                    raw.decode("utf-8", "replace"),
                    metadata.requires_python,
                    metadata.summary,
                    tuple(map(str, metadata.requires)),
                    points,
                    experts,
                    files,
                    code,
                ),
                place,
            )


def requirements(wheel: Wheel) -> list[Requirement]:
    """What its METADATA requires; all of it was read before."""
    return [Requirement(one) for one in wheel.requires]


def _unpack(archive: zipfile.ZipFile, place: Path, record: Hashes, info: str) -> tuple[dict[str, str], bool]:
    """Write every file below ``place`` and compare it with RECORD. (path → hex SHA-256, is there code?)"""
    files: dict[str, str] = {}
    code = False
    for member in archive.infolist():
        if member.is_dir():
            continue
        name = member.filename
        target = place.joinpath(*PurePosixPath(name).parts)
        target.parent.mkdir(parents=True, exist_ok=True)
        method, wanted = record.get(name, ("sha256", b""))
        digest, sha256 = hashlib.new(method), hashlib.sha256()
        with target.open("xb") as file:
            for block in blocks(archive, member):
                file.write(block)
                digest.update(block)
                sha256.update(block)
        if wanted:
            if digest.digest() != wanted:
                raise WheelError(f"{name} is not the file that RECORD lists", hint=_BUILD)
            files[name] = sha256.hexdigest()
        check_kind(target, name, info)
        code = code or (not name.startswith(info + "/") and is_code(name, _head(target)))
    return files, code


def _head(file: Path) -> bytes:
    """All of a small file; a large one does not hold comments alone."""
    return file.read_bytes() if file.stat().st_size <= 1 << 20 else b"large"


def _experts(place: Path, points: dict[str, str], limits: Limits) -> Iterator[ExpertSpec]:
    """Manifests of all entry points that have one, in the order of their names; others are plugins of hooks."""
    from cogen.spec.expert import ExpertSpec

    for name, package in sorted(points.items()):
        if not (place / package / "__init__.py").is_file():
            raise WheelError(
                f"{package} holds no __init__.py, so that others could add to it", hint="add an empty __init__.py"
            )
        path = place / package / MANIFEST
        if not path.is_file():
            continue
        if (size := path.stat().st_size) > (most := min(limits.manifest, limits.metadata)):
            raise WheelError(
                f"{MANIFEST} of {package} has {size:,} bytes, at most {most:,} are allowed",
                hint="shorten it",
                too_large=True,
            )
        reading = read_manifest(path)
        if reading.document is None:
            raise WheelError(reading.reason or f"{MANIFEST} is not valid", hint=reading.hint or "run `cogen check`")
        spec = ExpertSpec.model_validate(reading.document)
        if spec.id != name:
            raise WheelError(
                f"the entry point is called {name!r}, but {MANIFEST} says id = {spec.id!r}",
                hint=f'write {spec.id} = "{package}" under [project.entry-points.cogen] in pyproject.toml',
            )
        yield spec


def _check_costs(specs: Sequence[ExpertSpec], points: dict[str, str], place: Path, limits: Limits) -> None:
    """Manifests of a few bytes must not have the same large file read a thousand times."""
    pinned = 0
    for spec in specs:
        root = place / points[spec.id]
        if (suites := len(spec.suites) + len(spec.private_suites)) > limits.suites:
            raise _dear(f"{spec.id} has {suites} suites, at most {limits.suites} are allowed")
        for what, count, most in (
            ("domains", len(spec.domains), limits.names),
            ("languages", len(spec.languages), limits.names),
            ("sources", 0 if spec.data.sources == "unknown" else len(spec.data.sources), 10 * limits.names),
        ):
            if count > most:
                raise _dear(f"{spec.id} has {count:,} {what}, at most {most:,} are allowed")
        tasks = sum(_size(root / suite.task) for suite in spec.suites)
        if tasks > limits.tasks:
            raise _dear(f"the task files of {spec.id} have {tasks:,} bytes, at most {limits.tasks:,} are allowed")
        texts = sum(_size(root / part.path) for suite in spec.suites for part in (suite.dev, suite.test))
        if texts > limits.texts:
            raise _dear(f"the suites of {spec.id} have {texts:,} bytes of text, at most {limits.texts:,} are allowed")
        numbers = sum(_size(root / file.path) for file in _statistics(spec))
        if numbers > limits.statistics:
            raise _dear(
                f"the statistics of {spec.id} have {numbers:,} bytes, at most {limits.statistics:,} are allowed"
            )
        sources = [part.source for part in (spec.model, spec.model.base, spec.router) if part is not None]
        inside = [source.removeprefix("package://") for source in sources if source.startswith("package://")]
        pinned += sum(_size(place / path) for path in inside if ".." not in path and not path.startswith("/"))
    if pinned > limits.pinned:
        raise _dear(f"the experts pin {pinned:,} bytes of weights in the wheel, at most {limits.pinned:,} are allowed")


def _statistics(spec: ExpertSpec) -> list[StatisticsFile]:
    found = spec.statistics
    named = () if found is None else (found.token_counts, found.states, found.embedding)
    return [file for file in named if file is not None]


def _size(path: Path) -> int:
    if path.is_dir():
        return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    return path.stat().st_size if path.is_file() else 0


def _dear(message: str) -> WheelError:
    return WheelError(message, hint="publish several plugins, or less text", too_large=True)
