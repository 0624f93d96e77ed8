"""Blobs in an S3-compatible store: ``s3://bucket/prefix`` holds ``prefix/ab/abcdef…``; bytes are staged on a disk.

Endpoint and credentials come from the environment (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, …), as boto3 reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cogen_registry.blobs.leases import Leases, LocalLeases
from cogen_registry.blobs.staging import StagedFile
from cogen_registry.blobs.store import BLOCK
from cogen_registry.errors import Refused, not_found

_NAME = re.compile(r"[0-9a-f]{64}")
#: Larger blobs are sent in parts of this size: 10,000 of them may be, so 625 GB are the most.
PART = 64 << 20


class S3Store:
    """See :class:`~cogen_registry.blobs.store.BlobStore`.

    :param url: ``s3://bucket`` or ``s3://bucket/prefix``.
    :param staging: A local folder that has room for what is being uploaded.
    :raises Refused: 400, there is no such bucket, or it can't be reached.
    """

    def __init__(self, url: str, staging: Path, leases: Leases | None = None) -> None:
        try:
            import boto3
            from boto3.s3.transfer import TransferConfig
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise Refused(400, "an S3 store needs boto3", hint="pip install 'cogen-core[s3]'") from None
        parts = urlsplit(url)
        if parts.scheme != "s3" or not parts.netloc or parts.query or parts.fragment:
            raise Refused(400, f"{url} is not the URL of an object store", hint="s3://bucket/prefix")
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/") + "/" if parts.path.strip("/") else ""
        # Checksums beyond what the protocol demands are unknown to several stores that are not Amazon's.
        self.client = boto3.client(
            "s3",
            config=Config(
                request_checksum_calculation="when_required",
                response_checksum_validation="when_required",
                retries={"mode": "standard", "max_attempts": 4},
                max_pool_connections=64,
            ),
        )
        self.transfer = TransferConfig(multipart_threshold=PART, multipart_chunksize=PART, max_concurrency=4)
        self.errors = ClientError
        self.staging, self.leases = staging, leases or LocalLeases()
        staging.mkdir(parents=True, exist_ok=True)
        try:
            self.client.head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as error:
            raise Refused(
                400,
                f"the bucket {self.bucket} can't be used: {' '.join(str(error).split())}",
                hint="check AWS_ENDPOINT_URL and the credentials",
            ) from error

    def key(self, sha256: str) -> str:
        if not _NAME.fullmatch(sha256):
            raise not_found("such blob", "`cogen-registry check` lists what is missing")
        return f"{self.prefix}{sha256[:2]}/{sha256}"

    def stage(self) -> StagedObject:
        return StagedObject(self)

    def size(self, sha256: str) -> int | None:
        key = self.key(sha256)
        try:
            return int(self.client.head_object(Bucket=self.bucket, Key=key)["ContentLength"])
        except self.errors as error:
            if _absent(error):
                return None
            raise

    def read(self, sha256: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        asked: dict[str, Any] = {"Bucket": self.bucket, "Key": self.key(sha256)}
        if stop is not None and stop <= start:
            return iter(())  # a range of HTTP can't be empty
        if start or stop is not None:
            asked["Range"] = f"bytes={start}-{'' if stop is None else stop - 1}"
        try:
            body = self.client.get_object(**asked)["Body"]
        except self.errors as error:
            if _absent(error):
                raise not_found("such blob", "`cogen-registry check` lists what is missing") from None
            if error.response["Error"]["Code"] == "InvalidRange":
                return iter(())
            raise
        return _blocks(body)

    def delete(self, sha256: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=self.key(sha256))

    def release(self, sha256: str) -> None:
        self.leases.release(sha256)

    def discard(self, sha256: str, needed: Callable[[], bool]) -> bool:
        return self.leases.delete_unless(sha256, needed, lambda: self.delete(sha256))

    def names(self) -> Iterator[str]:
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix)
        for page in pages:
            for item in page.get("Contents", ()):
                name = item["Key"].rpartition("/")[2]
                if _NAME.fullmatch(name) and item["Key"] == self.key(name):
                    yield name

    def recover(self) -> None:
        """Local leftovers."""
        for file in self.staging.iterdir():
            file.unlink()

    def tidy(self) -> None:
        """The parts of uploads that nobody completes any more: they cost room that no list shows."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=self.bucket, Prefix=self.prefix)
        for page in pages:
            for upload in page.get("Uploads", ()):
                self.leases.delete_unless(upload["Key"].rpartition("/")[2], lambda: False, partial(self._abort, upload))

    def _abort(self, upload: Any) -> None:
        try:
            self.client.abort_multipart_upload(Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except self.errors as error:
            if error.response["Error"]["Code"] != "NoSuchUpload":  # it was completed since it was listed
                raise


class StagedObject(StagedFile):
    """A local file that becomes an object; S3 shows an object only once it is whole."""

    def __init__(self, store: S3Store) -> None:
        super().__init__(store.staging)
        self._store = store

    def keep(self) -> str:
        assert self._file is not None
        name = self.sha256
        self._file.flush()
        self._store.leases.hold(name)
        try:
            if self._store.size(name) != self.size:
                self._store.client.upload_file(
                    str(self._path), self._store.bucket, self._store.key(name), Config=self._store.transfer
                )
        except BaseException:
            self._store.leases.release(name)
            raise
        self._close()
        return name


def _absent(error: Any) -> bool:
    return error.response["Error"]["Code"] in ("404", "NoSuchKey", "NotFound")


def _blocks(body: Any) -> Iterator[bytes]:
    try:
        yield from body.iter_chunks(BLOCK)
    finally:
        body.close()
