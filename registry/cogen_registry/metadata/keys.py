"""Private keys of a registry: the service's own in one folder, the operator's in another that is taken offline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from securesystemslib.signer import CryptoSigner

from cogen.errors import CogenError
from cogen.trust.keys import new_key
from cogen.trust.metadata.keys import file_signer
from cogen_registry.errors import Refused

#: Roles that the service signs, each with a key of its own.
ONLINE = ("timestamp", "snapshot", "bins")
#: The environment variable with the passphrase of the operator's keys.
PASSWORD = "COGEN_REGISTRY_KEY_PASSWORD"


@dataclass(frozen=True)
class Online:
    """The service's keys."""

    timestamp: CryptoSigner
    snapshot: CryptoSigner
    bins: CryptoSigner


def load_online(folder: Path) -> Online:
    """:raises Refused: 409, one of them is missing or can't be used."""
    try:
        return Online(*(file_signer(folder / f"{role}.pem") for role in ONLINE))
    except CogenError as error:
        raise Refused(
            409,
            f"the service's keys cannot be used: {error.message}",
            hint="the setting `keys` names their folder; lost ones: `cogen-registry rotate-online --keys OFFLINE`",
        ) from error


def make_online(folder: Path) -> Online:
    """:raises Refused: 409, there are some already."""
    for role in ONLINE:
        _make(folder / f"{role}.pem", None)
    return load_online(folder)


def make_offline(folder: Path, count: int, password: str | None) -> list[CryptoSigner]:
    """``root-1.pem`` and so on.

    :raises Refused: 409, there are some already.
    """
    paths = [folder / f"root-{number}.pem" for number in range(1, count + 1)]
    for path in paths:
        _make(path, password)
    return [file_signer(path, password) for path in paths]


def load_offline(places: list[Path], password: str | None) -> list[CryptoSigner]:
    """All keys in these folders, or files.

    :raises Refused: 400, there are none, or one can't be opened.
    """
    files = [file for place in places for file in (sorted(place.glob("*.pem")) if place.is_dir() else [place])]
    if not files:
        raise Refused(400, f"there is no key in {', '.join(map(str, places))}", hint="name the folder of *.pem files")
    try:
        return [file_signer(file, password) for file in files]
    except CogenError as error:
        lost = "cannot be read" in error.message
        hint = "name the folder that was taken offline" if lost else f"give the passphrase as {PASSWORD}"
        raise Refused(400, error.message, hint=hint) from error


def _make(path: Path, password: str | None) -> None:
    try:
        new_key(path, password)
    except CogenError as error:
        raise Refused(409, error.message, hint="it may be needed: move it away, or name another folder") from error
