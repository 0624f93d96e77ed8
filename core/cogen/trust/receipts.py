"""What was verified when a plugin was installed: one JSON file for each, inside of the environment that it was put in.

``cogen verify`` compares with it, a composite's lock takes publisher and key from it, and the weights that it names are
fetched from its registry. It carries statement, signature and public key, so that all can be checked again offline.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cogen.trust.errors import TrustError
from cogen.trust.files import write_private


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ReceivedWeights(_Record):
    """Weights that the plugin pins. ``files``: path → hex SHA-256, where they were fetched and checked.

    ``signed``: the folder carries the publisher's own signature, too.
    """

    expert: str
    source: str
    revision: str | None
    file_digest: str
    files: dict[str, str] = Field(default_factory=dict)
    signed: bool = False

    @property
    def repository(self) -> str | None:
        """``namespace/name`` of an hf:// source."""
        if not self.source.startswith("hf://"):
            return None
        return "/".join(self.source.removeprefix("hf://").partition("@")[0].split("/")[:2])


class Receipt(_Record):
    """See the module. ``publisher`` is the registry's name of the team; ``key`` is ``None`` for what is not signed.

    ``files``: those that the wheel installs, relative to site-packages → hex SHA-256. ``root``: the fingerprint of the
    registry's first root of signed metadata, ``None`` for one that signs nothing.
    """

    version_: Literal[1] = Field(1, alias="schema")
    project: str
    version: str
    filename: str
    sha256: str
    size: int
    registry: str
    root: str | None = None
    publisher: str
    key: str | None = None
    public_key: str | None = None
    statement: dict[str, Any] | None = None
    bundle: dict[str, Any] | None = None
    experts: list[str]
    weights: list[ReceivedWeights] = Field(default_factory=list)
    files: dict[str, str]
    installed: str
    installer: str
    #: Could Python run anything of it? ``None``: from before this was looked at.
    code: bool | None = None
    #: What it may require beside cogen-core; what came with it, as ``name==version sha256:…``.
    allow: list[str] = Field(default_factory=list)
    beside: list[str] = Field(default_factory=list)


def folder() -> Path:
    """Where receipts of this environment lie."""
    return Path(sys.prefix) / "share" / "cogen" / "receipts"


def receipts() -> list[Receipt]:
    """All of this environment, sorted by project.

    :raises TrustError: one of them can't be read.
    """
    try:
        found = sorted(path for path in folder().iterdir() if path.suffix == ".json")
    except OSError:
        return []
    return [_read(path) for path in found]


def receipt_of(project: str) -> Receipt | None:
    """The receipt of a distribution, by any spelling of its name.

    :raises TrustError: it can't be read.
    """
    path = receipt_path(project)
    return _read(path) if path.exists() else None


def keep(receipt: Receipt) -> Path:
    """Write it, whole or not at all."""
    path = receipt_path(receipt.project)
    write_private(path, receipt.model_dump_json(by_alias=True, indent=2) + "\n", mode=0o644)
    return path


def forget(project: str) -> bool:
    """Remove it; was there one?"""
    path = receipt_path(project)
    found = path.exists()
    path.unlink(missing_ok=True)
    return found


def receipt_path(project: str) -> Path:
    """Where the receipt of a distribution lies, by any spelling of its name."""
    from packaging.utils import canonicalize_name

    return folder() / f"{canonicalize_name(project)}.json"


def _read(path: Path) -> Receipt:
    try:
        return Receipt.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise TrustError(
            f"the receipt {path} cannot be read", hint=f"`cogen add {path.stem}` verifies and writes it again"
        ) from error
