"""Bytes of a file, whole or one range of them."""

from __future__ import annotations

import re
from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy import select

from cogen_registry.blobs.sending import Sending
from cogen_registry.database.tables import Entry
from cogen_registry.service import Service
from cogen_registry.weights.answers import hub_error, no_entry
from cogen_registry.weights.repositories import commit_of, find

_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})")


def resolve(service: Service, request: Request, namespace: str, name: str, revision: str, path: str) -> Response:
    """Answer HEAD or GET.

    :raises Refused: 404, there is no such file; 416, the range is not one that the file has.
    """
    with service.sessions.read() as session:
        commit = commit_of(session, find(session, namespace, name), revision)
        entry = session.scalar(select(Entry).filter_by(commit_id=commit.id, path=path))
    if entry is None:
        raise no_entry(f"{namespace}/{name}", path, commit.oid)
    headers = _headers(entry, commit.oid)
    start, stop, status = 0, entry.size, 200
    asked = request.headers.get("range")
    if asked and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        start, stop = byte_range(asked, entry.size)
        status = 206
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{entry.size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers)
    return Sending(service.blobs.read(entry.sha256, start, stop), status, headers)


def byte_range(asked: str, size: int) -> tuple[int, int]:
    """Start and end (exclusive) of one range.

    :raises Refused: 416, several ranges, none, or one beyond the end: nobody who downloads weights needs them.
    """
    match = _RANGE.fullmatch(asked.strip())
    start, stop = 0, 0
    if match and match[1]:
        start = int(match[1])
        stop = min(int(match[2]) + 1, size) if match[2] else size
    elif match and match[2]:  # the last so many bytes
        start, stop = max(size - int(match[2]), 0), size
    if start >= stop:
        whole = {"Content-Range": f"bytes */{size}"}
        raise hub_error(416, "this file has no such range", "ask for one range within it", headers=whole)
    return start, stop


def _headers(entry: Entry, commit: str) -> dict[str, str]:
    """A client takes the ETag for a file name, so it is hex digits and nothing else; a browser must run none of it."""
    leaf = entry.path.rpartition("/")[2]
    plain = re.sub(r"[^A-Za-z0-9._-]", "_", leaf)
    headers = {
        "ETag": f'"{entry.oid}"',
        "X-Repo-Commit": commit,
        "Accept-Ranges": "bytes",
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(leaf)}",
        "Content-Security-Policy": "default-src 'none'; sandbox",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-transform",
    }
    if entry.lfs:
        headers |= {"X-Linked-Size": str(entry.size), "X-Linked-Etag": f'"{entry.sha256}"'}
    return headers
