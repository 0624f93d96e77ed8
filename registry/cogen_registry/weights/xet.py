"""The writing half of Xet: what ``hf upload`` sends becomes plain blobs; downloads never use Xet.

A client asks for a token, uploads xorbs (compressed chunks), then a shard that says which chunks make up which file.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any

import numpy as np
from fastapi import Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from cogen_registry.admission.quota import check_total
from cogen_registry.admission.turns import turns_of
from cogen_registry.audit import removals
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Possession, Publisher, Repository
from cogen_registry.service import Service
from cogen_registry.weights import quota
from cogen_registry.weights.answers import base_url, hub_error
from cogen_registry.weights.lfs import own, receive
from cogen_registry.weights.repositories import find, token_id, token_lives
from cogen_registry.weights.signing import expiry
from cogen_registry.weights.state import state_of
from cogen_registry.weights.xet_format import XORB, ShardFile, files_of, hexed
from cogen_registry.weights.xet_store import PLACE, XorbStore

#: Bytes of a shard; clients make them of 64 MiB at most.
_SHARD = 68 << 20
_NAME = re.compile(r"[0-9a-f]{64}")


def grant(service: Service, request: Request, principal: Principal, name: str) -> dict[str, Any]:
    """A token for uploads to one repository; it ends with the publisher's own."""
    quota.sweep(service, principal.id)
    state = state_of(service)
    state.xorbs.sweep(principal.id, service.settings.limits.pending)
    token, expires = token_id(service, request), expiry()
    with service.sessions.read() as session:
        repository = find(session, principal.name, name)
    signature = state.signer.sign("xet", repository.id, token, expires)
    return {
        "casUrl": f"{base_url(service, request)}/xet/{state.xorbs.epoch(principal.id)}",
        "accessToken": f"{repository.id}.{token}.{expires}.{signature}",
        "exp": expires,
    }


def uploader(service: Service, request: Request) -> Repository:
    """The repository that a token of Xet is for.

    :raises Refused: 401; 410 or 451, it was taken down
    """
    secret = request.headers.get("authorization", "").removeprefix("Bearer ")
    match = re.fullmatch(r"(\d{1,18})\.(\d{1,18})\.(\d{1,18})\.([0-9a-f]{64})", secret)
    if match:
        repository, token, expires = (int(part) for part in match.groups()[:3])
        if state_of(service).signer.holds(match[4], expires, "xet", repository, token):
            with service.sessions.read() as session:
                if token_lives(session, token):
                    removals.check(session, "repository", repository, "this repository")
                    return session.get_one(Repository, repository)
    raise hub_error(401, "this token of Xet is not valid, or no longer", "ask for a new one")


async def take_xorb(service: Service, request: Request, name: str) -> bool:
    """Stage a xorb; whether it was new.

    :raises Refused: 400, it is not whole; 401; 413, the publisher stages more than it may store.
    """
    repository = await run_in_threadpool(uploader, service, request)
    publisher, state = repository.publisher_id, state_of(service)
    if not _NAME.fullmatch(name):
        raise hub_error(400, "this is not the name of a xorb", "it is 64 hex digits")
    if state.xorbs.has(publisher, name):
        return False
    size = int(request.headers.get("content-length") or XORB)
    await run_in_threadpool(_reserve, service, publisher, size)
    draft = state.xorbs.draft(publisher)
    try:
        with draft.open("xb") as file:
            await receive(request, file, XORB)
        await run_in_threadpool(state.xorbs.admit, publisher, name, draft)
    finally:
        state.reservations.remove(publisher, size)
        draft.unlink(missing_ok=True)
    return True


def _reserve(service: Service, publisher: int, size: int) -> None:
    state = state_of(service)
    with service.sessions.read() as session:
        check_total(session, service.settings.limits, publisher, state.xorbs.staged(publisher) + size)
    state.reservations.add(service, publisher, size)


async def take_shard(service: Service, request: Request) -> None:
    """Put the files of a shard together and check each against its sha256; all of them become the repository's.

    :raises Refused: 400, a file can't be made, or is another; 401; 413.
    """
    repository = await run_in_threadpool(uploader, service, request)
    data = _Buffer()
    await receive(request, data, _SHARD)
    shard = bytes(data)
    key = f"{repository.id} {hashlib.sha256(shard).hexdigest()}"
    async with turns_of(service).turn(repository.publisher_id):
        await state_of(service).jobs.run(key, lambda: _build(service, repository, shard))


class _Buffer(bytearray):
    write = bytearray.extend


def _build(service: Service, repository: Repository, shard: bytes) -> None:
    files = list(files_of(shard))
    if len(files) > service.settings.limits.members:
        raise hub_error(413, f"a shard has more than {service.settings.limits.members:,} files", "upload fewer at once")
    fresh: list[str] = []
    try:
        for file in files:
            with service.sessions.read() as session:
                limits = session.scalars(select(Publisher.limits).where(Publisher.id == repository.publisher_id)).one()
                known = session.get(Possession, (repository.id, file.sha256))
            quota.check_file(service, limits, file.size)
            if known is None:
                _build_file(service, repository, file)
                fresh.append(file.sha256)
            _learn(state_of(service).xorbs, repository.publisher_id, file)
    except BaseException:
        quota.forget(service, repository.id, fresh)
        raise


def _build_file(service: Service, repository: Repository, file: ShardFile) -> None:
    state, publisher = state_of(service), repository.publisher_id
    state.reservations.add(service, publisher, file.size)
    try:
        with service.blobs.stage() as staged:
            for term in file.terms:
                left = int(term["size"])
                chunks = state.xorbs.read(
                    service.blobs, publisher, hexed(bytes(term["xorb"])), int(term["start"]), int(term["stop"])
                )
                for chunk in chunks:
                    left -= len(chunk)
                    if left < 0:
                        break
                    staged.write(chunk)
                if left:
                    raise hub_error(400, "chunks of this shard have another size than it says", "upload again")
            if staged.sha256 != file.sha256:
                raise hub_error(400, "the chunks of a file don't make the file that the shard names", "upload it again")
            own(service, repository.id, staged)
    finally:
        state.reservations.remove(publisher, file.size)


def _learn(xorbs: XorbStore, publisher: int, file: ShardFile) -> None:
    """Remember where in the file each chunk is, so that its xorb need not be kept."""
    offsets = np.concatenate([[0], np.cumsum(file.terms["size"], dtype=np.int64)])
    names, which = np.unique(file.terms["xorb"], return_inverse=True)
    for number, raw in enumerate(names):
        name = hexed(bytes(raw))
        sizes = xorbs.sizes(publisher, name)
        if sizes is None:
            continue
        parts = []
        for at in np.flatnonzero(which == number):
            start, stop = int(file.terms["start"][at]), int(file.terms["stop"][at])
            part = np.empty(stop - start, PLACE)
            part["index"], part["size"] = np.arange(start, stop), sizes[start:stop]
            part["offset"] = offsets[at] + np.cumsum(sizes[start:stop], dtype=np.int64) - sizes[start:stop]
            part["sha256"] = np.void(bytes.fromhex(file.sha256))
            parts.append(part)
        xorbs.learn(publisher, name, np.concatenate(parts), len(sizes))
