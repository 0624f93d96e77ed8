"""Routes: ``/api/v1``, but for releases, which belong to the packages."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse, StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select

from cogen_registry.auth import Principal, required
from cogen_registry.blobs.sending import Sending
from cogen_registry.database.tables import Publisher
from cogen_registry.errors import Refused
from cogen_registry.experts import composites, evaluations, figures, find, keys, models
from cogen_registry.experts.shards import Index
from cogen_registry.search.index import Query as SearchQuery
from cogen_registry.search.index import search_of
from cogen_registry.search.sizes import size_range
from cogen_registry.search.worker import Worker
from cogen_registry.service import Service

#: Blobs and files by digest never change.
_FOR_EVER = "public, max-age=31536000, immutable"
Limit = Annotated[int, Query(ge=1, le=100)]
Offset = Annotated[int, Query(ge=0, le=1_000_000)]
Text = Annotated[str | None, Query(max_length=300)]
Answer = TypeVar("Answer")


def router(service: Service) -> APIRouter:
    search = search_of(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # Nothing that is read here is thrown away again; looking for such doubles the time that it takes.
        gc.disable()
        try:
            search.fresh()
        finally:
            gc.enable()
        worker = Worker(search)
        worker.start()
        index.start()
        yield
        index.close()
        worker.stop()

    index = Index(service)
    routes = APIRouter(prefix="/api/v1", tags=["experts"], lifespan=lifespan)
    _reading(routes, service, index)
    _evaluations(routes, service)
    _publishers(routes, service)
    _composites(routes, service)
    return routes


def _reading(routes: APIRouter, service: Service, index: Index) -> None:
    @routes.get("/experts", response_model=models.Cards)
    def experts(
        q: Annotated[str, Query(max_length=1000, description="words, or what is meant")] = "",
        domain: Text = None,
        language: Annotated[str | None, Query(max_length=40, description="BCP 47; en finds en-GB too")] = None,
        license: Annotated[str | None, Query(max_length=200, description="SPDX")] = None,
        licence: Annotated[str | None, Query(max_length=200, deprecated=True, description="as license")] = None,
        base: Annotated[str | None, Query(max_length=300, description="name or digest of the base")] = None,
        publisher: Text = None,
        size: Annotated[str | None, Query(max_length=40, description="parameters: <200M, >=1B, 1B-7B, 135M")] = None,
        sort: Literal["", "relevance", "newest", "name", "smallest", "largest"] = "",
        limit: Limit = 20,
        offset: Offset = 0,
    ) -> Response:
        """Current experts: by words and by meaning with ``q``, else the newest first."""
        sizes = size_range(size) if size else None
        query = SearchQuery(q, domain, language, license or licence, base, publisher, sizes, sort, limit, offset)
        return _json(find.find(service, query))

    @routes.get("/index.json", response_model=models.StaticIndex)
    def index_json(request: Request) -> Response:
        """All current cards, in shards: ``index/NAME.SHA256.json`` beside this; clients fetch those that they lack."""
        body, digest = index.get()
        headers = {"ETag": f'"{digest}"', "Cache-Control": "no-cache"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Response(body, headers=headers, media_type="application/json")

    @routes.get("/index/{name}", response_class=FileResponse)
    def shard(name: str) -> Response:
        """``NAME.SHA256.json``: ``{"schema": 2, "experts": [card]}``; bytes that never change."""
        return FileResponse(index.file(name), media_type="application/json", headers={"Cache-Control": _FOR_EVER})

    @routes.get("/experts/{id}", response_model=models.Detail)
    def current(id: str, request: Request) -> Response:
        """The current version of an expert; where all are yanked, the newest."""
        return _json(find.detail(service, id, None, url_of(service, request)))

    @routes.get("/experts/{id}/{version}", response_model=models.Detail)
    def version(id: str, version: str, request: Request) -> Response:
        """One version of an expert, yanked ones too."""
        return _json(find.detail(service, id, version, url_of(service, request)))


def _evaluations(routes: APIRouter, service: Service) -> None:
    may = Depends(required(service.sessions, "evaluations"))

    @routes.get("/experts/{id}/{version}/evaluations")
    def listed(id: str, version: str) -> models.Evaluations:
        """What the publisher claims, and what was measured: never mixed."""
        return find.detail(service, id, version).evaluations

    @routes.post("/experts/{id}/{version}/evaluations", status_code=201)
    def add(
        id: str, version: str, new: models.NewEvaluation, response: Response, principal: Principal = may
    ) -> models.Measured:
        """Say what you measured, with the figures of every document. 200: it was known already."""
        with service.sessions.read() as session:
            row = find.expert_row(session, id, version).row
        kept, fresh = evaluations.add(service, principal, row, new)
        return _status(response, fresh, kept)

    @routes.post("/private-figures", status_code=201)
    def add_private(new: dict[str, Any], response: Response, principal: Principal = may) -> models.PublisherFigure:
        """Signed figures of a private suite of your own, of any model: ``cogen eval --publish``. 200: known already."""
        kept, fresh = figures.add(service, principal, new)
        return _status(response, fresh, kept)

    @routes.delete("/evaluations/{id}", status_code=204)
    def remove(id: Annotated[int, Path(ge=1, le=2**31 - 1)], principal: Principal = may) -> None:
        """Delete a measurement of your own, with its evidence."""
        evaluations.remove(service, principal, id)

    @routes.get("/evaluations/{id}/evidence", response_class=StreamingResponse)
    def evidence(id: Annotated[int, Path(ge=1, le=2**31 - 1)], request: Request) -> Response:
        """What was sent, as JSON: its SHA-256 is the measurement's ``evidence``."""
        digest = evaluations.evidence_of(service, id)
        # Asked for each time: it may have been taken down or deleted, or signed again with another key.
        headers = {"ETag": f'"{digest}"', "Cache-Control": "no-cache", "X-Content-Type-Options": "nosniff"}
        if request.headers.get("if-none-match") == headers["ETag"]:
            return Response(status_code=304, headers=headers)
        return Sending(service.blobs.read(digest), media_type="application/json", headers=headers)


def _publishers(routes: APIRouter, service: Service) -> None:
    anybody = Depends(required(service.sessions))
    may = Depends(required(service.sessions, "keys"))

    @routes.get("/whoami")
    def whoami(principal: Principal = anybody) -> models.Who:
        """Who this token belongs to."""
        with service.sessions.read() as session:
            title = session.scalar(select(Publisher.title).where(Publisher.id == principal.id))
        return models.Who(name=principal.name, title=title or principal.name, scopes=sorted(principal.scopes))

    @routes.get("/publishers/{name}")
    def publisher(name: str) -> models.PublisherDetail:
        """A team: its keys, those that were revoked with them, and its experts."""
        return find.publisher_of(service, name)

    @routes.post("/keys", status_code=201)
    def add_key(new: models.NewKey, response: Response, principal: Principal = may) -> models.PublicKey:
        """Add a key to sign releases with. 200: it was there already."""
        kept, fresh = keys.add(service, principal, new)
        return _status(response, fresh, kept)

    @routes.post("/keys/{fingerprint}/revoke")
    def revoke_key(fingerprint: str, principal: Principal = may) -> models.PublicKey:
        """Take a key back, for ever."""
        return keys.revoke(service, principal, fingerprint)


def _composites(routes: APIRouter, service: Service) -> None:
    may = Depends(required(service.sessions, "evaluations"))

    @routes.get("/composites")
    def listed(publisher: Text = None, expert: Text = None, limit: Limit = 20, offset: Offset = 0) -> models.Composites:
        """The newest version of each composite, the newest first."""
        return composites.listed(service, publisher, expert, limit, offset)

    @routes.post("/composites", status_code=201)
    def add(new: models.NewComposite, response: Response, principal: Principal = may) -> models.CompositeDetail:
        """Show a composite: its lock and its card. 200: it is the newest version already."""
        kept, fresh = composites.add(service, principal, new)
        return _status(response, fresh, kept)

    @routes.delete("/composites/{publisher}/{name}")
    def remove_all(publisher: str, name: str, principal: Principal = may) -> models.Deleted:
        """Delete a composite of your own in all versions. Their numbers are not given again."""
        return _removed(principal, publisher, name, None)

    @routes.delete("/composites/{publisher}/{name}/{version}")
    def remove(
        publisher: str, name: str, version: Annotated[int, Path(ge=1, le=2**31 - 1)], principal: Principal = may
    ) -> models.Deleted:
        """Delete one version of a composite of your own."""
        return _removed(principal, publisher, name, version)

    def _removed(principal: Principal, publisher: str, name: str, version: int | None) -> models.Deleted:
        if publisher != principal.name:
            raise Refused(403, f"{publisher}/{name} belongs to another publisher", hint=f"yours are {principal.name}/…")
        return models.Deleted(deleted=composites.remove(service, principal, name, version))

    @routes.get("/composites/{publisher}/{name}")
    def newest(publisher: str, name: str) -> models.CompositeDetail:
        """The newest version of a composite."""
        return composites.one(service, publisher, name)

    @routes.get("/composites/{publisher}/{name}/{version}")
    def version(publisher: str, name: str, version: Annotated[int, Path(ge=1, le=2**31 - 1)]) -> models.CompositeDetail:
        """One version of a composite."""
        return composites.one(service, publisher, name, version)


def url_of(service: Service, request: Request) -> str:
    """This service as clients see it, without a slash at its end."""
    return (service.settings.url or str(request.base_url)).rstrip("/")


def _json(answer: BaseModel) -> Response:
    """It is a valid model already: FastAPI would check it once more."""
    return Response(answer.model_dump_json(), media_type="application/json")


def _status(response: Response, fresh: bool, answer: Answer) -> Answer:
    response.status_code = 201 if fresh else 200
    return answer
