"""Refusals as the Hub's client reads them: its exceptions follow ``X-Error-Code``, its words ``X-Error-Message``."""

from __future__ import annotations

from fastapi import Request

from cogen_registry.errors import Refused
from cogen_registry.service import Service


def hub_error(
    status: int,
    message: str,
    hint: str,
    *,
    code: str | None = None,
    headers: dict[str, str] | None = None,
) -> Refused:
    """A refusal whose reason the client shows, whichever of its exceptions it becomes."""
    own_headers = {"X-Error-Message": f"{message} ({hint})".encode("ascii", "backslashreplace").decode()}
    if code:
        own_headers["X-Error-Code"] = code
    return Refused(status, message, hint=hint, headers=own_headers | (headers or {}))


def no_repository(name: str) -> Refused:
    """``RepositoryNotFoundError``."""
    return hub_error(404, f"there is no repository {name}", "check the spelling; its case counts", code="RepoNotFound")


def no_revision(name: str, revision: str) -> Refused:
    """``RevisionNotFoundError``."""
    return hub_error(
        404,
        f"{name} has no revision {revision!r}",
        f"/api/models/{name}/refs lists branches and tags",
        code="RevisionNotFound",
    )


def no_entry(name: str, path: str, commit: str) -> Refused:
    """``EntryNotFoundError``; the commit lets the client remember that the file is not in it."""
    hint = f"/api/models/{name}/tree/{commit} lists its files"
    return hub_error(404, f"{name} has no {path!r}", hint, code="EntryNotFound", headers={"X-Repo-Commit": commit})


def base_url(service: Service, request: Request) -> str:
    """Where clients reach this service, without a slash at the end."""
    return (service.settings.url or str(request.base_url)).rstrip("/")
