"""What the library that writes simple pages does not know yet: PEP 708 (where else a project is) and PEP 740."""

from __future__ import annotations

import html
import json
import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from simple_repository.content_negotiation import Format
from sqlalchemy import select

from cogen_registry.admission.attestations import provenance
from cogen_registry.audit import removals
from cogen_registry.database.tables import Attestation, IndexLink, Project, Release
from cogen_registry.errors import not_found
from cogen_registry.service import Service

#: Of pages that say more than those of version 1.1.
_VERSION = "1.3"


@dataclass(frozen=True)
class Extras:
    """``provenance``: file name → URL."""

    tracks: list[str] = field(default_factory=list)
    alternates: list[str] = field(default_factory=list)
    provenance: dict[str, str] = field(default_factory=dict)


def extras_of(service: Service, project: str) -> Extras:
    """Of one project; URLs are absolute where the service knows its own."""
    base = (service.settings.url or "../..").rstrip("/")
    with service.sessions.read() as session:
        links = session.execute(
            select(IndexLink.kind, IndexLink.url).join(Project).where(Project.name == project).order_by(IndexLink.url)
        ).all()
        attested = session.execute(
            select(Release.filename, Release.version)
            .join(Attestation, Attestation.release_id == Release.id)
            .join(Project, Release.project_id == Project.id)
            .where(Project.name == project, Release.state == "released")
        ).all()
    return Extras(
        [one.url for one in links if one.kind == "tracks"],
        [one.url for one in links if one.kind == "alternate-locations"],
        {one.filename: f"{base}/{path_of(project, one.version, one.filename)}" for one in attested},
    )


def path_of(project: str, version: str, filename: str) -> str:
    """Of a file's provenance, as PyPI has it."""
    return f"integrity/{quote(project)}/{quote(version)}/{quote(filename)}/provenance"


def decorated(text: str, form: Format, extras: Extras) -> str:
    """A page of a project with what it lacks."""
    if extras == Extras():
        return text
    return _json(text, extras) if form is Format.JSON_V1 else _html(text, extras)


def _json(text: str, extras: Extras) -> str:
    page = json.loads(text)
    page["meta"]["api-version"] = _VERSION
    if extras.tracks:
        page["meta"]["tracks"] = extras.tracks
    if extras.alternates:
        page["alternate-locations"] = extras.alternates
    for file in page["files"]:
        if file["filename"] in extras.provenance:
            file["provenance"] = extras.provenance[file["filename"]]
    return json.dumps(page)


def _html(text: str, extras: Extras) -> str:
    metas = [("pypi:tracks", url) for url in extras.tracks]
    metas += [("pypi:alternate-locations", url) for url in extras.alternates]
    head = "".join(f'    <meta name="{name}" content="{html.escape(url)}">\n' for name, url in metas)
    text = text.replace("    </head>", f"{head}    </head>", 1)
    for filename, url in extras.provenance.items():
        text = text.replace(f">{filename}</a>", f' data-provenance="{html.escape(url)}">{filename}</a>', 1)
    return re.sub(r'(name="pypi:repository-version" content=")[\d.]+', rf"\g<1>{_VERSION}", text, count=1)


def provenance_of(service: Service, project: str, version: str, filename: str) -> dict[str, Any]:
    """:raises Refused: 404; 410 or 451"""
    with service.sessions.read() as session:
        release = session.scalar(
            select(Release)
            .join(Project)
            .where(Project.name == project, Release.version == version, Release.filename == filename)
        )
        if release is not None:
            removals.check_release(session, release, filename)
        found = None if release is None else session.get(Attestation, release.id)
        if release is None or release.state != "released" or found is None:
            raise not_found(f"provenance of {filename}"[:200], "the simple index names the files that have one")
        return provenance(found.publisher, found.attestations)
