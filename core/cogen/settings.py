"""What the environment asks for: every ``COGEN_…`` variable of the host, in one place.

They are read when they are needed and never kept, so a program (or a test) may change its environment. Those of the
registry's service are in ``cogen_registry.settings``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from cogen.errors import UsageError


@dataclass(frozen=True)
class EnvironmentSettings:
    """One reading of the environment; what is not set, or empty, is ``None`` unless the field says otherwise."""

    #: ``COGEN_CACHE``: folder of everything that can be fetched or computed again.
    cache: Path | None
    #: ``COGEN_CONFIG``: folder of the user's settings, keys and receipts.
    config: Path | None
    #: ``COGEN_DEVICE``: where models run, as ``--device`` names it.
    device: str | None
    #: ``COGEN_PLUGINS``: use only these distributions or experts; empty: none at all.
    plugins: tuple[str, ...] | None
    #: ``COGEN_BLOCK``: use all but these.
    block: tuple[str, ...] | None
    #: ``COGEN_PREFER``: ``id=distribution`` items, which distribution provides an expert that two offer.
    prefer: tuple[str, ...]
    #: ``COGEN_STRICT=1``: a plugin that cannot be used is an error.
    strict: bool
    #: ``COGEN_LAUNCH``: command that starts training processes; empty: train in this process.
    launch: str
    #: ``COGEN_LLAMA_CPP``: folder of llama.cpp, for its converter and its programs.
    llama_cpp: Path | None
    #: ``COGEN_REGISTRY``: URL of the registry, in the place of the one that was logged in at.
    registry: str | None
    #: ``COGEN_TOKEN``: token for the registry.
    token: str | None
    #: ``COGEN_INDEX``: file or URL of a static index to search.
    index: str | None
    #: ``COGEN_KEY_PASSWORD``: passphrase of the private key.
    key_password: str | None
    #: ``COGEN_SIGSTORE``: trust configuration of a private Sigstore instance.
    sigstore: Path | None


def settings() -> EnvironmentSettings:
    """Read the environment now."""
    return EnvironmentSettings(
        cache=_path("COGEN_CACHE"),
        config=_path("COGEN_CONFIG"),
        device=_text("COGEN_DEVICE"),
        plugins=_names("COGEN_PLUGINS"),
        block=_names("COGEN_BLOCK"),
        prefer=_names("COGEN_PREFER") or (),
        strict=os.environ.get("COGEN_STRICT") == "1",
        launch=os.environ.get("COGEN_LAUNCH", "").strip(),
        llama_cpp=_path("COGEN_LLAMA_CPP"),
        registry=_text("COGEN_REGISTRY"),
        token=_text("COGEN_TOKEN"),
        index=_text("COGEN_INDEX"),
        key_password=_text("COGEN_KEY_PASSWORD"),
        sigstore=_path("COGEN_SIGSTORE"),
    )


def _text(name: str) -> str | None:
    return os.environ.get(name) or None


def _path(name: str) -> Path | None:
    value = _text(name)
    try:
        return Path(value).expanduser() if value else None
    except RuntimeError:  # pathlib's, for a user that is not known
        raise UsageError(f"{name}={value}: there is no such user", hint="write the whole path") from None


def _names(name: str) -> tuple[str, ...] | None:
    """The items between commas; ``None`` where the variable is not set at all."""
    value = os.environ.get(name)
    return None if value is None else tuple(item.strip() for item in value.split(",") if item.strip())
