"""`cogen publish`: build → check → weights → build again with the weights pinned → sign → upload → wait.

Every step can be repeated: weights that are pinned are there, a wheel of the same bytes is not sent twice, a signature
that is there stays. So after an interrupt the same command goes on where it was.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from cogen.conformance.package_files import check_upload
from cogen.conformance.private_runs import NAME, archive_files, check_private_runs, files_at
from cogen.conformance.result import Check
from cogen.errors import SpecError, UsageError
from cogen.files import sha256_of
from cogen.remote.client import Client
from cogen.remote.errors import RegistryError
from cogen.sharing.login import password, register, whoami
from cogen.sharing.publishing import hub, packing, upload
from cogen.sharing.publishing.build import build_wheel
from cogen.sharing.publishing.chain import check_bound, vouch
from cogen.sharing.publishing.check import check_wheel
from cogen.sharing.publishing.private_marker import take_away
from cogen.sharing.publishing.weights import check_base, check_described, check_trained
from cogen.sharing.wheels import Wheel, read_wheel
from cogen.trust import (
    IdentitySigner,
    Signer,
    fingerprint,
    make_statement,
    new_key,
    proven,
    read_identity,
    sign_statement,
)
from cogen.trust.registries import Registry, default_key

Say = Callable[[str], None]


@dataclass
class PublishResult:
    """What was done, for people and for ``--json``."""

    project: str
    version: str
    experts: list[str]
    sha256: str = ""
    key: str | None = None
    identity: str | None = None
    publisher: str | None = None
    checks: int = 0
    weights: dict[str, str] = field(default_factory=dict)
    state: str = "checked"
    reason: str | None = None
    packing: packing.PackingList | None = None


@dataclass(frozen=True)
class Order:
    """What was asked for. ``registry``: ``None`` publishes to PyPI and the Hub. ``key``: ``None`` is one's own.

    ``allow``: distributions that the plugin may require beside cogen-core. ``home``: where recipe and private text
    lie, if ``folder`` is a copy. ``texts_elsewhere``: publish although that text is not on this machine.
    """

    folder: Path
    registry: Registry | None
    weights_only: bool = False
    repository: str | None = None
    key: Path | IdentitySigner | None = None
    seconds: float = 60.0
    allow: tuple[str, ...] = ()
    home: Path | None = None
    texts_elsewhere: bool = False


def prepare(order: Order, place: Path, say: Say) -> tuple[Wheel, PublishResult]:
    """Build and check; nothing leaves this machine.

    :raises BuildError: it can't be built. :raises SpecError: the wheel doesn't keep the contract.
    """
    say(f"building {order.folder}")
    wheel = built(order, place)
    if not wheel.experts:
        raise UsageError(f"{wheel.path.name} declares no expert", hint="publish a plugin of hooks alone with twine")
    outcome = PublishResult(wheel.project, wheel.version, [spec.id for spec in wheel.experts])
    outcome.checks = check_wheel(wheel)
    for spec in wheel.experts:
        check_described(spec, order.folder)
        check_trained(spec, order.folder)
        check_base(spec, order.folder, say)
    outcome.sha256 = sha256_of(wheel.path)
    say(f"{wheel.path.name} passes {outcome.checks} checks")
    if wheel.code:
        say("it holds code, so users have to pass --allow-code to `cogen add`")
    local = [spec.id for spec in wheel.experts if hub.local_weights(spec, order.folder) is not None]
    if order.repository and len(local) != 1:
        raise UsageError(
            f"--weights {order.repository}: {len(local)} experts have weights that are to be uploaded, not one",
            hint='weights lie in the package, or [model] source = "file://FOLDER" names those to upload',
        )
    uploads = uploads_of(order, wheel)
    outcome.checks += check_at_home(order, wheel, uploads, say)
    outcome.packing = packing_list_of(order, wheel, uploads)
    return wheel, outcome


#: (repository, its files by name) of what is uploaded beside a wheel.
Uploads = list[tuple[str, list[tuple[str, Path]]]]


def uploads_of(order: Order, wheel: Wheel) -> Uploads:
    """Weights that lie apart.

    :raises SpecError: such a folder of weights holds a file that is not of a model.
    """
    repositories = []
    for spec in wheel.experts:
        local = hub.local_weights(spec, order.folder)
        if local is not None:
            files = list(hub.staged_files(local))
            check_upload(spec, [name for name, _ in files])
            repositories.append((f"repository {order.repository or spec.id}", files))
    return repositories


def check_at_home(order: Order, wheel: Wheel, uploads: Uploads, say: Say) -> int:
    """No file that would leave holds a run of private text. How many checks there were.

    :raises SpecError: one does; or the private text cannot be read, and nobody said that it is elsewhere.
    """
    count = 0
    for check in private_runs(order, wheel, uploads):
        if check.ok is False:
            raise SpecError(f"{NAME}: {check.message}", hint=check.hint)
        if check.ok is None and not order.texts_elsewhere:
            raise SpecError(
                f"{NAME}: {check.message}",
                hint="publish where the text is; or compare it there by `cogen check`, and pass --texts-elsewhere",
            )
        say(check.message)
        count += check.ok is True
    return count


def private_runs(order: Order, wheel: Wheel, uploads: Uploads) -> list[Check]:
    """What ships, compared with the private text of the project's recipes; empty where there is none."""
    with zipfile.ZipFile(wheel.path) as archive:
        beside = files_at(file for _, files in uploads for file in files)
        return list(check_private_runs(chain(archive_files(archive), beside), order.home or order.folder))


def packing_list_of(order: Order, wheel: Wheel, uploads: Uploads) -> packing.PackingList:
    """Every file that :func:`carry_out` would send, of the wheel and of weights apart."""
    return packing.of_repositories(wheel, uploads) if order.weights_only else packing.of_wheel(wheel, uploads)


def built(order: Order, place: Path) -> Wheel:
    """The wheel as it is published: only here does a project lose the mark that keeps it off every index."""
    path = build_wheel(order.folder, place)
    take_away(path)
    return read_wheel(path, allow=order.allow)


def carry_out(order: Order, wheel: Wheel, outcome: PublishResult, say: Say) -> PublishResult:
    """Weights, signature, upload: what can't be taken back.

    :raises RegistryError: refused or not reachable; run again, it goes on.
    """
    client = Client(order.registry) if order.registry else None
    publisher = outcome.publisher = whoami(client)[0] if client else _namespace(order)
    key: Signer = order.key or default_key()
    if isinstance(key, Path) and not key.exists() and order.key is None:
        new_key(key, password())
        say(f"made a new key at {key}; keep a copy, nobody can restore it")
    pem = register(client, publisher, key) if client else proven(key, publisher, password())[0]
    outcome.key, identity = fingerprint(pem), read_identity(pem)
    outcome.identity = str(identity) if identity else None
    wheel = _with_weights(order, wheel, outcome, publisher, key, say)
    if order.weights_only:
        outcome.state = "released"
        return outcome
    if client is None:
        upload.upload_to_pypi(_kept(order, wheel))
        outcome.state = "released"
        return outcome
    return _to_registry(order, client, wheel, outcome, key, say)


def _with_weights(order: Order, wheel: Wheel, outcome: PublishResult, publisher: str, key: Signer, say: Say) -> Wheel:
    """Upload what only this machine has, pin it in the manifest, and build again."""
    changed = False
    for spec in wheel.experts:
        local = hub.local_weights(spec, order.folder)
        if local is None:
            outcome.weights[spec.id] = spec.model.source
            continue
        name = order.repository or f"{publisher}/{spec.id}"
        registry = order.registry
        place = hub.HubPlace(name, registry.url, registry.token) if registry else hub.HubPlace(name)
        say(f"uploading {local} as {name}")
        pinned = hub.upload(
            local,
            place,
            publisher=publisher,
            project=wheel.project,
            version=wheel.version,
            key=key,
            password=password(),
            note=say,
        )
        path = hub.pin(order.folder, spec, pinned)
        say(f"{path} names hf://{name} at {pinned.revision[:8]} now; keep that change")
        outcome.weights[spec.id] = f"hf://{name}@{pinned.revision}"
        changed = True
    if not changed:
        return wheel
    again = built(order, wheel.path.parent)
    _check_same(wheel, again)
    outcome.checks, outcome.sha256 = check_wheel(again), sha256_of(again.path)
    return again


def _check_same(shown: Wheel, built: Wheel) -> None:
    """Nothing but the manifest, which names the uploaded weights now, may differ from what was listed.

    :raises SpecError: another file does.
    """
    names = sorted(name for name, _ in shown.files.items() ^ built.files.items() if not name.endswith("/expert.toml"))
    if names:
        raise SpecError(
            f"the wheel that was built again differs in {names[0]} from the one whose packing list was shown",
            hint="a build that gives the same bytes twice is needed: let no step of it write times or random values",
        )


def _to_registry(
    order: Order, client: Client, wheel: Wheel, outcome: PublishResult, key: Signer, say: Say
) -> PublishResult:
    check_bound(client, wheel.project, outcome.publisher or "", outcome.key or "")
    state = upload.state_of(client, wheel.project, wheel.version)
    if state is not None and state.sha256 != outcome.sha256:
        wheel = _same_as_before(order, wheel, outcome, state)
    path = _kept(order, wheel)
    wheel = replace(wheel, path=path)
    if state is None:
        say(f"uploading {path.name} ({path.stat().st_size:,} bytes)")
        upload.upload_wheel(client, wheel, outcome.sha256)
    else:
        say(f"{path.name} is there already")
    statement: dict[str, Any] = make_statement(path, outcome.publisher or "", wheel.experts)
    if state is None or state.key is None or state.revoked:
        upload.upload_signature(client, statement, sign_statement(statement, key, password()))
    elif state.key != outcome.key:
        raise RegistryError(
            f"{wheel.project} {wheel.version} is signed already, with {state.key}",
            hint="sign with that key, or raise the version; `cogen key rotate` exchanges keys",
        )
    if vouch(client, wheel.project, [statement], key) is None:
        say(f"{client.url} is of an older version: it does not bind {wheel.project} to your key")
    final = upload.wait_until_visible(client, wheel.project, wheel.version, order.seconds, say)
    outcome.state, outcome.reason, outcome.key = final.state, final.reason, final.key
    return outcome


def _same_as_before(order: Order, wheel: Wheel, outcome: PublishResult, state: upload.State) -> Wheel:
    """The wheel of an earlier run that the registry has already.

    :raises RegistryError: there is none: the version is taken.
    """
    old = order.folder / "dist" / wheel.path.name
    if old.is_file() and sha256_of(old) == state.sha256:
        outcome.sha256 = state.sha256
        return read_wheel(old, allow=order.allow)
    raise RegistryError(
        f"{wheel.project} {wheel.version} was published before with other content",
        hint="a released version never changes: raise the version in pyproject.toml",
    )


def _kept(order: Order, wheel: Wheel) -> Path:
    """The wheel in ``dist/``, where build tools put it too."""
    target = order.folder / "dist" / wheel.path.name
    if wheel.path != target:
        target.parent.mkdir(exist_ok=True)
        part = target.with_name(f".{target.name}.part")
        shutil.copyfile(wheel.path, part)
        part.replace(target)
    return target


def _namespace(order: Order) -> str:
    """Who we are on the Hub."""
    if order.repository:
        return order.repository.partition("/")[0]
    from huggingface_hub import HfApi, get_token

    if not get_token():
        return "unknown"
    try:
        return str(HfApi().whoami()["name"])
    except Exception as error:
        raise RegistryError(f"the Hub does not say who you are: {error}", hint="run `hf auth login`") from error
