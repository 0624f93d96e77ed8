"""The writing half of Xet, with xorbs and shards that no client makes: files that come of it are what they say."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from hypothesis import given, settings
from hypothesis import strategies as st
from support import xet
from support.hub import Hub, Registry, lfs, sha256, tensors

from cogen_registry.blobs.disk import DiskStore
from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.errors import Refused
from cogen_registry.weights.xet_format import chunk_table, files_of, hexed, unpacked
from cogen_registry.weights.xet_store import PLACE, XorbStore

X, Y, Z = ("a" * 63 + "1", "b" * 63 + "2", "0123456789abcdef" * 4)


class Uploader:
    """Speaks Xet with a token for one repository."""

    def __init__(self, hub: Hub, repo: str) -> None:
        self.hub, self.repo = hub, repo
        output = hub.send("GET", f"/api/models/{repo}/xet-write-token/main").json()
        self.url, self.headers = output["casUrl"], {"Authorization": f"Bearer {output['accessToken']}"}

    def post(self, path: str, data: Any) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.post(f"{self.url}/v1/{path}", data=data, headers=self.headers, timeout=30)

    def xorb(self, name: str, *chunks: bytes) -> requests.Response:
        return self.post(f"xorbs/default/{name}", b"".join(chunks))

    def shard(self, *files: bytes) -> requests.Response:
        return self.post("shards", xet.shard(*files))


@pytest.fixture
def uploader(registry: Registry, request: pytest.FixtureRequest) -> Iterator[Uploader]:
    """Each test has a publisher of its own, whose xorbs are gone after it."""
    publisher = f"xet-{abs(hash(request.node.name)) % 10**8}"
    hub = registry.hub(publisher)
    found = Uploader(hub, hub.create("model"))
    yield found
    for xorb in (registry.root / "xet").glob("*/xorbs/*"):
        xorb.unlink()


def refused(answer: requests.Response, status: int, words: str) -> None:
    assert answer.status_code == status, answer.text
    assert words in answer.json()["error"]


class TestFormat:
    @given(st.binary(min_size=1, max_size=300), st.sampled_from([0, 1, 2]))
    @settings(max_examples=200, deadline=None)
    def test_a_chunk_comes_back_whatever_packed_it(self, data: bytes, scheme: int) -> None:
        """The specification: "If the total number of bytes in the chunk is not a multiple of 4, append the remaining
        bytes following the pattern (1 byte to each group)"."""
        packed = xet.chunk(data, scheme)[8:]
        assert unpacked(packed, scheme, len(data)) == data

    def test_bytes_are_grouped_by_their_place_in_four(self) -> None:
        assert xet.chunk(b"A1B1C1D1E", 0)[8:] == b"A1B1C1D1E"
        import lz4.frame

        assert unpacked(lz4.frame.compress(b"AEI" + b"BF" + b"CG" + b"DH"), 2, 9) == b"ABCDEFGHI"

    def test_a_hash_is_four_numbers(self) -> None:
        """Each part of eight bytes is read from its end."""
        assert hexed(bytes(range(32))) == "07060504030201000f0e0d0c0b0a090817161514131211101f1e1d1c1b1a1918"

    @pytest.mark.parametrize("scheme", [1, 2])
    @pytest.mark.parametrize("claimed", [1, 100, 1 << 20])
    def test_a_bomb_is_not_unpacked(self, scheme: int, claimed: int) -> None:
        bomb = xet.chunk(bytes(12 << 20), scheme)[8:]
        assert len(bomb) < 60_000
        with pytest.raises(Refused, match="unpacks to another size"):
            unpacked(bomb, scheme, claimed)

    @pytest.mark.parametrize("scheme", [0, 1, 2])
    def test_a_chunk_that_is_none(self, scheme: int) -> None:
        for data in (b"", b"garbage", xet.chunk(b"abcd" * 50, 1)[8:-5]):
            with pytest.raises(Refused, match="unpacks to another size"):
                unpacked(data, scheme, 200)

    @given(st.binary(max_size=400))
    @settings(max_examples=300, deadline=None)
    def test_any_bytes_as_a_shard(self, data: bytes) -> None:
        for shard in (data, xet.shard(data), xet.shard(xet.file("0" * 64, [(X, 0, 1, 5)]))[: len(data)]):
            with contextlib.suppress(Refused):
                assert all(len(one.sha256) == 64 and one.size >= 0 for one in files_of(shard))

    def test_the_footer_of_a_xorb_is_no_chunk(self, tmp_path: Path) -> None:
        path = tmp_path / "xorb"
        path.write_bytes(xet.chunk(b"abc") + xet.chunk(b"defgh", 1) + b"XETBLOB" + bytes(200))
        with path.open("rb") as file:
            assert chunk_table(file)["size"].tolist() == [3, 5]


class TestXorbs:
    def test_is_taken_once(self, uploader: Uploader) -> None:
        assert uploader.xorb(X, xet.chunk(b"abc")).json() == {"was_inserted": True}
        assert uploader.xorb(X, xet.chunk(b"abc")).json() == {"was_inserted": False}

    @pytest.mark.parametrize(
        ("body", "words"),
        [
            (b"", "empty"),
            (b"XETBLOB", "empty"),
            (b"\0", "cut off"),
            (xet.chunk(b"abc")[:-1], "cut off"),
            (xet.chunk(b"abc") + b"\0\1", "cut off"),
            (xet.header(0xFFFFFF, 0, 5) + b"abc", "cut off"),
            (xet.header(3, 7, 3) + b"abc", "unknown kind"),
            (b"\5" + xet.chunk(b"abc")[1:], "unknown kind"),
            (xet.header(3, 1, 0xFFFFFF) + b"abc", "more than the limit"),
            (xet.header(3, 1, 0) + b"abc", "more than the limit"),
            ((xet.header(1, 1, 1 << 20) + b"a") * 70, "more than the limit"),
            ((xet.header(1, 0, 1) + b"a") * 17_000, "more than the limit"),
        ],
    )
    def test_that_no_client_makes(self, registry: Registry, uploader: Uploader, body: bytes, words: str) -> None:
        with registry.unchanged():
            refused(uploader.xorb(X, body), 400, words)

    def test_larger_than_any(self, registry: Registry, uploader: Uploader) -> None:
        def forever() -> Iterator[bytes]:
            while True:
                yield bytes(1 << 20)

        # The answer may come while it is still sending.
        with registry.unchanged(), contextlib.suppress(requests.ConnectionError):
            refused(uploader.post(f"xorbs/default/{X}", forever()), 400, "has more than")

    @pytest.mark.parametrize("name", ["..%2F..%2Fx", "A" * 64, "0" * 63, "x"])
    def test_names_that_are_none(self, registry: Registry, uploader: Uploader, name: str) -> None:
        with registry.unchanged():
            assert uploader.xorb(name, xet.chunk(b"abc")).status_code in (400, 404)

    def test_more_than_a_publisher_may_store(self, registry: Registry, uploader: Uploader) -> None:
        registry.limit(uploader.hub.publisher, publisher=10_000)
        assert uploader.xorb(X, xet.chunk(bytes(6_000))).status_code == 200
        with registry.unchanged():
            refused(uploader.xorb(Y, xet.chunk(bytes(6_000))), 413, "beyond the limit of 10,000")
            # a few bytes that stand for many
            refused(uploader.shard(xet.file(bytes(12_000), [(X, 0, 1, 6_000)] * 2)), 413, "beyond the limit of 10,000")
        registry.limit(uploader.hub.publisher, weight=5_000)
        with registry.unchanged():
            refused(uploader.shard(xet.file(bytes(6_000), [(X, 0, 1, 6_000)])), 413, "larger than 5,000")


class TestShards:
    def test_files_are_made_of_chunks_in_any_order(self, registry: Registry, uploader: Uploader) -> None:
        """Chunks of both xorbs, some twice, some never; a second shard uses what the first left."""
        parts = [os.urandom(1000 + number) for number in range(6)]
        uploader.xorb(X, *(xet.chunk(part, number % 3) for number, part in enumerate(parts[:4])))
        uploader.xorb(Y, *(xet.chunk(part, 2) for part in parts[4:]))
        first = b"".join(parts[number] for number in (1, 2, 4, 0, 1, 2))
        second = tensors(70, 50)
        uploader.xorb(Z, xet.chunk(second))
        terms = [(X, 1, 3, 2003), (Y, 0, 1, 1004), (X, 0, 3, 3003)]
        answer = uploader.shard(xet.file(first, terms), xet.file(second, [(Z, 0, 1, len(second))], verified=False))
        assert answer.json() == {"result": 1}
        left = sorted(path.name for path in (registry.root / "xet").glob("*/xorbs/*"))
        assert left == sorted([X, Y])  # not all of their chunks are elsewhere yet
        third = parts[3] + parts[5] + parts[0]
        assert uploader.shard(xet.file(third, [(X, 3, 4, 1003), (Y, 1, 2, 1005), (X, 0, 1, 1000)])).status_code == 200
        assert not list((registry.root / "xet").glob("*/xorbs/*"))
        fourth = b"".join(parts)  # every chunk from the blobs above
        assert uploader.shard(xet.file(fourth, [(X, 0, 4, 4006), (Y, 0, 2, 2009)])).status_code == 200
        for data in (first, second, third, fourth):
            assert b"".join(registry.service.blobs.read(sha256(data))) == data
        uploader.hub.committed(uploader.repo, lfs("model.safetensors", second))
        assert uploader.hub.fetch(uploader.repo, "model.safetensors").content == second

    @pytest.mark.parametrize(
        ("terms", "words"),
        [
            ([(X, 0, 1, 1000)], "don't make the file"),
            ([(X, 0, 2, 2001), (X, 0, 1, 1000)], "don't make the file"),
            ([(X, 0, 2, 2000)], "another size"),
            ([(X, 0, 2, 2002)], "another size"),
            ([(X, 0, 3, 2001)], "names chunks that were not uploaded"),
            ([(X, 2, 2, 0)], "names chunks that were not uploaded"),
            ([(X, 1, 0, 1000)], "names chunks that were not uploaded"),
            ([(X, 0, 0xFFFFFFFF, 2001)], "names chunks that were not uploaded"),
            ([(Y, 0, 2, 2001)], "no longer here"),
            ([], "don't make the file"),
        ],
    )
    def test_terms_that_lie(self, registry: Registry, uploader: Uploader, terms: list[Any], words: str) -> None:
        data = os.urandom(2001)
        uploader.xorb(X, xet.chunk(data[:1000]), xet.chunk(data[1000:], 1))
        with registry.unchanged():
            good = xet.file(data[:1000], [(X, 0, 1, 1000)])
            refused(uploader.shard(good, xet.file(data, terms)), 400, words)

    def test_a_bomb(self, registry: Registry, uploader: Uploader) -> None:
        bomb = xet.chunk(bytes(12 << 20), 1, size=1000)
        assert uploader.xorb(X, bomb).status_code == 200
        with registry.unchanged():
            refused(uploader.shard(xet.file(bytes(1000), [(X, 0, 1, 1000)])), 400, "unpacks to another size")

    def test_cut_off(self, registry: Registry, uploader: Uploader) -> None:
        data = os.urandom(500)
        uploader.xorb(X, xet.chunk(data))
        shard = xet.shard(xet.file(data, [(X, 0, 1, 500)]))
        with registry.unchanged():
            for length in (0, 10, 47, 48, 90, 96, 150, 200, len(shard) - 96):
                refused(uploader.post("shards", shard[:length]), 400, "shard")
            refused(uploader.post("shards", b"x" + shard[1:]), 400, "not a shard")
            refused(uploader.shard(xet.file(data, [(X, 0, 1, 500)], sha256=False)), 400, "no sha256")

    def test_the_xorb_of_somebody_else(self, registry: Registry, uploader: Uploader) -> None:
        data = os.urandom(500)
        uploader.xorb(X, xet.chunk(data))
        assert uploader.shard(xet.file(data, [(X, 0, 1, 500)])).status_code == 200
        hub = registry.hub("xet-thief")
        thief = Uploader(hub, hub.create(f"model-{time.time_ns()}"))
        with registry.unchanged():
            refused(thief.shard(xet.file(data, [(X, 0, 1, 500)])), 400, "no longer here")
            refused(hub.commit(thief.repo, lfs("a.safetensors", data)), 400, "were not uploaded")

    def test_a_pickle(self, registry: Registry, uploader: Uploader) -> None:
        import pickle

        data = pickle.dumps({"a": list(range(1000))})
        with registry.unchanged():
            uploader.xorb(X, xet.chunk(data))
            assert uploader.shard(xet.file(data, [(X, 0, 1, len(data))])).status_code == 200
            answer = uploader.hub.commit(uploader.repo, lfs("model.safetensors", data))
            refused(answer, 400, "a pickle in disguise")

    def test_tokens(self, registry: Registry, uploader: Uploader) -> None:
        token = uploader.headers["Authorization"]
        repository, number, expires, signature = token.removeprefix("Bearer ").split(".")
        with registry.unchanged():
            for forged in (
                "",
                "Bearer",
                "Bearer x",
                uploader.hub.headers["Authorization"],
                token + "0",
                token.replace(".", "..", 1),
                f"Bearer {int(repository) + 1}.{number}.{expires}.{signature}",
                f"Bearer {repository}.{int(number) + 1}.{expires}.{signature}",
                f"Bearer {repository}.{number}.{int(expires) + 1}.{signature}",
            ):
                uploader.headers = {"Authorization": forged}
                refused(uploader.xorb(X, xet.chunk(b"abc")), 401, "token of Xet")
                refused(uploader.shard(), 401, "token of Xet")

    def test_two_who_ask_for_the_same_wait_for_one(
        self, registry: Registry, uploader: Uploader, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A client whose patience ended asks again while its files are still being put together."""
        data, started, go = os.urandom(500), threading.Event(), threading.Event()
        calls: list[str] = []
        read = XorbStore.read

        def slow(self: XorbStore, *args: Any) -> Any:
            calls.append(args[2])
            started.set()
            assert go.wait(20)
            return read(self, *args)

        monkeypatch.setattr(XorbStore, "read", slow)
        uploader.xorb(X, xet.chunk(data))
        answers: list[int] = []
        threads = [
            threading.Thread(
                target=lambda: answers.append(uploader.shard(xet.file(data, [(X, 0, 1, 500)])).status_code)
            )
            for _ in range(3)
        ]
        for thread in threads:
            thread.start()
        assert started.wait(20)
        time.sleep(0.2)
        go.set()
        for thread in threads:
            thread.join()
        assert (answers, calls) == ([200] * 3, [X])


class TestStore:
    def test_recovery_removes_what_no_shard_came_for(self, tmp_path: Path) -> None:
        store = XorbStore(tmp_path / "xet")
        store.recover()
        draft = store.draft(7)
        draft.write_bytes(xet.chunk(b"abc"))
        store.admit(7, X, draft)
        store.draft(7).write_bytes(b"half")
        epoch = store.epoch(7)
        known = tmp_path / "xet" / "7" / "known"
        known.mkdir()
        for name, age in ((Y, 5), (Z, 30 * 24 * 3600)):
            (known / name).write_bytes(bytes(PLACE.itemsize))
            os.utime(known / name, (time.time() - age,) * 2)
        (known / f"{Y}.0123").touch()
        (tmp_path / "xet" / "7" / "epoch.0123").touch()
        assert store.has(7, X)
        assert store.staged(7) == 11
        XorbStore(tmp_path / "xet").recover()
        assert not store.has(7, X)
        assert [path.name for path in known.iterdir()] == [Y]
        assert sorted(path.name for path in known.parent.iterdir()) == ["epoch", "known"]
        assert store.epoch(7) == epoch
        assert (tmp_path / "xet").stat().st_mode & 0o077 == 0

    def test_an_upload_that_was_given_up_ends(self, tmp_path: Path) -> None:
        store = XorbStore(tmp_path)
        draft = store.draft(7)
        draft.write_bytes(xet.chunk(b"abc"))
        store.admit(7, X, draft)
        store.sweep(7, 60)
        assert store.has(7, X)
        os.utime(store.xorb(7, X), (time.time() - 61,) * 2)
        store.sweep(7, 60)
        assert not store.has(7, X)

    def test_clients_begin_anew_once_a_blob_is_gone(self, tmp_path: Path) -> None:
        """Another URL: what a client remembers of the old one counts no longer."""
        store, blobs = XorbStore(tmp_path / "xet"), DiskStore(tmp_path / "blobs")
        store.recover()
        with blobs.stage() as staged:
            staged.write(b"abcdef")
            name = staged.keep()
        import numpy as np

        place = np.zeros(1, PLACE)
        place["size"], place["offset"], place["sha256"] = 3, 2, np.void(bytes.fromhex(name))
        store.learn(7, X, place, 5)
        epoch = store.epoch(7)
        assert b"".join(store.read(blobs, 7, X, 0, 1)) == b"cde"
        assert store.epoch(7) == epoch
        blobs.delete(name)
        with pytest.raises(Refused, match="no longer here"):
            list(store.read(blobs, 7, X, 0, 1))
        assert store.epoch(7) != epoch
        assert len(store.known(7, X)) == 0


def test_work_that_ends_before_anybody_waits_for_it(tmp_path: Path) -> None:
    """Once it stopped the whole service: whoever asked held the lock that the end of the work takes."""
    import asyncio
    import threading

    from cogen_registry.weights.xet_jobs import Jobs

    class Quick(Jobs):
        """Its work is over when ``submit`` returns."""

        def __init__(self, sessions: Sessions) -> None:
            super().__init__(sessions)
            submit = self._pool.submit

            def done(*work: Any) -> Any:
                future = submit(*work)
                future.result()
                return future

            self._pool.submit = done  # type: ignore[method-assign,assignment]

    sessions = Sessions(connect(f"sqlite:///{tmp_path / 'registry.sqlite'}"))
    jobs = Quick(sessions)
    thread = threading.Thread(target=lambda: asyncio.run(jobs.run("key", lambda: None)), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    jobs.close()
    sessions.engine.dispose()
