"""SIGKILL while uploads of every kind come in: what was accepted is whole, and everything else is gone without trace.

The process is killed, not the machine: what the system holds in its cache survives here. That every byte is synced
before it is named is in the stores (`blobs/disk.py`) and in SQLite's `synchronous=FULL`.
"""

from __future__ import annotations

import random
import re
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from support import shelf
from support.hub import lfs, sha256
from support.served import Served, started, tokens_of
from support.uploads import Book, Sent, Uploading

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.database.tables import Release
from cogen_registry.service import REFERENCES
from cogen_registry.settings import Settings

PUBLISHERS = ("wheel-a", "wheel-b", "lfs-a", "lfs-b", "xet-a", "xet-b", "small-a")
#: All that a registry at rest consists of beside its database.
_PLACES = re.compile(
    r"blobs/[0-9a-f]{2}/[0-9a-f]{64}|xet/\d+/epoch|xet/\d+/known/[0-9a-f]{64}|url\.key|keys/\w+\.(?:pem|pub)"
    r"|index/state\.json|index/[a-z2-7]{2}\.[0-9a-f]{64}\.json"
)
_LATE = "late/"


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_during_uploads(tmp_path: Path, times: int) -> None:
    root = shelf.fresh_root(tmp_path / "root")
    tokens, moments = tokens_of(root, *PUBLISHERS), random.Random(times)
    books: list[Book] = []
    outcomes: Counter[str] = Counter()
    left: dict[str, int] = {}
    swept: Counter[str] = Counter()
    for seed in range(times + 1):
        with started(root, tokens=tokens) as served:
            swept += Counter(_what(name) for name in left.keys() - served.files().keys())
            if not books:
                for name in PUBLISHERS:
                    served.hub(name).create("model")
            else:
                _check(served, books[-1], outcomes)
                _nothing_else(served, books)
            if len(books) == times:
                for book in books:  # nothing that was whole once was lost by a later kill
                    _check(served, book, Counter())
                assert served.command("check").endswith("all whole\n")
                served.healthy()
                break
            book = Book(seed, pace=moments.choice((0.0, 0.005, 0.02)))
            with Uploading(book, tmp_path, {name: served.hub(name) for name in PUBLISHERS}) as uploading:
                uploading.begun.wait()
                time.sleep(moments.uniform(0.0, 1.2))
                if len(books) == times - 1 and not _answered(books):  # the machine is busy
                    _wait_for_answer(book)
                served.kill()
            assert book.problems == []
            books.append(book)
            left = served.files()
    cut = [note.share for book in books for note in book.sent if not note.answered]
    spread = Counter(f"{min(int(share * 4), 3) / 4:.2f}+" if share < 1 else "all sent" for share in cut)
    sys.stdout.write(
        f"{times} kills: {dict(sorted(outcomes.items()))}; uploads that were cut, by share sent: {dict(spread)}; "
        f"files that the next start removed: {dict(swept)}\n"
    )
    assert swept["staged"]
    assert cut
    assert _answered(books)


def _answered(books: list[Book]) -> bool:
    return any(note.answered for book in books for note in book.sent)


def _wait_for_answer(book: Book) -> None:
    end = time.monotonic() + 60
    while not _answered([book]) and time.monotonic() < end:
        time.sleep(0.01)


def _what(name: str) -> str:
    kinds = {"blobs/.staged/": "staged", "blobs/": "blobs that nothing named", "xet/": "of xet", "scratch/": "unpacked"}
    return next((kind for start, kind in kinds.items() if name.startswith(start)), name)


def _check(served: Served, book: Book, outcomes: Counter[str]) -> None:
    """Every upload of a book is whole, or it was not accepted and is not there."""
    for note in book.sent:
        if note.kind == "xorb":  # parts of an upload: they last as long as the process
            continue
        here = dict(_whole(served, note))
        whole = here == note.files
        assert whole or not here, (note, here)
        assert whole or not note.answered, note
        outcomes[f"{note.kind} {'accepted' if note.answered else 'unanswered'}, {'whole' if whole else 'gone'}"] += 1


def _whole(served: Served, note: Sent) -> Iterator[tuple[str, str]]:
    """The files of an upload that can be downloaded → hex SHA-256 of what comes."""
    if note.kind == "wheel":
        for name, facts in _index(served, note.place).items():
            if name in note.files:
                yield name, sha256(served.get(f"/files/{facts['hashes']['sha256']}/{name}").content)
        return
    hub = served.hub(note.place.partition("/")[0])
    for path, oid in note.files.items():
        answer = hub.fetch(note.place, path)
        if answer.status_code == 404 and note.kind in ("lfs", "xet"):
            (output,) = hub.batch(note.place, (oid, note.size))
            if "actions" in output:  # it has to be sent again: it is not here
                continue
            line = lfs(_LATE + path, b"")  # it came, but its commit did not
            line["value"] |= {"oid": oid, "size": note.size}
            hub.committed(note.place, line)
            answer = hub.fetch(note.place, _LATE + path)
        if answer.status_code == 200:
            yield path, sha256(answer.content)


def _index(served: Served, project: str) -> dict[str, Any]:
    answer = served.get(f"/simple/{project}/", Accept="application/vnd.pypi.simple.v1+json")
    return {one["filename"]: one for one in answer.json()["files"]} if answer.status_code == 200 else {}


def _nothing_else(served: Served, books: list[Book]) -> None:
    """Files, blobs and rows are those of whole uploads, byte for byte: nothing of the others takes room."""
    files = served.files()
    assert [name for name in files if not _PLACES.fullmatch(name)] == []
    on_disk = {name.rpartition("/")[2]: size for name, size in files.items() if name.startswith("blobs/")}
    expected: dict[str, int] = {}
    count = 0
    for project in sorted({note.place for book in books for note in book.sent if note.kind == "wheel"}):
        for facts in _index(served, project).values():
            count += 1
            expected[facts["hashes"]["sha256"]] = facts["size"]
            expected[facts["core-metadata"]["sha256"]] = on_disk.get(facts["core-metadata"]["sha256"], -1)
    for name in PUBLISHERS:
        answer = served.get(f"/api/models/{name}/model/tree/main?recursive=true&limit=1000")
        assert "Link" not in answer.headers
        for item in answer.json():
            if item["type"] == "file":
                path = item["path"].removeprefix(_LATE)
                oids = [
                    note.files[path]
                    for book in books
                    for note in book.sent
                    if note.place == f"{name}/model" and path in note.files
                ]
                expected[oids[0]] = item["size"]
    assert on_disk == expected
    engine = connect(Settings(root=served.root).database_url)
    with Sessions(engine).read() as session:
        named = {one for column in REFERENCES for one in session.scalars(select(column).distinct())}
        assert session.scalar(select(func.count()).select_from(Release)) == count
    engine.dispose()
    assert named == set(expected)
