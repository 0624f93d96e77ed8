"""git-lfs: a batch says what is missing and where to PUT it; URLs are signed, since the client sends no token there."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from cogen_registry.admission.quota import check_bytes, check_rows, limits_of, stored
from cogen_registry.audit import removals
from cogen_registry.auth import Principal
from cogen_registry.blobs.store import BLOCK, Staged
from cogen_registry.database.tables import Possession, Repository
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.weights import quota
from cogen_registry.weights.answers import base_url, hub_error
from cogen_registry.weights.repositories import find, token_id, token_lives
from cogen_registry.weights.signing import LASTS, expiry
from cogen_registry.weights.state import state_of


class Wanted(BaseModel):
    oid: str = Field(pattern="^[0-9a-f]{64}$")
    size: int = Field(ge=0)


class Batch(BaseModel):
    operation: Literal["upload"]
    objects: list[Wanted] = Field(max_length=1000)
    hash_algo: Literal["sha256"] = "sha256"


def batch(service: Service, request: Request, principal: Principal, name: str, wanted: Batch) -> dict[str, Any]:
    """Where to send what this repository does not possess yet; what another one has counts for nothing."""
    quota.sweep(service, principal.id)
    token = token_id(service, request)
    answers: list[dict[str, Any]] = []
    coming, most = 0, limits_of(service.settings.limits, principal.limits).publisher
    with service.sessions.read() as session:
        repository = find(session, principal.name, name)
        check_rows(session, service.settings.limits, principal.id, len(wanted.objects))
        have = stored(session, principal.id)
        for item in wanted.objects:
            answer: dict[str, Any] = {"oid": item.oid, "size": item.size}
            answers.append(answer)
            if session.get(Possession, (repository.id, item.oid)) is not None:
                continue
            try:
                quota.check_file(service, principal.limits, item.size)
                check_bytes(most, have, coming + item.size)
            except Refused as error:
                answer["error"] = {"code": error.status, "message": f"{error.message} ({error.hint})"}
                continue
            coming += item.size
            expires = expiry()
            signature = state_of(service).signer.sign("lfs", repository.id, token, item.oid, item.size, expires)
            url = (
                f"{base_url(service, request)}/lfs/{repository.id}/{item.oid}"
                f"?size={item.size}&token={token}&expires={expires}&signature={signature}"
            )
            answer["actions"] = {"upload": {"href": url, "expires_in": LASTS}}
    return {"transfer": "basic", "objects": answers, "hash_algo": "sha256"}


async def put(
    service: Service, request: Request, repository: int, oid: str, size: int, token: int, expires: int, signature: str
) -> None:
    """Take the bytes that a signed URL was made for: these and no others.

    :raises Refused: 403, it was not made here, or for something else, or is too old, or its token was revoked;
        400, the bytes are others; 413, they are too many.
    """
    state = state_of(service)
    if not state.signer.holds(signature, expires, "lfs", repository, token, oid, size):
        raise hub_error(403, "this URL is not valid, or no longer", "ask for a new one")
    owner = await run_in_threadpool(_owner, service, repository, token)
    length = request.headers.get("content-length")
    if length is not None and length != str(size):
        closed = {"Connection": "close"}
        raise hub_error(400, f"the body has {length} bytes instead of {size}", "upload the file again", headers=closed)
    await run_in_threadpool(state.reservations.add, service, owner, size)
    try:
        with service.blobs.stage() as staged:
            await receive(request, staged, size)
            if staged.size != size or staged.sha256 != oid:
                raise hub_error(400, "the bytes are not those that the URL was made for", "upload the file again")
            await run_in_threadpool(own, service, repository, staged)
    finally:
        state.reservations.remove(owner, size)


async def receive(request: Request, staged: Any, most: int) -> None:
    """Stream a body into ``staged`` (anything with ``write``), in blocks; the disk never stops the event loop.

    :raises Refused: 400, there are more than ``most`` bytes, or the client went away.
    """
    buffer, seen = bytearray(), 0
    try:
        async for block in request.stream():
            seen += len(block)
            if seen > most:
                # the rest of the body is not read either
                closed = {"Connection": "close"}
                raise hub_error(400, f"the body has more than {most:,} bytes", "upload the file again", headers=closed)
            buffer += block
            if len(buffer) >= BLOCK:
                await run_in_threadpool(staged.write, bytes(buffer))
                buffer.clear()
    except ClientDisconnect:
        raise hub_error(400, "the connection ended too early", "upload it again") from None
    await run_in_threadpool(staged.write, bytes(buffer))


def _owner(service: Service, repository: int, token: int) -> int:
    with service.sessions.read() as session:
        if not token_lives(session, token):
            raise hub_error(403, "the token that asked for this URL is no longer valid", "ask the registry's operator")
        removals.check(session, "repository", repository, "this repository")
        return session.scalars(select(Repository.publisher_id).where(Repository.id == repository)).one()


def own(service: Service, repository: int, staged: Staged) -> None:
    """Keep staged bytes as a blob that a repository possesses; both or neither.

    :raises Refused: 413, the publisher would store too much.
    """
    sha256, size = staged.keep(), staged.size
    try:
        with service.sessions.write() as session:
            found = session.get_one(Repository, repository)
            removals.check(session, "repository", repository, "this repository")
            quota.possess(service, session, found, sha256, size)
    finally:
        service.blobs.release(sha256)
        service.discard(sha256)  # only where the transaction failed
