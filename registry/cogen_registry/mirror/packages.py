"""The simple index and what it names."""

from __future__ import annotations

import json

from simple_repository.content_negotiation import Format
from sqlalchemy import select

from cogen_registry.admission.attestations import provenance
from cogen_registry.audit.removals import shown
from cogen_registry.database.tables import Attestation, Key, Project, Publisher, Release
from cogen_registry.mirror.tree import Tree
from cogen_registry.packages.extras import path_of
from cogen_registry.packages.index import IndexPages
from cogen_registry.service import Service


def write_index(service: Service, tree: Tree) -> None:
    """``simple/…``: HTML where pip and uv ask, JSON beside it as index.json. Links are relative."""
    pages = IndexPages(service)
    with service.sessions.read() as session:
        shown = select(Release.project_id).where(Release.state == "released")
        projects = session.scalars(select(Project.name).where(Project.id.in_(shown)).order_by(Project.name)).all()
    for project in (None, *projects):
        folder = ["simple"] if project is None else ["simple", project]
        tree.put([*folder, "index.html"], pages.page(project, Format.HTML_LEGACY)[0])
        tree.put([*folder, "index.json"], pages.page(project, Format.JSON_V1)[0])


def write_files(service: Service, tree: Tree) -> None:
    """Wheels of released versions with their METADATA, and the signature of each beside it."""
    with service.sessions.read() as session:
        columns = (
            Release.filename,
            Release.sha256,
            Release.size,
            Release.metadata_sha256,
            Release.statement,
            Release.bundle,
            Release.key,
            Release.version,
            Project.name.label("project"),
            Attestation.publisher,
            Attestation.attestations,
        )
        released = select(*columns).join(Project).outerjoin(Attestation, Attestation.release_id == Release.id)
        found = session.execute(released.where(Release.state == "released").order_by(Release.id)).all()
    for one in found:
        place = ["files", one.sha256]
        _blob(service, tree, [*place, one.filename], one.sha256, one.size)
        metadata = b"".join(service.blobs.read(one.metadata_sha256))
        tree.put([*place, f"{one.filename}.metadata"], metadata)
        if one.attestations is not None:
            document = provenance(one.publisher, one.attestations)
            tree.put(path_of(one.project, one.version, one.filename).split("/"), _text(document))
        if one.bundle is not None:
            document = {"key": one.key, "statement": one.statement, "bundle": one.bundle}
            tree.put([*place, f"{one.filename}.signature.json"], _text(document))


def write_keys(service: Service, tree: Tree) -> None:
    """``publishers/NAME/FINGERPRINT.pem``; a key that was revoked has a name that says so."""
    with service.sessions.read() as session:
        found = session.execute(
            select(Publisher.name, Key.fingerprint, Key.pem, Key.revoked)
            .join(Key, Key.publisher_id == Publisher.id)
            .where(shown("publisher", Publisher.id))
        ).all()
    for one in found:
        name = one.fingerprint.removeprefix("sha256:") + (".revoked" if one.revoked else "")
        tree.put(["publishers", one.name, f"{name}.pem"], one.pem.encode())


def _blob(service: Service, tree: Tree, parts: list[str], sha256: str, size: int) -> None:
    tree.blob(parts, sha256, size, lambda: service.blobs.read(sha256))


def _text(value: object) -> bytes:
    return (json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False) + "\n").encode()
