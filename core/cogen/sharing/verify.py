"""`cogen verify`: is what is installed still what was verified, and does the registry still stand by it?"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import Distribution
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.utils import canonicalize_name
from packaging.version import Version

from cogen.cache import cached
from cogen.checkpoints.digests import sha256_file
from cogen.checkpoints.sources.registry import place_of
from cogen.errors import CogenError, UsageError
from cogen.host import Host
from cogen.remote.client import Client, quoted
from cogen.remote.errors import NotThere, RegistryError
from cogen.sharing import environment
from cogen.sharing.snapshot import recover
from cogen.sharing.status import by_metadata, by_pins
from cogen.sharing.weights import address, listing
from cogen.trust import brief, check_statement, fingerprint
from cogen.trust.errors import TrustError
from cogen.trust.receipts import Receipt, receipt_of, receipts
from cogen.trust.registries import Registry, registries
from cogen.wheels import WheelError, check_installed, read_wheel
from cogen.wheels.installed import compare, compare_files, holds_code, info_name, recorded_files
from cogen.wheels.points import read_points

if TYPE_CHECKING:
    from cogen.sharing.names import Names


@dataclass
class Finding:
    """``problems``: what changed, one line each, file by file. ``notes``: what could not be looked at, and why."""

    name: str
    version: str
    publisher: str | None = None
    key: str | None = None
    #: The key or the identity, for people.
    signer: str | None = None
    files: int = 0
    #: "data" or "code", as it lies there.
    kind: str | None = None
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def verify_all(names: list[str], *, online: bool = True) -> Iterator[Finding]:
    """Findings of these experts or distributions; of everything that is installed, where none is named.

    :param online: also ask the registry that each came from.
    :raises UsageError: one of the names is not installed and has no receipt.
    """
    recover()
    opened: dict[str, Names] = {}  # registries whose metadata was read: each once
    by_expert = {plugin.name: plugin.distribution for plugin in Host.discover().plugins}
    by_expert |= {expert: receipt.project for receipt in receipts() for expert in receipt.experts}
    known = {str(canonicalize_name(name)) for name in by_expert.values()}
    wanted = []
    for name in names:
        project = str(canonicalize_name(by_expert.get(name, name)))
        if project not in known:
            raise UsageError(f"{name} is not installed", hint="`cogen list` shows what is")
        wanted.append(project)
    for project in dict.fromkeys(wanted or sorted(known)):
        receipt = receipt_of(project)
        yield _by_record(project) if receipt is None else verify_receipt(receipt, online=online, opened=opened)


def verify_receipt(receipt: Receipt, *, online: bool, opened: dict[str, Names] | None = None) -> Finding:
    """Compare installed files, signature, weights and what the registry says today with a receipt.

    :param opened: signed metadata that was read already, by URL; what is read here is added.
    """
    finding = Finding(receipt.project, receipt.version, receipt.publisher, receipt.key, files=len(receipt.files))
    if receipt.public_key:
        with contextlib.suppress(TrustError):  # then there is a problem below
            finding.signer = brief(receipt.public_key)
    found = environment.installed(receipt.project)
    if found is None:
        finding.problems.append("it is not installed any more")
    elif environment.editable(found):
        finding.problems.append("it is installed from a source tree, not from the wheel that was verified")
    elif Version(found.version) != Version(receipt.version):
        finding.problems.append(f"version {found.version} is installed, {receipt.version} was verified")
    else:
        root, info = Path(str(found.locate_file(""))), info_name(found)
        lines = [*compare_files(root, receipt.files, info), *check_installed(found, allow=_allowed(receipt))]
        finding.problems += dict.fromkeys([*lines, *_shadowed(found)])
        finding.kind = _kind(found)
        if finding.kind == "code" and receipt.code is False:
            finding.problems.append("it holds code, and held none when it was added")
        _beside(receipt, finding)
    _signature(receipt, finding)
    seen = list(by_pins(receipt))
    _wheel(receipt, finding)
    _weights(receipt, finding)
    if online and (answers := _ask(receipt, finding, {} if opened is None else opened)) is not None:
        seen = [one for one in seen if "was revoked" not in one[1]] + answers  # today's answer says more
    _take(finding, seen)
    return finding


def _signature(receipt: Receipt, finding: Finding) -> None:
    if receipt.key is None:
        finding.notes.append("it is not signed; that was accepted when it was added")
        return
    try:
        if receipt.public_key is None or receipt.statement is None or receipt.bundle is None:
            finding.problems.append("the receipt has lost its signature")
            return
        if fingerprint(receipt.public_key) != receipt.key:
            finding.problems.append("the receipt names another key than the one it holds")
        check_statement(receipt.statement, receipt.bundle, receipt.public_key)
        expected = {
            name: getattr(receipt, name) for name in ("project", "version", "filename", "sha256", "size", "publisher")
        }
        if wrong := [name for name, value in expected.items() if receipt.statement[name] != value]:
            finding.problems.append(f"the signature is for another {wrong[0]}: {receipt.statement[wrong[0]]}")
    except CogenError as error:
        finding.problems.append(error.message)


def _take(finding: Finding, lines: Iterable[tuple[bool, str]]) -> None:
    for problem, line in lines:
        (finding.problems if problem else finding.notes).append(line)


def _wheel(receipt: Receipt, finding: Finding) -> None:
    """The receipt's list of files could be edited too; the wheel's hash is signed, so the wheel has the last word."""
    path = cached("wheels", receipt.sha256, receipt.filename)
    if not path.is_file():
        return
    if sha256_file(path) != receipt.sha256:
        finding.notes.append("the copy of the wheel in the cache is damaged; `cogen add` fetches it again")
        return
    try:
        if read_wheel(path, allow=_allowed(receipt)).files != receipt.files:
            finding.problems.append("the receipt lists other files than the wheel holds")
    except WheelError as error:
        finding.problems.append(f"the wheel holds what no plugin may hold: {error.message}")


def _weights(receipt: Receipt, finding: Finding) -> None:
    for weights in receipt.weights:
        place = address(weights)
        if place is None or not weights.files:
            if place is not None:
                finding.notes.append(f"weights {weights.source} are checked when they are fetched")
            continue
        home = place_of(Registry(receipt.registry), *place)
        if not home.is_dir():
            finding.notes.append(f"weights {place[0]} are not in the cache; they are checked when they are fetched")
            continue
        finding.files += len(weights.files)
        finding.problems += [f"weights {place[0]}: {line}" for line in compare(weights.files, dict(listing(home)))]


def _ask(receipt: Receipt, finding: Finding, opened: dict[str, Names]) -> list[tuple[bool, str]] | None:
    """What the registry signed today: a revoked key, a yanked release, other bytes. ``None``: it can't be asked."""
    from cogen.sharing.names import Untold, open_names, pinned_identity

    client = Client(registries().get(receipt.registry, Registry(receipt.registry)), timeout=(5, 20))
    try:
        if client.url not in opened:
            first = pinned_identity(client.url) is None
            names = opened[client.url] = open_names(client)
            if first:
                finding.notes.append(
                    f"trusting the root {names.identity} of {client.url} for the first time: "
                    "compare it with what its operator says"
                )
        return list(by_metadata(receipt, client, opened[client.url]))
    except Untold as error:
        if receipt.root is not None:
            finding.problems.append(error.message)
        else:
            _ask_unsigned(client, receipt, finding)
    except RegistryError as error:
        finding.notes.append(f"the registry was not asked: {error.message}")
    except CogenError as error:  # expired, rolled back, forged: what it says can't be believed
        finding.problems.append(error.message)
    return None


def _ask_unsigned(client: Client, receipt: Receipt, finding: Finding) -> None:
    """The same of a registry of an older version, whose word is all that there is."""
    try:
        now: Any = client.get(f"/api/v1/experts/{quoted(receipt.experts[0])}/{quoted(receipt.version)}")
        if now["file"]["sha256"] != receipt.sha256:
            finding.problems.append("the registry has another file under this version now")
        signature = now["signature"]
        if receipt.key is not None and signature is None:
            finding.problems.append("the registry has lost its signature")
        elif signature is not None and signature["revoked"] and signature["key"] == receipt.key:
            finding.problems.append(f"{receipt.publisher} revoked the key that signed it")
        if now["yanked"]:
            reason = next((one["yanked"] for one in now["versions"] if one["version"] == now["version"]), "")
            finding.notes.append(f"{receipt.publisher} yanked this version: {reason}".rstrip(": "))
    except NotThere:
        finding.problems.append(f"{receipt.registry} does not have it any more")
    except RegistryError as error:
        finding.notes.append(f"the registry was not asked: {error.message}")
    except (KeyError, TypeError, IndexError):
        finding.notes.append("the registry answered in a form that is not known")


def _allowed(receipt: Receipt) -> list[str] | None:
    """What it may require; any, where it was added before that was asked."""
    return None if receipt.code is None else receipt.allow


def _kind(found: Distribution) -> str | None:
    """data or code, as it lies there; ``None``: its entry points cannot be read."""
    try:
        points = read_points((found.read_text("entry_points.txt") or "").encode())
    except WheelError:
        return None
    return "code" if holds_code(Path(str(found.locate_file(""))), set(points.values())) else "data"


def _shadowed(found: Distribution) -> Iterator[str]:
    """Packages of which Python would take another one, whatever lies here."""
    try:
        packages = set(read_points((found.read_text("entry_points.txt") or "").encode()).values())
    except WheelError:
        return
    for package in sorted(packages):
        if (other := environment.shadows(package, Path(str(found.locate_file(""))))) is not None:
            yield f"{package}: Python takes {other} in its place; look at PYTHONPATH and at the current folder"


def _beside(receipt: Receipt, finding: Finding) -> None:
    """What came with it is somebody else's to verify; here only what is there."""
    for one in receipt.beside:
        name, _, version = one.partition(" ")[0].partition("==")
        now = environment.installed(name)
        if now is None or now.version != version:
            finding.notes.append(f"{name} {version} came with it, and {now.version if now else 'nothing'} is installed")


def _by_record(project: str) -> Finding:
    """Without a receipt: the rule, and what pip itself wrote down, which whoever altered the files could alter too."""
    found = environment.installed(project)
    if found is None:
        return Finding(project, "", problems=["it is not installed"])
    finding = Finding(project, found.version, notes=["it was not added from a registry: compared with RECORD alone"])
    link = environment.editable(found)
    problems = list(check_installed(found, allow=None, editable=link))
    if link:
        finding.notes.append("it is a link to a source tree, whose files nobody listed")
    else:
        try:
            expected = recorded_files(found)
        except WheelError as error:
            expected, problems = {}, [*problems, error.message]
        finding.files, finding.kind = len(expected), _kind(found)
        problems += [*compare_files(Path(str(found.locate_file(""))), expected, info_name(found)), *_shadowed(found)]
    finding.problems = list(dict.fromkeys(problems))
    return finding


def verify_composite(folder: Path) -> Finding:
    """Files of a composite against its ``cogen.lock``.

    :raises SpecError: it has none, or it can't be read.
    """
    from cogen.artifacts.lock import read_lock
    from cogen.artifacts.lock import verify as changed_files

    lock = read_lock(folder)
    finding = Finding(str(folder), lock.created, files=len(lock.files))
    for name in changed_files(lock, folder):
        state = "added" if name not in lock.files else "altered" if (folder / name).is_file() else "missing"
        finding.problems.append(f"{name}: {state}")
    for expert, source in sorted(lock.sources.items()):
        by = f"signed by {source.publisher}, key {source.key}" if source.key else f"of {source.publisher}, not signed"
        finding.notes.append(f"made from {expert} ({source.distribution} {source.version}): {by}")
    return finding
