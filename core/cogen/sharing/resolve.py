"""From a name that a person types to one release in a registry."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version

from cogen.errors import CogenError, UsageError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import NotThere, RegistryError
from cogen.remote.fields import text, whole
from cogen.sharing.index import read_index

#: Distributions of experts are called so by custom.
_PREFIX = "cogen-plugin-"


@dataclass(frozen=True)
class Release:
    """One version of a project as the registry describes it; nothing of it is believed before it was checked."""

    project: str
    version: str
    filename: str
    sha256: str
    size: int
    publisher: str
    yanked: bool
    #: {"key", "statement", "bundle", "revoked"}
    signature: dict[str, Any] | None
    expert: str


def parse(name: str) -> tuple[str, str | None]:
    """``NAME[==VERSION]``.

    :raises UsageError: it is something else.
    """
    match = re.fullmatch(r"([A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?)(?:\s*==\s*([A-Za-z0-9.!+_-]+))?", name.strip())
    if not match:
        raise UsageError(f"{name!r} is not NAME or NAME==VERSION", hint="for example power or power==0.1.0")
    return match[1], match[2]


def resolve(client: Client, name: str, version: str | None) -> Release:
    """The release of an expert (by its id) or of a project; without a version, the one that the registry shows.

    :raises NotThere: neither is there; the hint names what is spelled alike, or says that it is in quarantine.
    """
    expert = name.lower()
    try:
        return _release(client, _detail(client, expert, version))
    except NotThere as error:
        problem = error
    if (found := _of_project(client, name, version)) is not None:
        return _release(client, _detail(client, *found))
    raise NotThere(
        f"{client.url} has no expert {name}" + (f" in version {version}" if version else ""),
        hint=_hint(client, name, expert, version) or problem.hint,
        status=404,
    )


def _detail(client: Client, expert: str, version: str | None) -> Any:
    return client.get(f"/api/v1/experts/{quoted(expert)}" + (f"/{quoted(version)}" if version else ""))


def _release(client: Client, detail: Any) -> Release:
    try:
        file = detail["file"]
        release = Release(
            project=text(detail["project"]),
            version=text(detail["version"]),
            filename=text(file["filename"]),
            sha256=text(file["sha256"]),
            size=whole(file["size"]),
            publisher=text(detail["publisher"]),
            yanked=bool(detail["yanked"]),
            signature=detail["signature"],
            expert=text(detail["id"]),
        )
        Version(release.version)
        wheel = re.fullmatch(r"[A-Za-z0-9_.+!-]+\.whl", release.filename)
        if not wheel or not re.fullmatch(r"[0-9a-f]{64}", release.sha256):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"{client.url} describes the expert in a form that is not known", hint="a newer CoGen may be needed"
        ) from error
    return release


def _of_project(client: Client, name: str, version: str | None) -> tuple[str, str | None] | None:
    """(one of the experts, version) of a distribution: the newest that a resolver would take."""
    project = canonicalize_name(name)
    try:
        page = _simple(client, f"/simple/{project}/")
        if version is None:
            files = [file for file in page["files"] if not file.get("yanked")] or page["files"]
            versions = [parse_wheel_filename(file["filename"])[1] for file in files]
            version = str(max(versions, key=lambda one: (not one.is_prerelease, one)))
        release = client.get(f"/api/v1/releases/{project}/{quoted(version)}")
        return text(release["experts"][0]), text(release["version"])
    except (RegistryError, InvalidWheelFilename, KeyError, TypeError, ValueError, IndexError, AttributeError):
        pass
    try:  # a mirror lists no releases
        cards = read_index(f"{client.url}/api/v1/index.json", client)
        return next((str(card["id"]), version) for card in cards if card["project"] == project)
    except (CogenError, KeyError, TypeError, StopIteration):
        return None


def _simple(client: Client, path: str) -> Any:
    """A page of the package index as JSON; a mirror has that beside the HTML."""
    try:
        return client.send("GET", path, headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    except NotThere:
        raise
    except RegistryError:
        return client.get(f"{path}index.json")


def _hint(client: Client, name: str, expert: str, version: str | None) -> str | None:
    """What the person may have meant."""
    try:
        if version:
            known = _detail(client, expert, None)
            return "it has " + ", ".join(str(one["version"]) for one in known["versions"][:5])
    except (RegistryError, KeyError, TypeError, AttributeError):
        pass
    try:
        listed = _simple(client, "/simple/")
        names = [str(one["name"]).removeprefix(_PREFIX) for one in listed["projects"]]
    except (RegistryError, KeyError, TypeError, AttributeError):
        return None
    wanted = expert.removeprefix(_PREFIX)
    # A registry may have 100,000 names: only those of about this length are looked at closely.
    near = difflib.get_close_matches(wanted, [one for one in names if abs(len(one) - len(wanted)) < 4], 3, cutoff=0.7)
    if near:
        return f"did you mean {' or '.join(near)}? `cogen search {name}` shows more"
    return "`cogen search WORDS` shows what is there"
