"""Repositories of weights as plain files.

    NAMESPACE/NAME/resolve/REVISION/PATH                   the bytes; REVISION: a commit, a branch or a tag
    api/models/NAMESPACE/NAME/tree/REVISION/index.json     which files a revision has, as the Hub's API lists them
    api/models/NAMESPACE/NAME/index.json                   the repository at its branch main
    api/models/NAMESPACE/NAME/revision/REVISION/index.json the same at another revision
    api/models/NAMESPACE/NAME/refs/index.json              branches and tags

Commits that a branch or a tag names, or that a released expert pins, are there; others are not.
"""

from __future__ import annotations

import re
from functools import partial

from sqlalchemy import select

from cogen_registry.audit.removals import shown
from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Expert, Reference, Release, Repository
from cogen_registry.mirror.tree import Tree
from cogen_registry.service import Service
from cogen_registry.weights import reading
from cogen_registry.weights.repositories import MAIN, full_name

_HF = re.compile(r"hf://([\w.-]+/[\w.-]+?)(?:@([0-9a-f]{40}))?(?:/.*)?")


def write_weights(service: Service, tree: Tree) -> None:
    """Everything of the module's list."""
    with service.sessions.read() as session:
        pinned = _pinned(session)
        visible = select(Repository).where(shown("repository", Repository.id))
        repositories = session.scalars(visible.order_by(Repository.key)).all()
        for repository in repositories:
            _repository(service, session, tree, repository, pinned)


def _pinned(session: Session) -> set[str]:
    """Commits that released experts name."""
    specs = session.scalars(
        select(Expert.spec).join(Release, Expert.release_id == Release.id).where(Release.state == "released")
    )
    found = set()
    for spec in specs:
        for place in (spec["model"], spec["tokenizer"], spec["model"].get("base") or {}):
            match = _HF.fullmatch(str(place.get("source", "")))
            if match and (revision := match[2] or place.get("revision")):
                found.add(str(revision))
    return found


def _repository(service: Service, session: Session, tree: Tree, repository: Repository, pinned: set[str]) -> None:
    name = full_name(repository).split("/")
    references = session.scalars(select(Reference).where(Reference.repository_id == repository.id)).all()
    wanted = {one.oid for one in references if one.oid} | pinned
    commits = session.scalars(
        select(Commit).where(Commit.repository_id == repository.id, Commit.oid.in_(wanted)).order_by(Commit.id)
    ).all()
    api = ["api", "models", *name]
    for commit in commits:
        called = [commit.oid, *(one.name for one in references if one.oid == commit.oid)]
        info = reading.model_info(session, repository, commit, blobs=True)
        listed = reading.tree(commit.entries, "", recursive=True)
        for revision in called:
            for entry in commit.entries:
                sha256 = entry.sha256
                tree.blob(
                    [*name, "resolve", revision, *entry.path.split("/")],
                    sha256,
                    entry.size,
                    partial(service.blobs.read, sha256),
                )
            tree.json([*api, "tree", revision], listed)
            tree.json([*api, "revision", revision], info)
            if revision == MAIN:
                tree.json(api, info)
    tree.json([*api, "refs"], reading.references(session, repository))
