"""From a name that a person types to one release in a registry."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from typing import Any

from cogen.errors import UsageError
from cogen.remote.client import Client, quoted
from cogen.remote.errors import NotThere, RegistryError


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
    project = re.sub(r"[-_.]+", "-", name).lower()
    for one in _cards(client, name):
        if one.get("project") == project:
            return _release(client, _detail(client, str(one["id"]), version))
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
            project=str(detail["project"]),
            version=str(detail["version"]),
            filename=str(file["filename"]),
            sha256=str(file["sha256"]),
            size=int(file["size"]),
            publisher=str(detail["publisher"]),
            yanked=bool(detail["yanked"]),
            signature=detail["signature"],
            expert=str(detail["id"]),
        )
        if not re.fullmatch(r"[0-9a-f]{64}", release.sha256) or not re.fullmatch(r"[\w.+!-]+\.whl", release.filename):
            raise ValueError
    except (KeyError, TypeError, ValueError) as error:
        raise RegistryError(
            f"{client.url} describes the expert in a form that is not known", hint="a newer CoGen may be needed"
        ) from error
    return release


def _hint(client: Client, name: str, expert: str, version: str | None) -> str | None:
    """What the person may have meant."""
    try:
        if version:
            known = _detail(client, expert, None)
            return "it has " + ", ".join(str(one["version"]) for one in known["versions"][:5])
    except (RegistryError, KeyError, TypeError):
        pass
    try:
        cards = _cards(client, name)
    except RegistryError:
        return None
    names = [str(one.get(field)) for one in cards for field in ("id", "project")]
    near = difflib.get_close_matches(name.lower(), names, 3, cutoff=0.6) or [str(one.get("id")) for one in cards[:3]]
    if near:
        return f"did you mean {' or '.join(near)}? `cogen search {name}` shows more"
    return "`cogen search WORDS` shows what is there"


def _cards(client: Client, words: str) -> list[dict[str, Any]]:
    """Experts that the registry finds for a name; its parts find more than the whole."""
    found: dict[str, dict[str, Any]] = {}
    for query in dict.fromkeys([words, re.sub(r"[-_.]+", " ", words.lower().removeprefix("cogen-plugin-"))]):
        answer = client.get("/api/v1/experts", {"q": query[:200], "limit": 20})
        for one in answer.get("items", []) if isinstance(answer, dict) else []:
            if isinstance(one, dict) and "id" in one:
                found.setdefault(str(one["id"]), one)
    return list(found.values())
