"""Routes: the simple index, files, the upload, and releases of ``/api/v1``."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, RedirectResponse, Response
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict

from cogen_registry.admission import releases, signatures
from cogen_registry.admission.verifier import Verifier
from cogen_registry.auth import address_of, principal_of, required, secret_of
from cogen_registry.packages import files, upload
from cogen_registry.packages.extras import provenance_of
from cogen_registry.packages.index import IndexPages, negotiate
from cogen_registry.packages.releases import detail
from cogen_registry.service import Service


class Yank(BaseModel):
    """Why resolvers should pass a release over: one line, may be empty."""

    model_config = ConfigDict(extra="forbid")

    reason: str = ""


class Signed(BaseModel):
    """See ``cogen.trust``."""

    model_config = ConfigDict(extra="forbid")

    statement: dict[str, Any]
    bundle: dict[str, Any]


def router(service: Service) -> APIRouter:
    """Starts the verifier, too: releases that a former process left in quarantine are looked at again."""
    shutil.rmtree(releases.scratch(service), ignore_errors=True)
    verifier = service.components.put(Verifier(service))
    verifier.start()
    api, pages, owner = APIRouter(), IndexPages(service), required(service.sessions)

    def page(request: Request, project: str | None) -> Response:
        form = negotiate(request.headers.get("accept", ""))
        body, etag = pages.page(project, form)
        headers = {"ETag": etag, "Vary": "Accept", "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if files.matches(request.headers.get("if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type=form.value)

    @_readable(api, "/simple/", operation_id="simple_list")
    def simple_list(request: Request) -> Response:
        """All projects (PEP 503, PEP 691)."""
        return page(request, None)

    @api.api_route("/simple", methods=["GET", "HEAD"], include_in_schema=False)
    def simple_list_moved() -> Response:
        return RedirectResponse("simple/", 301)

    @_readable(api, "/simple/{project}/", operation_id="simple_project")
    def simple_project(request: Request, project: str) -> Response:
        """The files of one project; a name that is not normalised is sent on to the one that is."""
        normal = canonicalize_name(project)
        if normal != project:
            return RedirectResponse(f"../{normal}/", 301)
        return page(request, project)

    @api.api_route("/simple/{project}", methods=["GET", "HEAD"], include_in_schema=False)
    def simple_project_moved(project: str) -> Response:
        return RedirectResponse(f"{canonicalize_name(project)}/", 301)

    @_readable(api, "/files/{sha256}/{name}", operation_id="file")
    def file(request: Request, sha256: str, name: str) -> Response:
        """A wheel, or its METADATA."""
        return files.send(service, request, sha256, name)

    @_readable(api, "/integrity/{project}/{version}/{filename}/provenance", operation_id="provenance")
    def integrity(project: str, version: str, filename: str) -> Response:
        """Who attested a file, and how (PEP 740)."""
        found = provenance_of(service, str(canonicalize_name(project)), version, filename)
        return JSONResponse(found, media_type="application/vnd.pypi.integrity.v1+json")

    @api.post("/legacy/", tags=["packages"], operation_id="upload")
    async def legacy(request: Request) -> Response:
        """The upload of `twine` and `uv publish`: a form with a wheel."""
        return JSONResponse(await upload.receive(service, request))

    api.post("/legacy", include_in_schema=False)(legacy)

    @api.get("/api/v1/releases/{project}/{version}", tags=["packages"])
    def release(request: Request, project: str, version: str) -> dict[str, Any]:
        """State, files and signature. One in quarantine is there for its owner's token alone."""
        viewer = principal_of(service.sessions, secret_of(request), address_of(request))
        return detail(service, request, project, version, viewer)

    @api.put("/api/v1/releases/{project}/{version}/signature", tags=["packages"])
    async def signature(request: Request, project: str, version: str, signed: Signed) -> dict[str, Any]:
        """Sign a release: the statement is exactly about it, by a key that is registered."""
        principal = await run_in_threadpool(owner, request)
        await run_in_threadpool(signatures.sign, service, principal, project, version, signed.statement, signed.bundle)
        return await run_in_threadpool(detail, service, request, project, version, principal)

    @api.post("/api/v1/releases/{project}/{version}/yank", tags=["packages"])
    def yank(request: Request, project: str, version: str, why: Yank) -> dict[str, Any]:
        """Hide a release from resolvers; who asks for exactly this version still gets it."""
        principal = owner(request)
        releases.yank(service, principal, project, version, why.reason)
        return detail(service, request, project, version, principal)

    @api.delete("/api/v1/releases/{project}/{version}/yank", tags=["packages"])
    def unyank(request: Request, project: str, version: str) -> dict[str, Any]:
        """Show it again."""
        principal = owner(request)
        releases.yank(service, principal, project, version, None)
        return detail(service, request, project, version, principal)

    return api


def _readable(api: APIRouter, path: str, operation_id: str) -> Callable[[Callable[..., Response]], Any]:
    """GET, and HEAD without a description: as methods of one route both would have one operation id."""

    def add(answer: Callable[..., Response]) -> Callable[..., Response]:
        api.get(path, tags=["packages"], operation_id=operation_id)(answer)
        return api.head(path, include_in_schema=False)(answer)

    return add
