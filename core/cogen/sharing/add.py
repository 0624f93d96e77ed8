"""`cogen add`: resolve → verify → stage → install exactly the file that was verified → write down what it was.

Before anything is installed: the wheel keeps the rule (:mod:`cogen.wheels`), its code was allowed if it has any, what
it requires is there or planned, and no file of it lies where somebody else's does. What fails then never happened.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from cogen.cache import cached
from cogen.errors import DigestError, SpecError
from cogen.files import locked, sha256_of
from cogen.remote.client import Client, quoted
from cogen.sharing import dependencies, environment, project
from cogen.sharing.binding import Bound
from cogen.sharing.history import before, compare
from cogen.sharing.placement import check_free, forget_compiled, touched
from cogen.sharing.resolve import Release
from cogen.sharing.signatures import Trusted, check_release
from cogen.sharing.snapshot import first_missing, recover, undoable
from cogen.sharing.stage import staged
from cogen.sharing.weights import base_sources, received, sources
from cogen.trust.errors import TrustError
from cogen.trust.metadata.project import bytes_of
from cogen.trust.pins import Pin, pins_of, revert, update
from cogen.trust.receipts import Receipt, ReceivedWeights, keep, receipt_path
from cogen.trust.registries import pin
from cogen.wheels import Wheel, WheelError, check_installed, read_wheel, requirements
from cogen.wheels.installed import compare_files
from cogen.wheels.limits import Limits

Advance = Callable[[int], None]


@dataclass(frozen=True)
class Consent:
    """What the user allows. ``code``: that it may hold code; ``allow``: what it may require beside cogen-core;
    ``upgrade``: what may be replaced for that; ``known``: what the same wheel brought elsewhere, by ``cogen.toml``.
    """

    code: bool = False
    allow: tuple[str, ...] = ()
    upgrade: tuple[str, ...] = ()
    known: tuple[dependencies.PinnedRequirement, ...] = ()


@dataclass(frozen=True)
class Verified:
    """A release that may be installed. ``beside``: what is going to be installed with it."""

    release: Release
    trusted: Trusted | None
    wheel: Wheel
    weights: list[ReceivedWeights] = field(default_factory=list)
    consent: Consent = Consent()
    beside: list[dependencies.PinnedRequirement] = field(default_factory=list)
    bound: Bound | None = None

    @property
    def came_with(self) -> tuple[str, ...]:
        """For the project's file and the receipt: of before, where the same wheel needs nothing more now."""
        return tuple(map(str, self.beside)) or tuple(map(str, self.consent.known))


def consented(
    release: Release, file: Path, *, code: bool = False, allow: Iterable[str] = (), upgrade: Iterable[str] = ()
) -> Consent:
    """What the command line allows, and what the project's file allowed for the very same wheel before."""
    entry = project.recorded(file).get(release.project)
    if entry is None or entry.sha256 != release.sha256:
        return Consent(code, tuple(allow), tuple(upgrade))
    try:
        known = tuple(dependencies.read(one) for one in entry.beside)
    except ValueError as error:
        raise SpecError(
            f"{file}: `beside` of {release.project} is not what `cogen add` wrote: {str(error)[:80]}",
            hint="delete that line",
        ) from error
    return Consent(code or entry.code == project.ALLOWED, (*allow, *entry.allow), tuple(upgrade), known)


def check(
    client: Client,
    release: Release,
    *,
    key: str | None,
    allow_unsigned: bool,
    file: Path,
    bound: Bound | None = None,
    accept: frozenset[str] = frozenset(),
) -> Trusted | None:
    """Everything that can be checked before a byte is downloaded.

    :param file: the project's ``cogen.toml``. :param bound: what the registry signed; ``None``: it signs nothing.
    :param accept: what may have changed since it was added, see :mod:`cogen.sharing.history`.
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
    consent: Consent | None = None,
    advance: Advance = lambda _: None,
    bound: Bound | None = None,
) -> Verified:
    """Download and compare the wheel, and (with ``weights``) what it pins and this registry holds.

    :raises DigestError: other bytes than were promised. :raises WheelError: it holds what no plugin may hold.
    :raises TrustError: it holds other experts than signed, or code that was not allowed.
    """
    if release.size > (most := Limits().unpacked):  # before a byte of it is fetched
        raise WheelError(
            f"{release.filename} has {release.size:,} bytes, at most {most:,} are read",
            hint="do not use it; large weights belong into a repository",
        )
    path = cached("wheels", release.sha256, release.filename)
    with locked(path.parent):
        if not path.is_file() or sha256_of(path) != release.sha256:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{path.name}.part")
            client.download(
                f"/files/{release.sha256}/{quoted(release.filename)}",
                part,
                size=release.size,
                sha256=release.sha256,
                advance=advance,
            )
            part.replace(path)
    consent = consent or Consent()
    core = environment.installed("cogen-core")
    wheel = read_wheel(path, allow=consent.allow, host=core.version if core else None)
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
    if wheel.code and not consent.code:
        raise TrustError(
            f"{release.project} {release.version} holds code, which can do what you can: it is no data alone",
            hint="read it first, and ask for an expert of data alone; --allow-code accepts this very file",
        )
    pinned = [sources(spec) for spec in wheel.experts]
    if weights:
        pinned = [received(client, one, trusted, release.project, advance) for one in pinned]
        # A base may lie here, too, in whoever's repository: what counts is its digest, which the manifest pins.
        bases = {one.source: one for spec in wheel.experts if (one := base_sources(spec)) is not None}
        found = (received(client, one, None, release.project, advance) for one in bases.values())
        pinned += [one for one in found if one.files]
    return Verified(release, trusted, wheel, pinned, consent, bound=bound)


def prepare(verified: Verified, with_: environment.Tool) -> Verified:
    """What would be installed beside it, and whether its place is free; nothing is changed.

    :raises InstallError: it would replace what is somebody else's.
    """
    recover()
    check_free(environment.site_packages(), verified.wheel)
    consent = verified.consent
    pins = dependencies.plan(verified.wheel, with_, upgrade=consent.upgrade, known=consent.known)
    return replace(verified, beside=pins)


def install(client: Client, verified: Verified, with_: environment.Tool, file: Path) -> Receipt:
    """Install the wheel, then write the receipt and the project's entry; a failure leaves everything as it was.

    :raises InstallError: pip or uv failed, or installed something else.
    """
    release, wheel = verified.release, verified.wheel
    project.recorded(file)  # before anything is changed: a file that can't be read can't be written
    site = environment.site_packages()
    found = environment.installed_at(release.project, site)
    again = found is not None and (environment.editable(found) or found.version == release.version)
    with staged(wheel, release.sha256, verified.beside, with_) as stage:
        paths = [*touched(site, wheel), *stage.touched(site)]
        paths += [receipt_path(release.project), file.absolute(), Path(sys.prefix) / ".lock"]  # the last: uv's
        roots = (Path(sys.prefix), file.absolute().parent)
        with undoable(release.project, (_highest(path, roots) for path in paths)):
            forget_compiled(site, wheel)
            if stage.requirements is not None:
                environment.install_pinned(stage.requirements, with_)
            environment.install(stage.wheel, with_, again=again)
            _check_done(verified, with_, site)
            receipt = _receipt(verified, client.url, with_)
            keep(receipt)
            _record(file, verified, client.url)
            _remember(client, verified)
    return receipt


def _highest(path: Path, roots: Iterable[Path]) -> Path:
    root = next((one for one in roots if path.is_relative_to(one)), path.parent)
    return first_missing(path, root)


def _check_done(verified: Verified, with_: environment.Tool, site: Path) -> None:
    """What the tool made of the environment is what was verified, file by file."""
    release, wheel = verified.release, verified.wheel
    now = environment.installed_at(release.project, site)
    if now is None or Version(now.version) != Version(release.version):
        raise environment.InstallError(
            f"{with_} did not install {release.filename} in {site}", hint="use a virtual environment of your own"
        )
    if changed := [*compare_files(site, wheel.files, wheel.info), *check_installed(now, allow=verified.consent.allow)]:
        raise environment.InstallError(
            f"what {with_} installed is not what was verified: {changed[0]}", hint="find out who changed it, try again"
        )
    for package in sorted({name.partition("/")[0] for name in wheel.files} - {wheel.info}):
        if (other := environment.shadows(package, site)) is not None:
            raise environment.InstallError(
                f"Python would take {other} in the place of {package} of {release.filename}",
                hint="take that out of PYTHONPATH, out of the current folder, or out of this environment",
            )
    for one in verified.beside:
        if (there := environment.installed(one.name)) is None or Version(there.version) != Version(one.version):
            raise environment.InstallError(f"{with_} did not install {one.name} {one.version}", hint="see `pip list`")


def _record(file: Path, verified: Verified, url: str) -> None:
    release, wheel, trusted = verified.release, verified.wheel, verified.trusted
    entry = project.Recorded(
        release.version,
        release.sha256,
        release.publisher,
        trusted.key if trusted else None,
        url,
        root=verified.bound.names.identity if verified.bound else None,
        code=project.ALLOWED if wheel.code else None,
        allow=_used(verified),
        beside=verified.came_with,
    )
    project.record(file, release.project, entry)


def _used(verified: Verified) -> tuple[str, ...]:
    """What was allowed and is required."""
    names = {str(canonicalize_name(one.name)) for one in requirements(verified.wheel)}
    return tuple(sorted({str(canonicalize_name(name)) for name in verified.consent.allow} & names))


def _remember(client: Client, verified: Verified) -> None:
    """From now on the project's keys, and whose each expert is, are known.

    Settings are shared by all environments of a user, so no copy of them is put back: another add may have written
    there meanwhile. This is the last step, and takes back its own entries alone.
    """
    trusted, project_ = verified.trusted, verified.release.project
    identity = verified.bound.names.identity if verified.bound else client.url
    pins = {}
    if trusted is not None:
        chain = trusted.chain
        pins[project_] = (
            Pin(bytes_of(chain.root), chain.targets.signed.version, trusted.key) if chain else Pin(key=trusted.key)
        )
    before, experts = pins_of(identity), {spec.id: project_ for spec in verified.wheel.experts}
    update(identity, projects=pins, experts=experts)
    try:
        if trusted is not None and trusted.first:
            pin(client.url, verified.release.publisher, trusted.key)
    except BaseException:
        revert(identity, before, projects=pins, experts=experts)
        raise


def _receipt(verified: Verified, url: str, with_: str) -> Receipt:
    release, trusted = verified.release, verified.trusted
    return Receipt(
        schema=1,
        project=release.project,
        version=release.version,
        filename=release.filename,
        sha256=release.sha256,
        size=release.size,
        registry=url,
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
        code=verified.wheel.code,
        allow=list(_used(verified)),
        beside=list(verified.came_with),
    )
