"""What a repository holds, in the JSON of the Hub's API."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import func, or_, select

from cogen_registry.database.sessions import Session
from cogen_registry.database.tables import Commit, Entry, Possession, Reference, Repository
from cogen_registry.weights.repositories import full_name

#: Commits that are looked through for when a file last changed.
_HISTORY = 200


def pointer(entry: Entry) -> bytes:
    """The small file that git would hold for a large one."""
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{entry.sha256}\nsize {entry.size}\n".encode()


def git_oid(data: bytes) -> str:
    """Git's name for a blob: what the client compares small files by."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def model_info(session: Session, repository: Repository, commit: Commit, blobs: bool) -> dict[str, Any]:
    name = full_name(repository)
    used = session.scalar(
        select(func.coalesce(func.sum(Possession.size), 0)).where(Possession.repository_id == repository.id)
    )
    return {
        "_id": f"{repository.id:024x}",
        "id": name,
        "modelId": name,
        "author": repository.publisher.name,
        "sha": commit.oid,
        "createdAt": moment(repository.created),
        "lastModified": moment(commit.created),
        "private": False,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [],
        "usedStorage": int(used or 0),
        "siblings": [sibling(entry, blobs) for entry in commit.entries],
    }


def sibling(entry: Entry, blobs: bool) -> dict[str, Any]:
    described: dict[str, Any] = {"rfilename": entry.path}
    if blobs:
        item = file_item(entry)
        described |= {"size": entry.size, "blobId": item["oid"]}
        if entry.lfs:
            described["lfs"] = {"sha256": entry.sha256, "size": entry.size, "pointerSize": len(pointer(entry))}
    return described


def file_item(entry: Entry) -> dict[str, Any]:
    """One file of a tree. There is never an ``xetHash``, so that downloads stay plain HTTP."""
    item: dict[str, Any] = {"type": "file", "path": entry.path, "size": entry.size, "oid": entry.oid}
    if entry.lfs:
        text = pointer(entry)
        item |= {"oid": git_oid(text), "lfs": {"oid": entry.sha256, "size": entry.size, "pointerSize": len(text)}}
    return item


def tree(entries: Sequence[Entry], folder: str, recursive: bool) -> list[dict[str, Any]]:
    """Files and folders below ``folder`` ("" for all), by path; without ``recursive``, those right in it."""
    prefix = f"{folder}/" if folder else ""
    files, folders = [], defaultdict[str, list[str]](list)
    for entry in entries:
        if not entry.path.startswith(prefix):
            continue
        parts = entry.path[len(prefix) :].split("/")
        for depth in range(1, len(parts) if recursive else min(len(parts), 2)):
            folders[prefix + "/".join(parts[:depth])].append(f"{entry.oid} {entry.path}\n")
        if recursive or len(parts) == 1:
            files.append(file_item(entry))
    items = files + [folder_item(path, lines) for path, lines in folders.items()]
    return sorted(items, key=lambda item: str(item["path"]))


def folder_item(path: str, lines: list[str]) -> dict[str, Any]:
    """:param lines: The oid and path of every file below it."""
    return {"type": "directory", "path": path, "size": 0, "oid": git_oid("".join(lines).encode())}


def paths_info(entries: Sequence[Entry], paths: Iterable[str]) -> list[dict[str, Any]]:
    """Those of the paths that are there."""
    every = {item["path"]: item for item in tree(entries, "", recursive=True)}
    wanted = dict.fromkeys(path.strip("/") for path in paths)
    return [every[path] for path in wanted if path in every]


def history(session: Session, head: Commit) -> list[Commit]:
    """A commit and those before it, the newest first."""
    known = {one.oid: one for one in session.scalars(select(Commit).where(Commit.repository_id == head.repository_id))}
    found, oid = [], head.oid
    while oid in known:
        found.append(known.pop(oid))  # popped: a circle would end here
        oid = found[-1].parent or ""
    return found


def add_last_commits(session: Session, head: Commit, items: list[dict[str, Any]]) -> None:
    """For ``expand``: the commit that brought each item as it is now, looked for among the newest ``_HISTORY``."""
    commits = history(session, head)[:_HISTORY]
    prefixes = [Entry.path.startswith(item["path"] + "/", autoescape=True) for item in items if _is_folder(item)]
    rows = session.execute(
        select(Entry.commit_id, Entry.path, Entry.sha256).where(
            Entry.commit_id.in_([one.id for one in commits]),
            or_(Entry.path.in_([item["path"] for item in items if not _is_folder(item)]), *prefixes),
        )
    )
    content: dict[int, dict[str, str]] = {}
    for commit_id, path, sha256 in rows:
        content.setdefault(commit_id, {})[path] = sha256

    def state(commit: Commit, item: dict[str, Any]) -> Any:
        files, path = content.get(commit.id, {}), item["path"]
        return {k: v for k, v in files.items() if k.startswith(path + "/")} if _is_folder(item) else files.get(path)

    for item in items:
        last, here = head, state(head, item)
        for commit in commits[1:]:
            if state(commit, item) != here:
                break
            last = commit
        item["lastCommit"] = {"id": last.oid, "title": last.summary, "date": moment(last.created)}


def _is_folder(item: dict[str, Any]) -> bool:
    return bool(item["type"] == "directory")


def references(session: Session, repository: Repository) -> dict[str, Any]:
    found: dict[str, list[dict[str, Any]]] = {"branches": [], "tags": [], "converts": [], "pullRequests": []}
    rows = session.scalars(select(Reference).filter_by(repository_id=repository.id).order_by(Reference.name))
    for one in rows:
        where, ref = ("branches", "heads") if one.kind == "branch" else ("tags", "tags")
        found[where].append({"name": one.name, "ref": f"refs/{ref}/{one.name}", "targetCommit": one.oid})
    return found


def commit_item(commit: Commit, author: str) -> dict[str, Any]:
    return {
        "id": commit.oid,
        "title": commit.summary,
        "message": commit.description,
        "date": moment(commit.created),
        "authors": [{"user": author}],
    }


def moment(when: Any) -> str:
    return str(when.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3]) + "Z"
