"""Does the registry still stand by what was installed? By its signed metadata of today, or by what was seen before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING

from packaging.version import Version

from cogen.remote.client import Client, quoted
from cogen.remote.errors import RegistryError
from cogen.trust.errors import TrustError
from cogen.trust.pins import pins_of
from cogen.trust.receipts import Receipt
from cogen.trust.registries import pinned

if TYPE_CHECKING:
    from cogen.sharing.names import Names

Lines = Iterator[tuple[bool, str]]


def by_pins(receipt: Receipt) -> Lines:
    """(is it a problem, one line) of what this user saw before; without any network."""
    pins = pins_of(receipt.root or receipt.registry)
    if receipt.key is None:
        if (pin := pins.projects.get(receipt.project)) is not None and (pin.root or pin.key):
            yield True, "its publisher signs, and this is not signed"
        return
    if (why := pins.revoked.get(receipt.key)) is not None:
        yield True, f"its key {receipt.key} was revoked {why}"
    pin = pins.projects.get(receipt.project)
    if pin is not None:
        keys = json.loads(pin.root)["signed"]["keys"] if pin.root else {}
        if receipt.key != pin.key and receipt.key.removeprefix("sha256:") not in keys:
            yield True, f"the key {receipt.key} is none that you know of {receipt.project}"
        return
    known = pinned(receipt.registry, receipt.publisher)
    if known and receipt.key not in known:
        yield True, f"the key {receipt.key} is none that you know of {receipt.publisher}"
    elif not known:
        yield False, f"this user has not seen a key of {receipt.publisher} before"


def _why_gone(receipt: Receipt, client: Client) -> str:
    """The registry says why it took something down (410, or 451 by law); a mirror just does not have it."""
    try:
        client.get(f"/api/v1/releases/{quoted(receipt.project)}/{quoted(receipt.version)}")
    except RegistryError as error:
        if error.status in (410, 451):
            return error.message
    return f"{receipt.registry} does not have it any more"


def by_metadata(receipt: Receipt, client: Client, names: Names) -> Lines:
    """(is it a problem, one line) of what the registry signed today."""
    if receipt.root is not None and receipt.root != names.identity:
        yield True, f"{client.url} has another root now: {names.identity} where {receipt.root} was pinned"
        return
    listed = next(
        (one for one in names.releases(receipt.project) if Version(one.version) == Version(receipt.version)), None
    )
    if listed is None:
        yield True, _why_gone(receipt, client)
    elif (listed.sha256, listed.filename) != (receipt.sha256, receipt.filename):
        yield True, "the registry has another file under this version now"
    elif receipt.key is not None and listed.key is None:
        yield True, "the registry has lost its signature"
    if listed is not None and listed.publisher != receipt.publisher:
        yield True, f"it belongs to {listed.publisher} now, not to {receipt.publisher}"
    elif listed is not None and listed.owner != receipt.publisher:
        yield False, f"{receipt.project} belongs to {listed.owner} now; this version is still {receipt.publisher}'s"
    if listed is not None and listed.yanked is not None:
        yield False, f"{listed.publisher} yanked this version: {listed.yanked}".rstrip(": ")
    if receipt.key in names.revoked:
        yield True, f"{receipt.publisher} revoked the key that signed it: it was revoked {names.revoked[receipt.key]}"
        return
    try:
        chain = names.chain(receipt.project)
    except TrustError as error:
        yield True, error.message
        return
    if chain is None:
        return
    entry = chain.entry(receipt.filename)
    if receipt.key is None:
        yield True, f"{receipt.project} is signed now, and this is not"
    elif receipt.key not in chain.known:
        yield True, f"the key {receipt.key} is none of {receipt.project}'s"
    elif entry is None:
        yield True, f"it is not on the list of releases that {receipt.project}'s keys signed"
    elif (entry.sha256, entry.size) != (receipt.sha256, receipt.size):
        yield True, f"{receipt.project}'s keys signed another file under this name"
