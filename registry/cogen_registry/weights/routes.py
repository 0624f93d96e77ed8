"""Paths of this state. They are the Hub's, so they are not in our own description of the API."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.concurrency import run_in_threadpool

from cogen_registry.admission import readmes
from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.turns import turns_of
from cogen_registry.auth import principal_of, required, secret_of
from cogen_registry.service import Service
from cogen_registry.weights import commits, lfs, listing, reading, repositories, xet
from cogen_registry.weights.answers import base_url, hub_error
from cogen_registry.weights.resolve import resolve
from cogen_registry.weights.state import state_of

_API = "/api/models/{namespace}/{name}"
_LFS = "application/vnd.git-lfs+json"


class NewRepository(BaseModel):
    """Of a new repository."""

    name: str = Field(max_length=200)
    organization: str | None = None
    type: str | None = None
    private: bool | None = None
    visibility: str | None = None


class Readme(BaseModel):
    content: str


class Sample(BaseModel):
    path: str
    size: int = Field(ge=0)


class Samples(BaseModel):
    files: list[Sample] = Field(max_length=1000)


class Called(BaseModel):
    tag: str


class Start(BaseModel):
    startingPoint: str | None = None


def router(service: Service) -> APIRouter:
    state_of(service)
    routes = APIRouter(include_in_schema=False)
    _accounts(routes, service)
    _reading(routes, service)
    _writing(routes, service)
    _uploads(routes, service)
    return routes


def _accounts(routes: APIRouter, service: Service) -> None:
    @routes.get("/api/whoami-v2")
    def whoami(request: Request) -> dict[str, Any]:
        principal = required(service.sessions)(request)
        access = {"displayName": "registry", "role": "write", "createdAt": None}
        return {
            "type": "user",
            "id": str(principal.id),
            "name": principal.name,
            "fullname": principal.name,
            "isPro": False,
            "orgs": [],
            "auth": {"type": "access_token", "accessToken": access},
        }

    @routes.post("/api/repos/create")
    def create(new: NewRepository, request: Request) -> Response:
        namespace = new.organization or required(service.sessions)(request).name
        principal = repositories.writer(service, request, namespace)
        if new.type not in (None, "model"):
            raise hub_error(400, f"this registry holds models, no {new.type}s", "leave out the type")
        if new.private or new.visibility not in (None, "public"):
            raise hub_error(400, "private repositories are not supported", "leave out private")
        made, fresh = repositories.create(service, principal, new.name)
        name = f"{namespace}/{made.name}"
        content = {"url": f"{base_url(service, request)}/{name}", "name": name, "id": f"{made.id:024x}"}
        # The client needs the URL in both cases: with exist_ok, a conflict is none.
        if not fresh:
            content["error"] = f"there is a repository {name} already"
        return JSONResponse(content, 200 if fresh else 409)

    @routes.delete("/api/repos/delete")
    def delete() -> None:
        raise hub_error(403, "published repositories cannot be deleted", "yank the release that names it")

    @routes.post("/api/validate-yaml")
    async def validate_yaml(request: Request, readme: Readme) -> Response:
        """The metadata at the top of a README."""
        report: dict[str, Any] = {"errors": [], "warnings": []}
        problem, front = None, readmes.front(readme.content)
        if front is not None and len(front) > readmes.LONGEST:
            problem = f"it has more than {readmes.LONGEST:,} characters"
        elif front is not None:
            asks = await run_in_threadpool(principal_of, service.sessions, secret_of(request))
            pool = pool_of(service.settings.limits)  # without a token one is one of the crowd, which has turns, too
            found = await turns_of(service).run(asks.id if asks else 0, pool.run, "metadata", {"text": front})
            problem = found["problem"]
        if problem:
            report["errors"].append({"message": f"the metadata of README.md is not valid YAML: {problem}"})
        return JSONResponse(report, 400 if report["errors"] else 200)


def _reading(routes: APIRouter, service: Service) -> None:
    @routes.get(_API)
    @routes.get(_API + "/revision/{revision}")
    def model_info(namespace: str, name: str, revision: str = repositories.MAIN, blobs: bool = False) -> Any:
        with service.sessions.read() as session:
            repository = repositories.find(session, namespace, name)
            commit = repositories.commit_of(session, repository, revision)
            return reading.model_info(session, repository, commit, blobs)

    @routes.get(_API + "/tree/{revision}")
    @routes.get(_API + "/tree/{revision}/{path:path}")
    def tree(
        request: Request,
        namespace: str,
        name: str,
        revision: str,
        path: str = "",
        recursive: bool = False,
        expand: bool = False,
        limit: int = 1000,
        cursor: str = "",
    ) -> Response:
        query = listing.TreeQuery(path.strip("/"), recursive, expand, limit, cursor)
        items, more = listing.tree(service, namespace, name, revision, query)
        return JSONResponse(items, headers=listing.link(service, request, more))

    @routes.get(_API + "/commits/{revision}")
    def log(request: Request, namespace: str, name: str, revision: str, limit: int = 50, p: int = 0) -> Response:
        items, more = listing.log(service, namespace, name, revision, limit, p)
        return JSONResponse(items, headers=listing.link(service, request, more))

    @routes.post(_API + "/paths-info/{revision}")
    async def paths_info(request: Request, namespace: str, name: str, revision: str) -> Any:
        return await listing.paths_info(service, request, namespace, name, revision)

    @routes.get(_API + "/refs")
    def refs(namespace: str, name: str) -> Any:
        with service.sessions.read() as session:
            return reading.references(session, repositories.find(session, namespace, name))

    @routes.api_route("/{namespace}/{name}/resolve/{revision}/{path:path}", methods=["GET", "HEAD"])
    def file(request: Request, namespace: str, name: str, revision: str, path: str) -> Response:
        return resolve(service, request, namespace, name, revision, path)


def _writing(routes: APIRouter, service: Service) -> None:
    @routes.post(_API + "/preupload/{revision}")
    def preupload(request: Request, namespace: str, name: str, revision: str, samples: Samples) -> Any:
        principal = repositories.writer(service, request, namespace)
        wanted = [(file.path, file.size) for file in samples.files]
        return {"files": listing.preupload(service, principal, name, revision, wanted)}

    @routes.post(_API + "/commit/{revision}")
    async def commit(request: Request, namespace: str, name: str, revision: str) -> Any:
        principal = await run_in_threadpool(repositories.writer, service, request, namespace)
        if request.query_params.get("create_pr"):
            raise hub_error(400, "there are no pull requests here", "commit to main")
        full, oid = await commits.commit(service, request, principal, name, revision)
        return {"success": True, "commitOid": oid, "commitUrl": f"{base_url(service, request)}/{full}/commit/{oid}"}

    @routes.post(_API + "/tag/{revision}")
    def tag(request: Request, namespace: str, name: str, revision: str, called: Called) -> Any:
        principal = repositories.writer(service, request, namespace)
        oid = repositories.add_reference(service, principal, name, "tag", revision, called.tag)
        return {"name": called.tag, "targetCommit": oid}

    @routes.post(_API + "/branch/{called}")
    def branch(request: Request, namespace: str, name: str, called: str, start: Start | None = None) -> Any:
        principal = repositories.writer(service, request, namespace)
        at = (start and start.startingPoint) or repositories.MAIN
        oid = repositories.add_reference(service, principal, name, "branch", at, called)
        return {"name": called, "targetCommit": oid}

    @routes.delete(_API + "/tag/{called}")
    @routes.delete(_API + "/branch/{called}")
    def keep(called: str) -> None:
        raise hub_error(403, f"{called} cannot be deleted: what was published is permanent", "make another one")


def _uploads(routes: APIRouter, service: Service) -> None:
    @routes.post("/{namespace}/{name}.git/info/lfs/objects/batch")
    def lfs_batch(request: Request, namespace: str, name: str, wanted: lfs.Batch) -> Response:
        principal = repositories.writer(service, request, namespace)
        return JSONResponse(lfs.batch(service, request, principal, name, wanted), media_type=_LFS)

    @routes.put("/lfs/{repository}/{oid}")
    async def lfs_put(
        request: Request, repository: int, oid: str, size: int, token: int, expires: int, signature: str
    ) -> dict[str, str]:
        await lfs.put(service, request, repository, oid, size, token, expires, signature)
        return {"oid": oid}

    @routes.get(_API + "/xet-write-token/{revision}")
    def xet_token(request: Request, namespace: str, name: str, revision: str) -> Response:
        granted = xet.grant(service, request, repositories.writer(service, request, namespace), name)
        headers = {
            "X-Xet-Cas-Url": granted["casUrl"],
            "X-Xet-Access-Token": granted["accessToken"],
            "X-Xet-Token-Expiration": str(granted["exp"]),
        }
        return JSONResponse(granted, headers=headers)

    @routes.post("/xet/{epoch}/v1/xorbs/default/{xorb}")
    async def xorb(request: Request, epoch: str, xorb: str) -> dict[str, bool]:
        return {"was_inserted": await xet.take_xorb(service, request, xorb)}

    @routes.post("/xet/{epoch}/v1/shards")
    async def shard(request: Request, epoch: str) -> dict[str, int]:
        await xet.take_shard(service, request)
        return {"result": 1}
