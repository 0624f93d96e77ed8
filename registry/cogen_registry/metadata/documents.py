"""What the registry itself says of a project, and of keys that nobody may trust any more.

projects/NAME/releases.json    {"schema": 1, "project", "publisher",
                                "releases": [{"version", "filename", "sha256", "size", "yanked", "key", "experts",
                                              "publisher"}]}
                               publisher: whose the project is; of a release: who published (and signed) it, which is
                               somebody else after the project was handed over
projects/NAME/N.root.json      the publisher's chain, see cogen.trust.metadata.project
projects/NAME/targets.json
projects/NAME/recovered.json   {"schema": 1, "project", "recovered": [{"when", "reason", "keys"}]}
revocations.json               {"schema": 1, "keys": [{"fingerprint", "publisher", "by", "when", "reason"}]}
"""

from __future__ import annotations

import json
from typing import Any

from packaging.version import Version
from sqlalchemy import select

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Expert, Key, Project, Publisher, Release, now
from cogen_registry.metadata import state

REVOCATIONS = "revocations.json"


def releases_path(project: str) -> str:
    return f"projects/{project}/releases.json"


def targets_path(project: str) -> str:
    return f"projects/{project}/targets.json"


def root_path(project: str, version: int) -> str:
    return f"projects/{project}/{version}.root.json"


def recovered_path(project: str) -> str:
    return f"projects/{project}/recovered.json"


def releases(session: Session, project: str) -> bytes | None:
    """What everybody may see of a project; ``None``: nothing was released."""
    found = session.execute(
        select(
            Project.name,
            Publisher.name.label("publisher"),
            Release.id,
            Release.version,
            Release.filename,
            Release.sha256,
            Release.size,
            Release.yanked,
            Release.key,
        )
        .join(Project, Release.project_id == Project.id)
        .join(Publisher, Project.publisher_id == Publisher.id)
        .where(Project.name == project, Release.state == "released")
    ).all()
    if not found:
        return None
    experts: dict[int, list[str]] = {row.id: [] for row in found}
    publishers = {row.id: row.publisher for row in found}
    listed = select(Expert.release_id, Expert.expert, Expert.publisher).join(Release, Expert.release_id == Release.id)
    listed = listed.join(Project, Release.project_id == Project.id).where(Project.name == project)
    for row in session.execute(listed.order_by(Expert.expert)):
        if row.release_id in experts:
            experts[row.release_id].append(row.expert)
            publishers[row.release_id] = row.publisher
    entries = [
        {
            "version": row.version,
            "filename": row.filename,
            "sha256": row.sha256,
            "size": row.size,
            "yanked": row.yanked,
            "key": row.key,
            "experts": experts[row.id],
            "publisher": publishers[row.id],
        }
        for row in sorted(found, key=lambda row: Version(row.version))
    ]
    return _bytes({"schema": 1, "project": project, "publisher": found[0].publisher, "releases": entries})


def revocations(session: Session, *more: dict[str, Any]) -> bytes:
    """Of before, those of the table of keys, and ``more``; what was revoked once stays so."""
    before = state.read_file(session, REVOCATIONS)
    entries: list[dict[str, Any]] = json.loads(before)["keys"] if before else []
    known = {one["fingerprint"] for one in entries}
    rows = session.execute(
        select(Key.fingerprint, Publisher.name, Key.revoked)
        .join(Publisher, Key.publisher_id == Publisher.id)
        .where(Key.revoked.is_not(None))
        .order_by(Key.id)
    )
    by_publisher = [
        {
            "fingerprint": row.fingerprint,
            "publisher": row.name,
            "by": "publisher",
            "when": row.revoked.isoformat(),
            "reason": "",
        }
        for row in rows
    ]
    for one in (*more, *by_publisher):
        if one["fingerprint"] not in known:
            known.add(one["fingerprint"])
            entries.append(one)
    return _bytes({"schema": 1, "keys": entries})


def recovered(session: Session, project: str, reason: str, keys: list[str]) -> bytes:
    """The marker of a chain that begins anew, because its keys were lost."""
    before = state.read_file(session, recovered_path(project))
    recoveries = json.loads(before)["recovered"] if before else []
    recoveries.append({"when": now().isoformat(), "reason": reason, "keys": keys})
    return _bytes({"schema": 1, "project": project, "recovered": recoveries})


def _bytes(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()
