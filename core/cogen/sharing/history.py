"""What ``cogen.toml`` and the receipts of this environment say of a project: a colleague's pins, and a CI's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from cogen.sharing import project
from cogen.sharing.binding import Bound
from cogen.sharing.resolve import Release
from cogen.trust.errors import TrustError
from cogen.trust.receipts import receipt_of, receipts

#: What `cogen add --accept` may name.
ACCEPT = ("registry", "publisher")


@dataclass(frozen=True)
class Seen:
    """One place that names a project. ``root``: the fingerprint of the registry's first root, where it was known."""

    where: str
    version: str
    sha256: str
    publisher: str
    key: str | None
    registry: str
    root: str | None


@dataclass(frozen=True)
class Before:
    """All that was written down of a project."""

    seen: tuple[Seen, ...]

    @property
    def keys(self) -> list[tuple[str, str]]:
        """(where, fingerprint)."""
        return [(one.where, one.key) for one in self.seen if one.key is not None]


def before(name: str, file: Path | None = None) -> Before:
    """:param file: the project's ``cogen.toml``."""
    found = []
    if file is not None and (entry := project.recorded(file).get(name)):
        found.append(
            Seen(file.name, entry.version, entry.sha256, entry.publisher, entry.key, entry.registry, entry.root)
        )
    if receipt := receipt_of(name):
        found.append(
            Seen(
                "this environment",
                receipt.version,
                receipt.sha256,
                receipt.publisher,
                receipt.key,
                receipt.registry,
                receipt.root,
            )
        )
    return Before(tuple(found))


def compare(known: Before, release: Release, url: str, bound: Bound | None, accept: frozenset[str]) -> None:
    """Registry and publisher are those that were written down. (Keys: see :mod:`cogen.sharing.signatures`.)

    :param accept: what may have changed, of :data:`ACCEPT`.
    :raises TrustError: they are others; the message says which.
    """
    identity = bound.names.identity if bound else None
    for one in known.seen:
        same = one.root == identity if one.root is not None else one.registry == url
        if not same and "registry" not in accept:
            raise TrustError(
                f"{release.project} comes from {url} now; {one.where} names "
                + (one.registry if one.registry != url else f"the same URL with another root, {one.root}"),
                hint="if that is meant: --accept registry; --registry names the one of before",
            )
        if one.publisher != release.publisher and "publisher" not in accept:
            raise TrustError(
                f"{release.project} belongs to {release.publisher} now; {one.where} names {one.publisher}",
                hint=f"ask both whether it was handed over; if that is meant: --accept publisher ({release.publisher})",
            )
    for receipt in receipts():
        if release.expert in receipt.experts and receipt.project != release.project:
            raise TrustError(
                f"the expert {release.expert} is {release.project}'s now; this environment has it of {receipt.project}",
                hint=f"two projects cannot bring one expert; if that is meant: `cogen remove {release.expert}` first",
            )
