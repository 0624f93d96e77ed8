"""A private folder in which everything is installed once before it is installed for good, and looked at there.

The wheel is copied and hashed again: what lies in the cache may change between looking and installing.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from cogen.errors import DigestError
from cogen.files import sha256_of
from cogen.sharing import environment
from cogen.sharing.dependencies import PinnedRequirement, requirements_file
from cogen.sharing.environment import InstallError, Tool
from cogen.sharing.placement import listed, owner
from cogen.wheels import Wheel
from cogen.wheels.installed import compare_files, files_of

#: What ``--target`` makes of the other places of an environment.
_SCRIPTS = "bin"


@dataclass(frozen=True)
class Stage:
    """``wheel``: the private copy. ``requirements``: of what comes with it, ``None``: nothing does.

    ``others``: paths below site-packages (below ``bin/``: scripts) that come with it.
    """

    wheel: Path
    requirements: Path | None
    others: tuple[str, ...]
    replaced: tuple[str, ...]

    def touched(self, site: Path) -> Iterator[Path]:
        """What installing the others may change in the environment."""
        yield from (_place(site, name) for name in self.others)
        for name in self.replaced:
            if (found := environment.installed(name)) is not None:
                root = Path(str(found.locate_file("")))
                # whole folders: installers also delete what was compiled
                tops = {path.partition("/")[0] for path in listed(found) if not path.startswith("..")}
                yield from (root / top for top in sorted(tops))
                yield from (root / path for path in listed(found) if path.startswith(".."))


@contextmanager
def staged(wheel: Wheel, sha256: str, others: Sequence[PinnedRequirement], with_: Tool) -> Iterator[Stage]:
    """Install everything into a folder of its own and compare it with what was verified and planned.

    :raises DigestError: the wheel in the cache has changed. :raises InstallError: what the tool made is something else,
        or would lie over somebody's file.
    """
    with tempfile.TemporaryDirectory(prefix="cogen-stage-") as folder:
        place = Path(folder)
        copy = place / wheel.filename
        shutil.copyfile(wheel.path, copy)
        if sha256_of(copy) != sha256:
            raise DigestError(f"{wheel.filename} changed while it was verified", hint="try again")
        made = place / "made"
        environment.install(copy, with_, target=made)
        _compare(wheel, made, with_)
        listed_in: Path | None = None
        names: tuple[str, ...] = ()
        if others:
            listed_in = requirements_file(others, place / "beside.txt")
            names = _others(listed_in, place / "others", others, with_)
        replaced = tuple(str(canonicalize_name(one.name)) for one in others if one.instead is not None)
        yield Stage(copy, listed_in, names, replaced)


def _compare(wheel: Wheel, made: Path, with_: Tool) -> None:
    tops = {name.partition("/")[0] for name in wheel.files}
    strange = sorted(path.name for path in made.iterdir() if path.name not in tops and path.name != ".lock")
    problems = [*(f"{name}: added" for name in strange), *compare_files(made, wheel.files, wheel.info)]
    if problems:
        raise InstallError(
            f"what {with_} makes of {wheel.filename} is not what was verified: {problems[0]}",
            hint=f"install another version of {with_}, or say --with {'pip' if with_ == 'uv' else 'uv'}",
        )


def _others(requirements: Path, made: Path, pinned: Sequence[PinnedRequirement], with_: Tool) -> tuple[str, ...]:
    """Paths of what comes with it; none lies where something is, but for what may be replaced."""
    environment.install_pinned(requirements, with_, target=made)
    names = tuple(name for name, _ in files_of(made.parent, [made.name]))
    paths = tuple(name.removeprefix(f"{made.name}/") for name in names if not name.endswith("/.lock"))
    mine = {str(canonicalize_name(one.name)) for one in pinned if one.instead is not None}
    site = environment.site_packages()
    for name in paths:
        place = _place(site, name)
        if (place.exists() or place.is_symlink()) and "__pycache__" not in place.parts:
            who = owner(place)
            if who not in mine:
                raise InstallError(
                    f"{name} lies there already and belongs to {who or 'nobody'}",
                    hint="it comes with the expert; install what it requires by hand if you want it",
                )
    return paths


def _place(site: Path, name: str) -> Path:
    top, _, below = name.partition("/")
    return environment.scripts() / below if top == _SCRIPTS and below else site / name
