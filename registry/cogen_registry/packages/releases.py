"""What ``/api/v1/releases`` says of one release."""

from __future__ import annotations

from typing import Any

from fastapi import Request
from sqlalchemy import select

from cogen_registry.admission.releases import publisher_of, visible
from cogen_registry.auth import Principal
from cogen_registry.database.tables import Key
from cogen_registry.service import Service


def detail(service: Service, request: Request, project: str, version: str, viewer: Principal | None) -> dict[str, Any]:
    """:raises Refused: 404, it is not there, or not there for this viewer."""
    base = (service.settings.url or str(request.base_url)).rstrip("/")
    with service.sessions.read() as session:
        row = visible(session, project, version, viewer)
        signature = None
        if row.bundle is not None:
            revoked = session.scalar(select(Key.revoked).where(Key.fingerprint == row.key))
            signature = {"key": row.key, "statement": row.statement, "bundle": row.bundle, "revoked": revoked}
        return {
            "project": row.project.name,
            "version": row.version,
            "publisher": publisher_of(row),
            "owner": row.project.publisher.name,
            "state": row.state,
            "reason": row.reason,
            "yanked": row.yanked,
            "code": row.code,
            "created": row.created,
            "experts": sorted(one.expert for one in row.experts),
            "files": [
                {
                    "filename": row.filename,
                    "url": f"{base}/files/{row.sha256}/{row.filename}",
                    "sha256": row.sha256,
                    "size": row.size,
                    "requires_python": row.requires_python,
                }
            ],
            "signature": signature,
        }
