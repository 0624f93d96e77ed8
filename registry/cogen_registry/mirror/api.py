"""``api/v1`` as files: what `cogen add`, `cogen verify` and `cogen search` read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from sqlalchemy import select

from cogen_registry.audit.removals import shown
from cogen_registry.database.tables import Composite, Evaluation, Expert, Publisher, Release
from cogen_registry.experts import composites, find, index_file
from cogen_registry.mirror.tree import Tree
from cogen_registry.service import Service

#: (expert, version) of everything that was released.
Versions = Sequence[tuple[str, str]]


def versions(service: Service) -> Versions:
    """Sorted by expert, the oldest release first."""
    with service.sessions.read() as session:
        found = session.execute(
            select(Expert.expert, Release.version)
            .join(Release, Expert.release_id == Release.id)
            .where(Release.state == "released")
            .order_by(Expert.expert, Release.id)
        )
        return [(one.expert, one.version) for one in found]


def write_all(service: Service, tree: Tree, found: Versions, advance: Callable[[], None] = lambda: None) -> None:
    """The index of all experts, each of them in each version, publishers, composites."""
    _index(service, tree)
    note = "a mirror can't search: set COGEN_INDEX to its /api/v1/index.json, and no registry"
    tree.json(["api", "v1", "experts"], {"total": 0, "items": [], "meaning": False, "note": note})
    for id in dict.fromkeys(id for id, _ in found):
        _expert(service, tree, id, None)
        advance()
    for id, version in found:
        _expert(service, tree, id, version)
        advance()
    _evidence(service, tree)
    with service.sessions.read() as session:
        visible = select(Publisher.name).where(shown("publisher", Publisher.id))
        publishers = session.scalars(visible.order_by(Publisher.name)).all()
    for name in publishers:
        tree.json(["api", "v1", "publishers", name], find.publisher_of(service, name).model_dump_json())
    write_composites(service, tree)


def _index(service: Service, tree: Tree) -> None:
    """All current cards: the shards, and what names them."""
    members: dict[str, list[int]] = {}
    with service.sessions.read() as session:
        for id, row in session.execute(select(Expert.expert, Expert.id).where(Expert.current)):
            members.setdefault(index_file.shard_of(id), []).append(row)
        shards = []
        for name, ids in sorted(members.items()):
            shard, data = index_file.write_shard(session, name, ids)
            tree.put(["api", "v1", "index", shard.file], data)
            shards.append(shard)
    tree.put(["api", "v1", "index.json"], index_file.document(service.settings.title, shards))


def _expert(service: Service, tree: Tree, id: str, version: str | None) -> None:
    """Its address of the wheel is relative to the file."""
    folder = ["api", "v1", "experts", id, *([] if version is None else [version])]
    tree.json(folder, find.detail(service, id, version, "/".join([".."] * len(folder))).model_dump_json())


def _evidence(service: Service, tree: Tree) -> None:
    """Of measurements that can be seen."""
    with service.sessions.read() as session:
        found = session.execute(
            select(Evaluation.id, Evaluation.evidence)
            .join(Expert, Evaluation.expert_id == Expert.id)
            .join(Release, Expert.release_id == Release.id)
            .where(Release.state == "released", shown("evaluation", Evaluation.id))
        ).all()
    for one in found:
        data = b"".join(service.blobs.read(one.evidence))
        tree.put(["api", "v1", "evaluations", str(one.id), "evidence", "index.json"], data)


def composite_versions(service: Service) -> Sequence[tuple[str, str, int]]:
    with service.sessions.read() as session:
        found = session.execute(
            select(Publisher.name.label("publisher"), Composite.name, Composite.version)
            .join(Publisher, Composite.publisher_id == Publisher.id)
            .where(shown("composite", Composite.id))
            .order_by(Publisher.name, Composite.name, Composite.version)
        )
        return [(one.publisher, one.name, one.version) for one in found]


def write_composites(service: Service, tree: Tree) -> None:
    folder = ["api", "v1", "composites"]
    tree.json(folder, composites.listed(service, limit=10**9).model_dump_json())
    for publisher, name, version in composite_versions(service):
        one = composites.one(service, publisher, name, version).model_dump_json()
        tree.json([*folder, publisher, name, str(version)], one)
        tree.json([*folder, publisher, name], one)  # versions come in order: the newest stays
