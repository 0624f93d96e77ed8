"""Where a wheel's files would go, and whether that place is free: nobody's file is overwritten."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from cogen.sharing import environment
from cogen.wheels import Wheel, WheelError
from cogen.wheels.compiled import is_compiled
from cogen.wheels.installed import beside, files_of, info_name
from cogen.wheels.kinds import check_place
from cogen.wheels.names import is_own, package_of
from cogen.wheels.record import rows


def check_free(site: Path, wheel: Wheel) -> None:
    """Every file of the wheel is new, or the same plugin's own of before; and nothing else lies among them.

    :raises InstallError: names the first file that is somebody else's, or nobody's.
    """
    found = environment.installed_at(wheel.project, site)
    own = set(listed(found)) if found is not None else set()
    if found is not None and not found.metadata["Version"]:
        raise environment.InstallError(
            f"{info_name(found)} holds no METADATA: something was left half done",
            hint=f"delete {site / info_name(found)}",
        )
    if found is not None and not environment.editable(found):
        check_own(found, wheel.project)
    tops = {name.partition("/")[0] for name in wheel.files}
    for name, path in files_of(site, [top for top in tops if (site / top).is_dir()]):
        if name in own or is_compiled(name):
            continue
        who = owner(path)
        if who is not None and who != wheel.project:
            raise environment.InstallError(
                f"{name} belongs to {who}, and {wheel.filename} would replace it",
                hint=f"do not install both; `pip show -f {who}` lists its files",
            )
        raise environment.InstallError(f"{name}: added", hint="delete that file and try again: nobody installed it")
    for top in sorted(tops):
        if (site / top).is_symlink() or (site / top).is_file():
            raise environment.InstallError(f"{top} is no folder of its own", hint="delete it and try again")
    info = info_name(found) if found is not None else wheel.info
    packages = {top for top in tops if not top.endswith(".dist-info")} | {name.partition("/")[0] for name in own}
    for line in beside(site, wheel.project, info, packages):
        raise environment.InstallError(line, hint="delete it and try again: it could be taken for the plugin")


def check_own(found: Distribution, project: str) -> None:
    """What is replaced or removed lists its own files alone: an installer deletes whatever a RECORD names.

    :raises InstallError: it names somebody else's.
    """
    info = info_name(found)
    for name in listed(found):
        top = name.partition("/")[0]
        try:
            check_place(name if not is_compiled(name) else f"{top}/x", info, {top} if is_own(project, top) else ())
        except WheelError:
            raise environment.InstallError(
                f"{project} {found.version} is installed and lists {name}, which is not its own",
                hint=f"delete {info} by hand, and reinstall the package that the file belongs to",
            ) from None


def listed(found: Distribution) -> list[str]:
    """Paths below site-packages that the RECORD of a distribution names; empty where it has none."""
    try:
        return [row[0] for row in rows((found.read_text("RECORD") or "").encode())]
    except WheelError:
        return []


def owner(path: Path) -> str | None:
    """The distribution whose RECORD names this file; all of them are read, so only to say what is wrong."""
    for found in distributions():
        root = Path(str(found.locate_file("")))
        name = os.path.relpath(path, root).replace(os.sep, "/")
        if name in listed(found):
            return str(canonicalize_name(found.metadata["Name"]))
    return None


def touched(site: Path, wheel: Wheel) -> Iterator[Path]:
    """Everything that installing this wheel may change: its packages, its dist-info, and what was there before."""
    tops = {name.partition("/")[0] for name in wheel.files}
    own = package_of(wheel.project)
    yield from (site / top for top in sorted(tops))
    if not site.is_dir():
        return
    for path in sorted(site.iterdir()):
        if path.name not in tops and (is_own(wheel.project, path.name) or path.name.startswith(f"{own}-")):
            yield path
    if (found := environment.installed_at(wheel.project, site)) is not None:
        root = Path(str(found.locate_file("")))
        for name in listed(found):  # a link to a source tree has files of other names
            if name.partition("/")[0] not in tops and not is_own(wheel.project, name.partition("/")[0]):
                yield Path(str(root / name))


def forget_compiled(site: Path, wheel: Wheel) -> None:
    """What Python compiled of the files that are going to be replaced: it is made again when it is needed."""
    for top in {name.partition("/")[0] for name in wheel.files}:
        for folder in sorted((site / top).rglob("__pycache__")):
            if folder.is_dir() and not folder.is_symlink():
                shutil.rmtree(folder)
