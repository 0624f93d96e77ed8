"""Taking a release back: `cogen yank` hides it from resolvers, `cogen purge` removes its bytes for good."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from cogen.errors import UsageError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError

_PREFIX = "cogen-plugin-"


@dataclass(frozen=True)
class ReleaseName:
    """One version of a project."""

    project: str
    version: str

    def __str__(self) -> str:
        return f"{self.project}=={self.version}"


def release_name(client: Client, text: str) -> ReleaseName:
    """``NAME==VERSION``, where NAME is a distribution or the id of an expert.

    :raises UsageError: it is written otherwise. :raises RegistryError: the registry cannot be asked.
    """
    name, equals, version = (part.strip() for part in text.partition("=="))
    try:
        version = str(Version(version)) if equals else ""
    except InvalidVersion:
        version = ""
    if not version or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UsageError(f"{text!r} is not NAME==VERSION", hint="for example power==1.0.2")
    if canonicalize_name(name).startswith(_PREFIX):
        return ReleaseName(str(canonicalize_name(name)), version)
    try:
        answer: Any = client.get(f"/api/v1/experts/{quoted(name)}/{quoted(version)}")
        project = str(answer["project"])
    except (RegistryError, KeyError, TypeError) as error:
        # In quarantine, or taken down: by the name that plugins have.
        if isinstance(error, RegistryError) and error.status not in (404, 410, 451):
            raise
        project = _PREFIX + str(canonicalize_name(name))
    return ReleaseName(project, version)


def yank(client: Client, release: ReleaseName, reason: str) -> None:
    """Hide a release from resolvers; who asks for exactly this version still gets it.

    :param reason: one line, shown to whoever asks for it; may be empty.
    :raises RegistryError: it is not there, or not the publisher's.
    """
    client.send("POST", f"{_path(release)}/yank", json={"reason": reason})


def undo_yank(client: Client, release: ReleaseName) -> None:
    """Show it again.

    :raises RegistryError: it is not there, or not the publisher's.
    """
    client.send("DELETE", f"{_path(release)}/yank")


def purge(client: Client, what: ReleaseName | str, reason: str) -> None:
    """Remove the bytes of a release, or of a repository ``NAMESPACE/NAME``, for good.

    :param reason: public, one line.
    :raises RegistryError: it is not there, not the publisher's, under a legal hold, or purged already.
    """
    path = (
        _path(what)
        if isinstance(what, ReleaseName)
        else "/api/v1/repositories/" + "/".join(quoted(part) for part in what.split("/"))
    )
    answer = client.send("POST", f"{path}/purge", json={"reason": reason, "confirm": str(what)})
    if not isinstance(answer, dict) or "purged" not in answer:
        raise RegistryError(
            f"{client.url} describes the purge in a form that is not known", hint="a newer CoGen may be needed"
        )


def _path(release: ReleaseName) -> str:
    return f"/api/v1/releases/{quoted(release.project)}/{quoted(release.version)}"
