"""Routes: ``/tuf/``, and the metadata of a project."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from cogen_registry.auth import Principal, required
from cogen_registry.names import chains, reading
from cogen_registry.names.renewal import Renewal
from cogen_registry.service import Service

_FOR_EVER = "public, max-age=31536000, immutable"


class Documents(BaseModel):
    """Documents of TUF, see :mod:`cogen.trust.metadata.project`. ``roots``: those that are new, in order."""

    model_config = ConfigDict(extra="forbid")

    roots: list[dict[str, Any]] = Field(default_factory=list, max_length=16)
    targets: dict[str, Any]


class StoredMetadata(BaseModel):
    """``root`` and ``targets``: versions; ``keys``: fingerprints of the keys that sign the project's releases."""

    project: str
    root: int
    targets: int
    keys: list[str]
    releases: int


def router(service: Service) -> APIRouter:
    renewal = service.components.put(Renewal(service))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        renewal.start()
        yield
        renewal.close()

    api = APIRouter(tags=["names"], lifespan=lifespan)
    may = Depends(required(service.sessions))

    @api.get("/tuf/targets/{path:path}", response_class=Response)
    def target(path: str, request: Request) -> Response:
        """A file that the metadata names, by its SHA-256."""
        return _sent(request, reading.target(service, path), True)

    @api.get("/tuf/{name}", response_class=Response)
    def role(name: str, request: Request) -> Response:
        """Signed metadata (TUF): timestamp.json, or a version of any role."""
        return _sent(request, *reading.role(service, name))

    @api.put("/api/v1/projects/{project}/metadata")
    def metadata(project: str, sent: Documents, principal: Principal = may) -> StoredMetadata:
        """Bind a project to keys, or list its releases, signed with them: verified as every client will."""
        chain, _ = chains.accept(service, principal, project, sent.roots, sent.targets)
        return StoredMetadata(
            project=chain.project,
            root=chain.root.signed.version,
            targets=chain.targets.signed.version,
            keys=sorted(chain.keys),
            releases=len(chain.entries()),
        )

    return api


def _sent(request: Request, data: bytes, for_ever: bool) -> Response:
    headers = {"Cache-Control": _FOR_EVER if for_ever else "no-cache", "X-Content-Type-Options": "nosniff"}
    return Response(data, headers=headers, media_type="application/json")
