"""Lists that come in pages, and what is asked before an upload."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from cogen_registry.auth import Principal
from cogen_registry.database.tables import Entry
from cogen_registry.service import Service
from cogen_registry.weights import reading
from cogen_registry.weights.answers import base_url, hub_error, no_entry
from cogen_registry.weights.commits import REGULAR
from cogen_registry.weights.paths import check_kind, check_path
from cogen_registry.weights.quota import check_file
from cogen_registry.weights.repositories import commit_of, find

#: Items of a page, at most; with ``expand`` each costs more.
_PAGE, _EXPANDED = 1000, 50


@dataclass(frozen=True)
class TreeQuery:
    """``cursor``: the last path of the page before."""

    path: str
    recursive: bool
    expand: bool
    limit: int
    cursor: str


def tree(
    service: Service, namespace: str, name: str, revision: str, query: TreeQuery
) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
    """A page of a tree, and the parameters of the next one.

    :raises Refused: 404, also where the folder is not there.
    """
    with service.sessions.read() as session:
        head = commit_of(session, find(session, namespace, name), revision)
        items = reading.tree(head.entries, query.path, query.recursive)
        if query.path and not items:
            raise no_entry(f"{namespace}/{name}", query.path, head.oid)
        size = max(1, min(query.limit, _EXPANDED if query.expand else _PAGE))
        left = [item for item in items if item["path"] > query.cursor]
        page = left[:size]
        if query.expand:
            reading.add_last_commits(session, head, page)
    more = {"cursor": page[-1]["path"]} if len(left) > size else None
    return page, more


def log(
    service: Service, namespace: str, name: str, revision: str, limit: int, page: int
) -> tuple[list[dict[str, Any]], dict[str, str] | None]:
    """Commits, the newest first."""
    with service.sessions.read() as session:
        every = reading.history(session, commit_of(session, find(session, namespace, name), revision))
    size, page = max(1, min(limit, _PAGE)), max(0, page)
    found = [reading.commit_item(one, namespace) for one in every[page * size : (page + 1) * size]]
    return found, {"p": str(page + 1)} if len(every) > (page + 1) * size else None


def link(service: Service, request: Request, more: dict[str, str] | None) -> dict[str, str]:
    """Where the next page is, as RFC 8288 says it."""
    if more is None:
        return {}
    url = request.url.include_query_params(**more)
    return {"Link": f'<{base_url(service, request)}{url.path}?{url.query}>; rel="next"'}


async def paths_info(service: Service, request: Request, namespace: str, name: str, revision: str) -> Any:
    """Old clients send a form, newer ones JSON: ``paths`` and ``expand``."""
    if request.headers.get("content-type", "").startswith("application/json"):
        try:
            content = json.loads(await request.body())
            paths, expand = content["paths"], content.get("expand")
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise hub_error(400, "the body is not valid", 'send {"paths": […]}') from None
    else:
        form = await request.form(max_files=1, max_fields=_PAGE)
        paths, expand = form.getlist("paths"), form.get("expand")
    if not isinstance(paths, str | list):
        raise hub_error(400, "the body is not valid", 'send {"paths": […]}')
    wanted = [str(path) for path in ([paths] if isinstance(paths, str) else paths)][:_PAGE]

    def found() -> list[dict[str, Any]]:
        with service.sessions.read() as session:
            head = commit_of(session, find(session, namespace, name), revision)
            items = reading.paths_info(head.entries, wanted)
            if expand in (True, "true", "True", "1"):
                reading.add_last_commits(session, head, items)
            return items

    return await run_in_threadpool(found)


def preupload(
    service: Service, principal: Principal, name: str, revision: str, wanted: list[tuple[str, int]]
) -> list[dict[str, Any]]:
    """How to send each file, and what is there already: the client leaves out what is the same.

    :param wanted: Path and size of each.
    :raises Refused: 400 or 413, one of them may not lie here, before any of them is sent.
    """
    with service.sessions.read() as session:
        head = commit_of(session, find(session, principal.name, name), revision)
        rows = session.scalars(
            select(Entry).where(Entry.commit_id == head.id, Entry.path.in_([path for path, _ in wanted]))
        )
        known = {entry.path: entry.oid for entry in rows}
    answers = []
    for path, size in wanted:
        check_kind(check_path(path))
        check_file(service, principal.limits, size)
        large = size >= REGULAR or path.lower().endswith((".safetensors", ".model"))
        mode = "lfs" if large else "regular"
        answers.append({"path": path, "uploadMode": mode, "shouldIgnore": False, "oid": known.get(path)})
    return answers
