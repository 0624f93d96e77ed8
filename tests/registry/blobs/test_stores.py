"""What every blob store promises, on a disk and in an S3-compatible server."""

from __future__ import annotations

import gc
import hashlib
import os
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from cogen_registry.blobs.disk import DiskStore
from cogen_registry.blobs.leases import GRACE, LocalLeases
from cogen_registry.blobs.store import BLOCK, BlobStore
from cogen_registry.errors import Refused

DATA = bytes(range(256)) * 9000  # 2.3 MB: several blocks


@pytest.fixture(scope="session")
def s3() -> Iterator[str]:
    """The URL of moto's server, which speaks S3 over HTTP."""
    pytest.importorskip("moto.server")
    pytest.importorskip("boto3")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A fresh bucket, and an environment that leads to it."""
    import boto3

    for name, value in (
        ("AWS_ENDPOINT_URL", s3),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
        ("AWS_DEFAULT_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    name = "b" + hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:20]
    client = boto3.client("s3")
    client.create_bucket(Bucket=name)
    client.close()
    return name


@pytest.fixture(params=["disk", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[BlobStore]:
    if request.param == "disk":
        yield DiskStore(tmp_path / "blobs")
        return
    from cogen_registry.blobs.s3 import S3Store

    opened = S3Store(f"s3://{request.getfixturevalue('bucket')}/some/prefix", tmp_path / "staged")
    yield opened
    opened.client.close()


def keep(store: BlobStore, data: bytes) -> str:
    with store.stage() as staged:
        for at in range(0, len(data), 1_000_000):
            staged.write(data[at : at + 1_000_000])
        return staged.keep()


def whole(store: BlobStore, name: str, *span: int) -> bytes:
    return b"".join(store.read(name, *span))


def test_bytes_come_back_under_their_hash(store: BlobStore) -> None:
    for data in (DATA, b"", b"x"):
        name = keep(store, data)
        assert name == hashlib.sha256(data).hexdigest()
        assert store.size(name) == len(data)
        assert whole(store, name) == data
    assert len(list(store.names())) == 3
    assert all(len(block) <= BLOCK for block in store.read(hashlib.sha256(DATA).hexdigest()))


@pytest.mark.parametrize(
    "span", [(0, 1), (5, 5), (1_500_000,), (0, 1 << 20), (1_048_575, 1_048_577), (9, 1 << 40), (1 << 40,)]
)
def test_a_part_of_them(store: BlobStore, span: tuple[int, ...]) -> None:
    assert whole(store, keep(store, DATA), *span) == DATA[span[0] : span[1] if len(span) > 1 else None]


def test_the_same_bytes_again_are_one_blob(store: BlobStore) -> None:
    assert keep(store, DATA) == keep(store, DATA)
    assert list(store.names()) == [hashlib.sha256(DATA).hexdigest()]


def test_what_is_not_kept_is_gone(store: BlobStore) -> None:
    with store.stage() as staged:
        staged.write(DATA)
        assert b"".join(staged.read()) == DATA
        path = Path(staged.path())
        assert path.read_bytes() == DATA
        assert (staged.size, staged.sha256) == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert not path.exists()

    def fail() -> None:
        with store.stage() as staged:
            staged.write(DATA)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert list(store.names()) == []


def test_a_crash_leaves_nothing_that_recovery_does_not_remove(store: BlobStore) -> None:
    name = keep(store, DATA)
    staged = store.stage()
    staged.write(DATA[:100])
    path = Path(staged.path())
    store.recover()
    assert not path.exists()
    assert list(store.names()) == [name]
    staged.__exit__()
    assert whole(store, keep(store, b"after")) == b"after"


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "ab", "A" * 64, "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n"]
)
def test_names_that_are_no_digests(store: BlobStore, name: str) -> None:
    for call in (store.size, store.read, store.delete):
        with pytest.raises(Refused) as refused:
            call(name)
        assert refused.value.status == 404


def test_what_is_not_there(store: BlobStore) -> None:
    assert store.size("0" * 64) is None
    store.delete("0" * 64)
    with pytest.raises(Refused, match="no such blob") as refused:
        store.read("0" * 64)  # at once, not with the first block
    assert refused.value.status == 404


def test_deleted(store: BlobStore) -> None:
    name = keep(store, DATA)
    store.delete(name)
    assert store.size(name) is None
    assert list(store.names()) == []


def test_a_blob_is_not_discarded_while_somebody_needs_it(store: BlobStore) -> None:
    name = keep(store, DATA)
    assert not store.discard(name, lambda: False)  # who kept it has not said yet whether a row names it
    store.release(name)
    assert not store.discard(name, lambda: True)
    assert whole(store, name) == DATA
    assert store.discard(name, lambda: False)
    assert store.size(name) is None


def test_what_could_not_be_kept_is_held_by_nobody(store: BlobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, a store that is away: the next clean-up may have what came of it."""

    def fail(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with store.stage() as staged, monkeypatch.context() as patch:
        staged.write(DATA)
        if isinstance(store, DiskStore):
            patch.setattr(Path, "replace", fail)
        else:
            patch.setattr(store.client, "upload_file", fail)  # type: ignore[attr-defined]
        with pytest.raises(OSError, match="No space"):
            staged.keep()
    assert store.discard(hashlib.sha256(DATA).hexdigest(), lambda: False)


def test_two_who_keep_the_same_bytes_hold_them_each() -> None:
    moment = [0.0]
    leases, deleted = LocalLeases(lambda: moment[0]), []

    def discard() -> bool:
        return leases.delete_unless("a", lambda: False, lambda: deleted.append("a"))

    leases.hold("a")
    leases.hold("a")
    leases.release("a")
    assert not discard()
    moment[0] = GRACE + 1  # the other one never says that it is done
    assert discard()
    leases.release("a")
    leases.hold("b")
    moment[0] *= 3
    leases.hold("c")
    assert list(leases._until) == ["c"]
    assert deleted == ["a"]


def test_a_disk_has_each_blob_as_a_file_of_its_name(tmp_path: Path) -> None:
    store = DiskStore(tmp_path)
    name = keep(store, DATA)
    files = [file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*") if file.is_file()]
    assert files == [f"{name[:2]}/{name}"]
    (tmp_path / name[:2] / "notes.txt").touch()
    assert list(store.names()) == [name]


@pytest.mark.parametrize("begun", [False, True])
def test_a_reader_who_goes_away_leaves_no_file_open(tmp_path: Path, begun: bool) -> None:
    """A client that hangs up before the first block. An open file would be a ResourceWarning, which is an error."""
    store = DiskStore(tmp_path)
    name = keep(store, DATA)
    blocks = store.read(name)
    if begun:
        next(blocks)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        del blocks
        gc.collect()
    assert [str(one.message) for one in caught] == []


def test_a_file_that_is_being_read_outlives_its_blob(tmp_path: Path) -> None:
    """A clean-up never cuts off a download."""
    store = DiskStore(tmp_path)
    name = keep(store, DATA)
    blocks = store.read(name)
    first = next(blocks)
    store.delete(name)
    assert first + b"".join(blocks) == DATA


class TestS3:
    def test_large_blobs_go_in_parts(self, bucket: str, tmp_path: Path) -> None:
        from boto3.s3.transfer import TransferConfig

        from cogen_registry.blobs.s3 import S3Store

        store = S3Store(f"s3://{bucket}", tmp_path)
        store.transfer = TransferConfig(multipart_threshold=5 << 20, multipart_chunksize=5 << 20, max_concurrency=2)
        data = os.urandom(1 << 20) * 12
        name = keep(store, data)
        assert store.client.head_object(Bucket=bucket, Key=f"{name[:2]}/{name}")["ETag"].strip('"').endswith("-3")
        assert whole(store, name) == data
        assert whole(store, name, (5 << 20) - 3, (5 << 20) + 3) == data[(5 << 20) - 3 : (5 << 20) + 3]
        store.client.close()

    def test_recovery_aborts_uploads_that_were_cut(self, bucket: str, tmp_path: Path) -> None:
        from cogen_registry.blobs.s3 import S3Store

        store = S3Store(f"s3://{bucket}/mine", tmp_path)
        for key in ("mine/ab/abc", "mine/cd/cde", "other/ab/abc"):
            upload = store.client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            store.client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=b"x" * 100)
        (tmp_path / "leftover").touch()
        store.leases.hold("cde")
        store.recover()
        store.tidy()
        left = store.client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
        assert [one["Key"] for one in left] == ["mine/cd/cde", "other/ab/abc"]  # one is under way, one is another's
        assert list(tmp_path.iterdir()) == []
        store.client.close()

    def test_what_else_lies_in_the_bucket_is_left_alone(self, bucket: str, tmp_path: Path) -> None:
        from cogen_registry.blobs.s3 import S3Store

        mine, other = (S3Store(f"s3://{bucket}/{prefix}", tmp_path / prefix) for prefix in ("mine", "mine-too"))
        mine.client.put_object(Bucket=bucket, Key="mine/readme.txt", Body=b"x")
        name = keep(other, DATA)
        assert list(mine.names()) == []
        assert list(other.names()) == [name]
        mine.client.close()
        other.client.close()

    @pytest.mark.parametrize(
        ("url", "words"),
        [
            ("s3://nobody-made-this", "can't be used"),
            ("http://bucket", "is not the URL of an object store"),
            ("s3://", "is not the URL of an object store"),
        ],
    )
    def test_a_place_that_is_none(self, bucket: str, tmp_path: Path, url: str, words: str) -> None:
        from cogen_registry.blobs.s3 import S3Store

        with pytest.raises(Refused, match=words) as refused:
            S3Store(url, tmp_path)
        assert refused.value.hint
        assert "\n" not in refused.value.message

    def test_a_registry_over_it(self, bucket: str, tmp_path: Path) -> None:
        """Files of weights are checked without being fetched whole, and ranges come from the store."""
        from support.hub import lfs, running, tensors

        with running(tmp_path / "root", blobs=f"s3://{bucket}/registry") as registry:
            hub, data = registry.hub(), tensors(1, 500, 100)
            repo = hub.create("model")
            hub.upload(repo, data)
            hub.committed(repo, lfs("model.safetensors", data))
            assert hub.fetch(repo, "model.safetensors").content == data
            assert hub.fetch(repo, "model.safetensors", Range="bytes=100-199").content == data[100:200]
            bad = data[:-1]
            hub.upload(repo, bad)
            answer = hub.commit(repo, lfs("bad.safetensors", bad))
            assert (answer.status_code, "not a valid safetensors" in answer.text) == (400, True)
            assert list(registry.service.blobs.names()) == [hashlib.sha256(data).hexdigest()]
            assert not list((tmp_path / "root" / "checked").iterdir())
            assert not list((tmp_path / "root" / "staged").iterdir())
            registry.service.blobs.client.close()  # type: ignore[attr-defined]
