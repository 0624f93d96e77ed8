"""What a plugin wants installed beside it: planned before anything is done, wheels alone, pinned by hash.

The ordinary expert requires cogen-core and nothing else: then no index is asked. Where more was allowed by name, the
user's own pip or uv resolves it against what is installed, all of which is held where it is.
"""

from __future__ import annotations

import json
import re
import tempfile
import tomllib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from packaging.requirements import Requirement
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

from cogen.sharing import environment
from cogen.sharing.environment import InstallError
from cogen.wheels import Wheel, requirements
from cogen.wheels.dependencies import HOST, others

#: What a plugin never brings, allowed or not: the host and what it computes with.
_HELD = (HOST, "torch", "transformers")


@dataclass(frozen=True)
class PinnedRequirement:
    """One wheel that would be installed. ``instead``: the version that is installed now, if there is one."""

    name: str
    version: str
    sha256: str
    instead: str | None = None

    def __str__(self) -> str:
        return f"{self.name}=={self.version} sha256:{self.sha256}"

    def _with(self, here: dict[str, str]) -> PinnedRequirement:
        return replace(self, instead=here.get(str(canonicalize_name(self.name))))

    @property
    def line(self) -> str:
        """For a file of requirements."""
        return f"{self.name}=={self.version} --hash=sha256:{self.sha256}\n"


def read(text: str) -> PinnedRequirement:
    """What :meth:`Pinned.__str__` wrote.

    :raises ValueError: it is something else.
    """
    match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!+]+) sha256:([0-9a-f]{64})", text)
    if match is None:
        raise ValueError(text)
    return PinnedRequirement(match[1], match[2], match[3])


def plan(
    wheel: Wheel, with_: environment.Tool, *, upgrade: Collection[str] = (), known: Sequence[PinnedRequirement] = ()
) -> list[PinnedRequirement]:
    """What is missing here of what a wheel requires; empty where nothing is.

    :param upgrade: installed distributions that may be replaced by another version.
    :param known: what somebody's earlier `cogen add` of the very same wheel brought: the same versions are taken.
    :raises InstallError: it cannot be had without replacing what is installed.
    """
    here = _installed()
    wanted = [one for one in others(requirements(wheel)) if not _there(one, here)]
    if not wanted:
        return []
    may = {str(canonicalize_name(name)) for name in upgrade} - set(_HELD)
    held = [f"{name}=={version}" for name, version in sorted(here.items()) if name not in may]
    held += [f"{one.name}=={one.version}" for one in known if canonicalize_name(one.name) not in here]
    with tempfile.TemporaryDirectory(prefix="cogen-plan-") as folder:
        place = Path(folder)
        (place / "held.txt").write_text("\n".join(held) + "\n", encoding="utf-8")
        (place / "wanted.txt").write_text("".join(f"{_plain(one)}\n" for one in wanted), encoding="utf-8")
        found = (_by_uv if with_ == "uv" else _by_pip)(place, here)
    for one in found:
        name, now = str(canonicalize_name(one.name)), one.instead
        if name in _HELD or (now is not None and name not in may):
            raise InstallError(
                f"{wheel.project} would replace {name} {now or ''}".rstrip() + f" with {one.version}",
                hint=f"it stays as it is; to allow it: --allow-upgrade {name}"
                if name not in _HELD
                else f"nothing that an expert requires replaces {name}",
            )
    return sorted(found, key=lambda one: one.name)


def _installed() -> dict[str, str]:
    """Name → version; of one that is there twice, what Python finds first."""
    found: dict[str, str] = {}
    for one in distributions():
        name, version = one.metadata["Name"], one.metadata["Version"]
        if name and version:
            found.setdefault(str(canonicalize_name(name)), str(version))
    return found


def _there(one: Requirement, here: dict[str, str]) -> bool:
    version = here.get(str(canonicalize_name(one.name)))
    return version is not None and not one.extras and one.specifier.contains(version, prereleases=True)


def _plain(one: Requirement) -> str:
    extras = f"[{','.join(sorted(one.extras))}]" if one.extras else ""
    return f"{one.name}{extras}{one.specifier}"


def _by_pip(place: Path, here: dict[str, str]) -> list[PinnedRequirement]:
    report = place / "report.json"
    environment.pip(
        "install",
        "--dry-run",
        "--quiet",
        "--report",
        str(report),
        "--only-binary",
        ":all:",
        "-c",
        str(place / "held.txt"),
        "-r",
        str(place / "wanted.txt"),
    )
    try:
        items: list[Any] = json.loads(report.read_text(encoding="utf-8"))["install"]
        return [_of_report(one, here) for one in items]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InstallError("pip's plan is in a form that is not known", hint="pip install --upgrade pip") from error


def _of_report(one: Any, here: dict[str, str]) -> PinnedRequirement:
    info = one["download_info"]["archive_info"]
    sha256 = (info.get("hashes") or {}).get("sha256") or str(info["hash"]).removeprefix("sha256=")
    name, version = str(one["metadata"]["name"]), str(one["metadata"]["version"])
    return read(f"{name}=={version} sha256:{sha256}")._with(here)


def _by_uv(place: Path, here: dict[str, str]) -> list[PinnedRequirement]:
    text = environment.uv(
        "pip",
        "compile",
        "--quiet",
        "--format",
        "pylock.toml",
        "--no-build",
        "--no-header",
        "-c",
        str(place / "held.txt"),
        str(place / "wanted.txt"),
    )
    try:
        packages: list[Any] = tomllib.loads(text).get("packages", [])
        resolved = [(str(one["name"]), str(one["version"]), one.get("wheels", [])) for one in packages]
        return [
            read(f"{name}=={version} sha256:{_best(name, wheels)}")._with(here)
            for name, version, wheels in resolved
            if here.get(str(canonicalize_name(name))) != version
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise InstallError("uv's plan is in a form that is not known", hint="upgrade uv, or say --with pip") from error


def _best(name: str, wheels: Iterable[Any]) -> str:
    """Hash of the wheel that an installer takes here: the first of this interpreter's tags that one has."""
    from packaging.tags import sys_tags

    order = {tag: number for number, tag in enumerate(sys_tags())}
    ranked = []
    for one in wheels:
        file = one.get("name") or unquote(urlsplit(str(one.get("url") or one.get("path"))).path.rpartition("/")[2])
        try:
            tags = parse_wheel_filename(file)[3]
        except InvalidWheelFilename:
            continue
        if fitting := [order[tag] for tag in tags if tag in order]:
            ranked.append((min(fitting), str(one["hashes"]["sha256"])))
    if not ranked:
        raise InstallError(
            f"{name} has no wheel for this machine", hint="source distributions are never built; install it yourself"
        )
    return min(ranked)[1]


def requirements_file(pinned: Iterable[PinnedRequirement], place: Path) -> Path:
    """What :func:`cogen.sharing.environment.install_pinned` reads."""
    place.write_text("".join(one.line for one in pinned), encoding="utf-8")
    return place


__all__ = ["PinnedRequirement", "plan", "read", "requirements_file"]
