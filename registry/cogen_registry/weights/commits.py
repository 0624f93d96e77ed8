"""From a body of NDJSON to a commit: all of it, or nothing."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import unicodedata
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Literal

from fastapi import Request
from pydantic import BaseModel, Field, ValidationError
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from cogen_registry.admission.pool import pool_of
from cogen_registry.admission.quota import LINE, TREE, check_total
from cogen_registry.admission.turns import turns_of
from cogen_registry.audit import log as audit
from cogen_registry.auth import Principal, confirm
from cogen_registry.bodies import check_json
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Entry, Possession, Reference, Repository
from cogen_registry.errors import Refused
from cogen_registry.service import Service
from cogen_registry.settings import MB, Limits
from cogen_registry.weights import quota
from cogen_registry.weights.answers import hub_error, no_entry, no_revision
from cogen_registry.weights.content import check_blob
from cogen_registry.weights.paths import check_kind, check_path, check_tree
from cogen_registry.weights.reading import git_oid
from cogen_registry.weights.repositories import commit_of, commit_oid, find, full_name

log = logging.getLogger(__name__)
#: Characters of what a commit says of itself.
_DESCRIPTION = 65_536
#: Files from this size on are LFS's: they come in a stream of their own.
REGULAR = MB
#: A small file may have so many bytes if the client insists.
_MOST = 10 * MB
_LINE = _MOST * 4 // 3 + 64 * 1024
_CLIENT = "commit with `hf upload`, which writes it as it has to be"


class Header(BaseModel):
    summary: str = ""
    description: str = ""
    parentCommit: str | None = None


class CommitFile(BaseModel):
    path: str
    content: str
    encoding: Literal["base64", "utf-8"] = "base64"


class LfsFile(BaseModel):
    """``size`` is missing where the client copies a file within its repository."""

    path: str
    oid: str = Field(pattern="^[0-9a-f]{64}$")
    algo: Literal["sha256"] = "sha256"
    size: int | None = Field(None, ge=0)


class DeletedPath(BaseModel):
    path: str


LINES: dict[str, type[BaseModel]] = {
    "header": Header,
    "file": CommitFile,
    "lfsFile": LfsFile,
    "deletedFile": DeletedPath,
    "deletedFolder": DeletedPath,
}


@dataclass(frozen=True)
class Content:
    """What a path becomes."""

    sha256: str
    size: int
    oid: str
    lfs: bool


@dataclass
class Draft:
    """What a commit would change. ``changes``: path (of a file, or a folder with a slash at its end) → new content."""

    header: Header = field(default_factory=Header)
    changes: list[tuple[str, Content | None]] = field(default_factory=list)
    #: Small files that are blobs already, and nothing names them yet.
    kept: list[str] = field(default_factory=list)
    #: LFS files whose bytes turned out to be something else.
    bad: list[str] = field(default_factory=list)


async def commit(service: Service, request: Request, principal: Principal, name: str, revision: str) -> tuple[str, str]:
    """Read a body and carry it out; the repository's full name and the commit's oid.

    :raises Refused: 400, 404, 409, 412 or 413; then nothing of it stays.
    """
    draft = Draft()
    try:
        async for line in _lines(request):
            await turns_of(service).run(principal.id, _take, service, draft, line)
        return await turns_of(service).run(principal.id, _carry_out, service, principal, name, revision, draft)
    finally:
        await run_in_threadpool(_settle, service, draft)


async def _lines(request: Request) -> AsyncIterator[bytes]:
    buffer, seen = bytearray(), 0
    async for block in request.stream():
        buffer += block
        while (end := buffer.find(b"\n", seen)) >= 0:
            if line := bytes(buffer[:end]).strip():
                yield line
            del buffer[: end + 1]
            seen = 0
        seen = len(buffer)
        if seen > _LINE:
            closed = {"Connection": "close"}  # the rest of the body is not read either
            raise hub_error(413, f"a small file has more than {_MOST:,} bytes", "send it by LFS", headers=closed)
    if line := bytes(buffer).strip():
        yield line


def _take(service: Service, draft: Draft, line: bytes) -> None:
    """One line of the body into the draft."""
    try:
        check_json(line, depth=8, values=100, texts=False)
    except Refused as error:
        raise hub_error(error.status, f"a line of the commit is not valid: {error.message}", _CLIENT) from None
    try:
        entry = json.loads(line)
        parsed = LINES[entry["key"]].model_validate(entry["value"])
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise hub_error(400, f"a line of the commit is not valid: {where}: {first['msg']}", _CLIENT) from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise hub_error(400, "a line of the commit is not valid", f"its key is one of {', '.join(LINES)}") from None
    if isinstance(parsed, Header):
        draft.header = parsed
        return
    if len(draft.changes) >= service.settings.limits.members:
        raise hub_error(
            413, f"a commit has more than {service.settings.limits.members:,} changes", "make several of it"
        )
    if isinstance(parsed, DeletedPath):
        path = check_path(parsed.path.rstrip("/"))
        draft.changes.append((path + "/" if entry["key"] == "deletedFolder" else path, None))
    elif isinstance(parsed, LfsFile):
        path = check_kind(check_path(parsed.path))
        draft.changes.append((path, Content(parsed.oid, -1 if parsed.size is None else parsed.size, parsed.oid, True)))
    elif isinstance(parsed, CommitFile):
        path = check_kind(check_path(parsed.path))
        draft.changes.append((path, _keep(service, draft, path, _decoded(parsed))))


def _decoded(file: CommitFile) -> bytes:
    if file.encoding == "utf-8":
        return file.content.encode("utf-8", "surrogatepass")
    try:
        return base64.b64decode(file.content, validate=True)
    except (binascii.Error, ValueError):
        raise hub_error(400, f"the content of {file.path} is not base64", _CLIENT) from None


def _keep(service: Service, draft: Draft, path: str, data: bytes) -> Content:
    """A small file becomes a blob at once, so that a commit of thousands of them holds no thousand files open."""
    if len(data) > _MOST:
        raise hub_error(413, f"{path} has more than {_MOST:,} bytes", "send it by LFS")
    with service.blobs.stage() as staged:
        staged.write(data)
        pool_of(service.settings.limits).weight(staged.path(), path)
        sha256 = staged.keep()
        draft.kept.append(sha256)
    return Content(sha256, len(data), git_oid(data), False)


def _settle(service: Service, draft: Draft) -> None:
    for sha256 in draft.kept:
        service.blobs.release(sha256)
    for sha256 in set(draft.kept):
        service.discard(sha256)  # only where no commit came of it


def _carry_out(service: Service, principal: Principal, name: str, revision: str, draft: Draft) -> tuple[str, str]:
    with service.sessions.read() as session:
        repository = find(session, principal.name, name)
        before, after = _trees(session, repository, revision, draft, service.settings.limits)
        fresh = [(path, one) for path, one in after.items() if one.lfs and before.get(path) != one]
    for path, one in fresh:  # may read much: not within a transaction that others wait for
        try:
            check_blob(service, one.sha256, path)
        except Refused as error:
            quota.forget(service, repository.id, [one.sha256])
            raise hub_error(error.status, error.message, error.hint) from None
    with service.sessions.write() as session:
        confirm(session, principal)
        repository = find(session, principal.name, name)
        # Other processes of PostgreSQL's wait here; SQLite has one writer anyway.
        reference = session.scalar(
            select(Reference).filter_by(repository_id=repository.id, name=revision).with_for_update()
        )
        before, after = _trees(session, repository, revision, draft, service.settings.limits)
        key, head = repository.key, reference.oid if reference else None
        assert reference is not None
        if before == after:
            return full_name(repository), str(head)
        small = {one.sha256: one for path, one in after.items() if not one.lfs}
        known = {one.sha256 for one in before.values()}
        coming = sum(one.size for one in small.values() if one.sha256 not in known)
        summary, description = _plain(draft.header.summary)[:500], _plain(draft.header.description)[:_DESCRIPTION]
        size = sum(len(path.encode()) + LINE for path in after) + len(summary) + len(description)
        check_total(session, service.settings.limits, principal.id, coming + size, 1 + len(after) + len(small))
        for one in small.values():
            quota.possess(service, session, repository, one.sha256, one.size, counted=True)
        listing = sorted((path, one.sha256, one.size) for path, one in after.items())
        made = Commit(
            repository_id=repository.id,
            parent=head,
            summary=summary,
            description=description,
            size=size,
            files=len(after),
            oid=commit_oid(key, head, listing, draft.header.summary),
        )
        made.entries = [
            Entry(path=path, sha256=one.sha256, size=one.size, oid=one.oid, lfs=one.lfs) for path, one in after.items()
        ]
        session.add(made)
        reference.oid = made.oid
        full, oid = full_name(repository), made.oid
        service.change(session, "repository", key)
        audit.record(
            session, audit.actor_of(principal), "repository.commit", full, branch=revision, commit=oid, parent=head
        )
    service.changed()
    _recheck(service, key)
    return full, oid


def _trees(
    session: Session, repository: Repository, revision: str, draft: Draft, limits: Limits
) -> tuple[dict[str, Content], dict[str, Content]]:
    """The tree of a branch, and what the draft makes of it.

    :raises Refused: 404, there is no such branch; 412, somebody was faster; 400, the tree can't be.
    """
    name = full_name(repository)
    reference = session.scalar(select(Reference).filter_by(repository_id=repository.id, name=revision))
    if reference is None:
        raise no_revision(name, revision)
    if reference.kind != "branch":
        raise hub_error(400, f"{revision} is a tag, which never moves", "commit to a branch")
    head = commit_of(session, repository, revision)
    wanted = draft.header.parentCommit
    if wanted is not None and wanted != head.oid:
        raise hub_error(412, f"{revision} has moved on: it is at {head.oid}", "read it again, then commit")
    before = {one.path: Content(one.sha256, one.size, one.oid, one.lfs) for one in head.entries}
    after = dict(before)
    for path, content in draft.changes:
        if content is not None:
            after[path] = _possessed(session, repository, path, content) if content.lfs else content
            continue
        doomed = [one for one in after if one == path or (path.endswith("/") and one.startswith(path))]
        if not doomed:
            raise no_entry(name, path, head.oid)
        for one in doomed:
            del after[one]
    if len(after) > (most := TREE * limits.members):
        raise hub_error(413, f"a tree has more than {most:,} files", "make several repositories of it")
    check_tree(after)
    return before, after


def _possessed(session: Session, repository: Repository, path: str, content: Content) -> Content:
    """Naming a hash is not having the bytes: this repository's publisher must have sent them to it.

    :raises Refused: 400, in the same words whether another repository has them or nobody.
    """
    own = session.get(Possession, (repository.id, content.sha256))
    if own is None or content.size not in (-1, own.size):
        raise hub_error(400, f"the bytes of {path} were not uploaded to this repository", "upload them, then commit")
    return Content(content.sha256, own.size, content.oid, True)


def _plain(text: str) -> str:
    """Without what a database or a page can't hold: control characters and half surrogates."""
    return "".join(one for one in text if one == "\n" or unicodedata.category(one) not in ("Cc", "Cs"))


def _recheck(service: Service, key: str) -> None:
    """Releases that wait for these weights may become visible; a commit that is made stays made whatever they say."""
    try:
        from cogen_registry.admission import releases

        releases.recheck_waiting(service, key)
    except Exception:
        log.exception("releases that wait for %s could not be looked at", key)
