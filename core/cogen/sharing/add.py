"""`cogen add`: resolve → verify → install exactly the file that was verified → write down what it was."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from packaging.version import Version

from cogen.checkpoints.cache import cache_dir, locked
from cogen.errors import CogenError, DigestError
from cogen.remote.client import Client, quoted
from cogen.sharing import environment, project
from cogen.sharing.binding import Bound
from cogen.sharing.pinned import before, compare
from cogen.sharing.resolve import Release
from cogen.sharing.signatures import Trusted, check_release
from cogen.sharing.verify import installed_files
from cogen.sharing.weights import base_sources, received, sources
from cogen.sharing.wheels import Wheel, read_wheel
from cogen.trust.errors import TrustError
from cogen.trust.files import sha256_of
from cogen.trust.metadata.project import bytes_of
from cogen.trust.pins import Pin, update
from cogen.trust.receipts import Receipt, ReceivedWeights, forget, keep, receipt_of
from cogen.trust.registries import pin

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Verified:
    """A release that may be installed."""

    release: Release
    trusted: Trusted | None
    wheel: Wheel
    weights: list[ReceivedWeights] = field(default_factory=list)
    bound: Bound | None = None


def check(
    client: Client, release: Release, *, key: str | None, allow_unsigned: bool, file: Path, bound: Bound | None = None,
    accept: frozenset[str] = frozenset(),
) -> Trusted | None:  # fmt: skip
    """Everything that can be said before a byte is downloaded.

    :param file: the project's ``cogen.toml``. :param bound: what the registry signed; ``None``: it signs nothing.
    :param accept: what may have changed since it was added, see :mod:`cogen.sharing.pinned`.
    :raises TrustError: not signed (unless allowed), a signature that doesn't hold, older than what was there, or of
        another registry or publisher.
    """
    known = before(release.project, file)
    compare(known, release, client.url, bound, accept)
    trusted = check_release(client, release, key, bound=bound, known=known)
    if trusted is None and (key is not None or not allow_unsigned):
        raise TrustError(
            f"{release.project} {release.version} of {release.publisher} is not signed",
            hint=f"ask {release.publisher} to sign it (`cogen publish`), or accept it with --allow-unsigned",
        )
    for where, version, sha256 in ((one.where, one.version, one.sha256) for one in known.seen):
        if Version(release.version) < Version(version):
            raise TrustError(
                f"{release.project} {release.version} is older than {version}, which {where} names",
                hint=f"an old version may be replayed; if you want it: `cogen remove {release.expert}` first",
            )
        if Version(release.version) == Version(version) and sha256 != release.sha256:
            raise TrustError(
                f"{release.project} {version} is another file than the one that {where} names",
                hint="a released version never changes: do not use it, and tell the registry's operator",
            )
    if trusted is None and (signed := next((one for one in known.seen if one.key is not None), None)) is not None:
        raise TrustError(
            f"{release.project} was signed in version {signed.version} and is not in {release.version}",
            hint=f"do not use it, and ask {release.publisher}; `cogen remove {release.expert}` forgets the signature",
        )
    return trusted


def fetch(
    client: Client,
    release: Release,
    trusted: Trusted | None,
    *,
    weights: bool = True,
    advance: Advance = lambda _: None,
    bound: Bound | None = None,
) -> Verified:
    """Download and compare the wheel, and (with ``weights``) what it pins and this registry holds.

    :raises DigestError: other bytes than were promised. :raises TrustError: the wheel holds other experts than signed.
    """
    path = cache_dir() / "wheels" / release.sha256 / release.filename
    with locked(path.parent):
        if not path.is_file() or sha256_of(path) != release.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            client.download(
                f"/files/{release.sha256}/{quoted(release.filename)}", part,
                size=release.size, sha256=release.sha256, advance=advance,
            )  # fmt: skip
            part.replace(path)
    wheel = read_wheel(path)
    if wheel.project != release.project or Version(wheel.version) != Version(release.version):
        raise DigestError(
            f"{release.filename} is not {release.project} {release.version}", hint="tell the registry's operator"
        )
    if release.expert not in {spec.id for spec in wheel.experts}:
        raise TrustError(f"{release.filename} does not hold the expert {release.expert}", hint="tell the operator")
    if trusted is not None:
        signed = {one["id"]: one["spec_digest"] for one in trusted.statement["experts"]}
        if signed != {spec.id: spec.digest for spec in wheel.experts}:
            raise TrustError(
                f"{release.filename} holds other experts than its signature names", hint="ask its publisher"
            )
    pinned = [sources(spec) for spec in wheel.experts]
    if weights:
        pinned = [received(client, one, trusted, release.project, advance) for one in pinned]
        # A base may lie here, too, in whoever's repository: what counts is its digest, which the manifest pins.
        bases = {one.source: one for spec in wheel.experts if (one := base_sources(spec)) is not None}
        found = (received(client, one, None, release.project, advance) for one in bases.values())
        pinned += [one for one in found if one.files]
    return Verified(release, trusted, wheel, pinned, bound)


def install(client: Client, verified: Verified, with_: environment.Tool, file: Path) -> Receipt:
    """Install the wheel, then write the receipt and the project's entry; a failure leaves neither.

    :raises InstallError: pip or uv failed.
    """
    release, wheel = verified.release, verified.wheel
    project.recorded(file)  # before anything is changed: a file that can't be read can't be written
    found = environment.installed(release.project)
    again = found is not None and (environment.editable(found) or Version(found.version) == Version(release.version))
    old = receipt_of(release.project)
    try:
        environment.install(wheel.path, with_, again=again)
        if (now := environment.installed(release.project)) is None or Version(now.version) != Version(release.version):
            raise environment.InstallError(
                f"{with_} installed something else than {release.filename}", hint="see `pip list`"
            )
        if changed := list(installed_files(now, wheel.files)):
            raise environment.InstallError(
                f"what {with_} installed is not what was verified: {changed[0]}",
                hint="delete that file and try again" if changed[0].endswith(": added")
                else f"clear the cache of {with_} (`{with_} cache {'clean' if with_ == 'uv' else 'purge'}`), try again",
            )  # fmt: skip
        receipt = _receipt(client, verified, with_)
        keep(receipt)
        trusted = verified.trusted
        project.record(
            file,
            release.project,
            project.Recorded(
                release.version, release.sha256, release.publisher, trusted and trusted.key, client.url, receipt.root
            ),
        )
        if trusted is not None and trusted.first:
            pin(client.url, release.publisher, trusted.key)
        _remember(client, verified)
    except BaseException:
        _undo(release.project, old, was_here=found is not None, with_=with_)
        raise
    return receipt


def _undo(name: str, old: Receipt | None, *, was_here: bool, with_: environment.Tool) -> None:
    """Nothing is written down of an add that did not end; what was not installed before is not installed after."""
    try:
        if old is not None:
            keep(old)
        else:
            forget(name)
        if not was_here and environment.installed(name) is not None:
            environment.uninstall(name, with_)
    except CogenError:
        pass  # the first error says more


def _remember(client: Client, verified: Verified) -> None:
    """From now on the project's keys, and whose each expert is, are known."""
    trusted, project_ = verified.trusted, verified.release.project
    identity = verified.bound.names.identity if verified.bound else client.url
    pins = {}
    if trusted is not None:
        chain = trusted.chain
        pins[project_] = (
            Pin(bytes_of(chain.root), chain.targets.signed.version, trusted.key) if chain else Pin(key=trusted.key)
        )
    update(identity, projects=pins, experts={spec.id: project_ for spec in verified.wheel.experts})


def _receipt(client: Client, verified: Verified, with_: str) -> Receipt:
    release, trusted = verified.release, verified.trusted
    return Receipt(
        schema=1,
        project=release.project,
        version=release.version,
        filename=release.filename,
        sha256=release.sha256,
        size=release.size,
        registry=client.url,
        root=verified.bound.names.identity if verified.bound else None,
        publisher=release.publisher,
        key=trusted and trusted.key,
        public_key=trusted and trusted.public_key,
        statement=trusted and trusted.statement,
        bundle=trusted and trusted.bundle,
        experts=[spec.id for spec in verified.wheel.experts],
        weights=verified.weights,
        files=verified.wheel.files,
        installed=datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        installer=with_,
    )
