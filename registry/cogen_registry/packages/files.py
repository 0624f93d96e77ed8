"""Wheels and their METADATA: bytes that never change, in whole or in part."""

from __future__ import annotations

import re

from fastapi import Request
from fastapi.responses import Response
from sqlalchemy import select

from cogen_registry.audit import removals
from cogen_registry.blobs.sending import Sending
from cogen_registry.database.tables import Release
from cogen_registry.errors import Refused, not_found
from cogen_registry.service import Service

_FOR_EVER = "public, max-age=31536000, immutable"


def send(service: Service, request: Request, sha256: str, name: str) -> Response:
    """A released wheel, or with ``.metadata`` behind its name the METADATA in it (PEP 658).

    :raises Refused: 404, 416; 410 or 451, it was taken down
    """
    filename = name.removesuffix(".metadata")
    with service.sessions.read() as session:
        row = session.execute(
            select(Release.metadata_sha256, Release.size, Release.project_id).where(
                Release.filename == filename, Release.sha256 == sha256, Release.state == "released"
            )
        ).first()
        if row is None:
            removed = select(Release).where(Release.filename == filename, Release.state == removals.REMOVED)
            if (release := session.scalar(removed)) is not None:
                removals.check_release(session, release, filename)
    if row is None:
        raise not_found("such file", "/simple/ lists what there is")
    blob, size, kind = sha256, row.size, "application/octet-stream"
    if filename != name:
        blob, kind = row.metadata_sha256, "text/plain; charset=utf-8"
        size = service.blobs.size(blob) or 0
    headers = {
        "ETag": f'"{blob}"',
        "Cache-Control": _FOR_EVER,
        "Accept-Ranges": "bytes",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    if matches(request.headers.get("if-none-match"), headers["ETag"]):
        return Response(status_code=304, headers=headers)
    status, start, stop = 200, 0, size
    if (part := _range(request, headers["ETag"], size)) is not None:
        status, (start, stop) = 206, part
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
    headers["Content-Length"] = str(stop - start)
    if request.method == "GET" and filename == name and start == 0:
        service.sessions.tally.downloaded(row.project_id)
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=kind)
    return Sending(service.blobs.read(blob, start, stop), status, headers, media_type=kind)


def matches(header: str | None, etag: str) -> bool:
    """``If-None-Match``, weakly compared."""
    return header is not None and any(one.strip().removeprefix("W/") in (etag, "*") for one in header.split(","))


def _range(request: Request, etag: str, size: int) -> tuple[int, int] | None:
    """[start, stop) of one range; several, or what can't be read, are answered with the whole file (RFC 9110, 14.2)."""
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", request.headers.get("range", "").strip())
    if match is None or (not match[1] and not match[2]) or request.headers.get("if-range", etag) != etag:
        return None
    if not match[1]:
        start, stop = max(0, size - int(match[2])), size
    else:
        start, stop = int(match[1]), min(size, int(match[2]) + 1 if match[2] else size)
        if match[2] and int(match[2]) < start:
            return None
    if start >= stop:
        whole = {"Content-Range": f"bytes */{size}"}
        raise Refused(416, "the file has no such bytes", hint="ask for a range within it", headers=whole)
    return start, stop
