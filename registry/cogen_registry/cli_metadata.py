"""`cogen-registry init`, `status`, `sign`, `renew`, `rotate-online`, `rotate-root`, `key revoke`, `project recover`."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen_registry.cli_common import echo
from cogen_registry.errors import Refused, not_found

if TYPE_CHECKING:
    from cogen_registry.database.sessions import Session, Sessions
    from cogen_registry.settings import Settings

Root = Annotated[Path, typer.Option("--root", envvar="COGEN_REGISTRY_ROOT", help="Data folder of the registry.")]
Database = Annotated[
    str | None, typer.Option(envvar="COGEN_REGISTRY_DATABASE", help="URL, such as postgresql+psycopg://…")
]
Offline = Annotated[list[Path], typer.Option("--keys", help="Folder (or file) of the offline keys; may be repeated.")]
Online = Annotated[Path | None, typer.Option("--online", help="Folder of the service's keys; default: ROOT/keys.")]
_PASSWORD = "COGEN_REGISTRY_KEY_PASSWORD"

keys = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Signing keys of publishers.")


def register(app: typer.Typer) -> None:
    """Add the commands of this file; `project recover` is added by `cli`, to the group of `cli_names`."""
    app.command("init")(init)
    app.command("status")(status)
    app.command("sign")(sign)
    app.command("renew")(renew)
    app.command("rotate-online")(rotate_online)
    app.command("rotate-root")(rotate_root)
    app.add_typer(keys, name="key")


def check_initialised(settings: Settings) -> None:
    """:raises Refused: 409, this registry has no signed metadata: nobody could trust what it serves."""
    with _opened(settings.root, settings.database) as sessions, sessions.read() as session:
        _check_signed(session, settings.root)
    if (offline := settings.root / "offline").is_dir():
        echo(
            f"warning: the operator's keys still lie in {offline}: who breaks into this machine has them too", err=True
        )
        echo("hint: move that folder to a medium that is not connected, and keep two copies", err=True)


def _check_signed(session: Session, root: Path) -> None:
    """:raises Refused: 409"""
    from cogen_registry.metadata import state

    if not state.initialised(session):
        raise Refused(
            409,
            f"{root} is not initialised: without keys, clients cannot trust what it serves",
            hint=f"cogen-registry init --root {root}",
        )


def init(
    root: Root,
    root_keys: Annotated[int, typer.Option(min=1, max=20, help="Number of the operator's root keys.")] = 3,
    threshold: Annotated[int, typer.Option(min=1, help="Number of root keys that must sign.")] = 2,
    offline: Annotated[
        Path | None, typer.Option(help="New folder for the operator's keys; default: ROOT/offline.")
    ] = None,
    online: Online = None,
    bins: Annotated[
        int, typer.Option(min=2, max=65536, help="Number of hash bins for projects: a power of two.")
    ] = 1024,
    database: Database = None,
) -> None:
    """Make the keys of a new registry, or of one without, sign everything, and print the fingerprint of its root.

    COGEN_REGISTRY_KEY_PASSWORD encrypts the operator's keys.
    """
    import os

    from cogen_registry.audit import log
    from cogen_registry.metadata import setup, state
    from cogen_registry.metadata.keys import make_offline, make_online

    if threshold > root_keys:
        raise Refused(400, f"{threshold} of {root_keys} keys can't sign", hint="--threshold is at most --root-keys")
    if bins & (bins - 1):
        raise Refused(400, f"{bins} is not a power of two", hint="1024 is right for 100,000 projects")
    places = offline or root / "offline", online or root / "keys"
    with _opened(root, database) as sessions:
        with sessions.read() as session:
            if state.initialised(session):
                raise Refused(409, f"{root} is initialised already", hint="`cogen-registry status` shows its root")
        taken = [place for place in places if place.exists() and any(place.iterdir())]
        if taken:
            raise Refused(409, f"{taken[0]} exists already", hint="it may hold keys: move it away, or name another")
        try:
            signers = make_offline(places[0], root_keys, os.environ.get(_PASSWORD) or None)
            service = make_online(places[1])
            with sessions.write() as session:
                found = setup.initialise(session, service, signers, threshold, bins.bit_length() - 1)
                log.record(session, log.operator(), "registry.init", found, keys=root_keys, threshold=threshold)
        except BaseException:
            for place in places:
                shutil.rmtree(place, ignore_errors=True)
            raise
    echo(found)
    echo(f"initialised {root}; above is the fingerprint of its root: publish it where your users can see it", err=True)
    echo(f"{places[1]}: the service's keys; they stay here, readable by the service alone", err=True)
    echo(
        f"{places[0]}: your {root_keys} keys, {threshold} of which sign; move this folder to a medium that is not "
        f"connected, keep two copies; it is needed once a year (`cogen-registry renew`)",
        err=True,
    )


def status(root: Root, database: Database = None) -> None:
    """Fingerprint of the root; version and end of each role; how many projects have keys of their own."""
    from cogen_registry.metadata import setup
    from cogen_registry.metadata.signer import every_project, revoked
    from cogen_registry.names.chains import chained

    with _opened(root, database) as sessions, sessions.read() as session:
        _check_signed(session, root)
        echo(f"root\t{setup.fingerprint(session)}")
        for one in setup.expiries(session):
            left = "EXPIRED" if one.days < 0 else f"{one.days} days" if one.days > 1 else f"{one.hours} hours"
            whose = "the service renews it"
            if one.role in ("root", "targets"):
                whose = "soon: cogen-registry renew" if one.soon else "cogen-registry renew"
            echo(f"{one.role}\tversion {one.version}\t{one.expires:%Y-%m-%d %H:%M}\t{left}\t{whose}")
        echo(f"projects\t{chained(session)} of {len(every_project(session))} with keys of their publisher")
        echo(f"revoked\t{len(revoked(session))} keys")


def sign(root: Root, online: Online = None, database: Database = None) -> None:
    """Sign anew what is said of every project: after somebody changed the database by hand."""
    from cogen_registry.audit import log
    from cogen_registry.metadata.signer import every_project

    with _signing(root, database, online) as (sessions, signer), sessions.write() as session:
        names = every_project(session)
        signer.change(session, names, revocations=True)
        log.record(session, log.operator(), "registry.sign", "every project", projects=len(names))
    echo(f"signed what is said of {len(names):,} projects", err=True)


def renew(root: Root, keys: Offline, online: Online = None, database: Database = None) -> None:
    """Renew the signatures of root and targets for another year."""
    _renew(root, database, online, keys, "registry.renew")
    echo("renewed root and targets for a year; take the keys offline again", err=True)


def rotate_online(
    root: Root,
    keys: Offline,
    online: Annotated[
        Path | None, typer.Option("--online", help="Folder of the service's keys; the old ones are kept beside.")
    ] = None,
    database: Database = None,
) -> None:
    """Give the service new keys: after a break-in, a loss, or a database that was restored from a copy."""
    import datetime

    from cogen_registry.metadata.keys import make_online

    place = online or root / "keys"
    part = place.with_name(f"{place.name}.new")
    shutil.rmtree(part, ignore_errors=True)
    made = make_online(part)
    kept = place.with_name(f"{place.name}.old-{datetime.datetime.now(datetime.UTC):%Y%m%d%H%M%S%f}")
    try:
        _renew(root, database, None, keys, "registry.rotate-online", new=made)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    before = place.exists()
    if before:
        place.rename(kept)
    part.rename(place)
    old = f"; delete {kept}" if before else ""
    echo(f"the service signs with the keys in {place} from now on{old}", err=True)


def rotate_root(
    root: Root,
    keys: Offline,
    new: Annotated[Path, typer.Option(help="New folder for the new keys.")],
    root_keys: Annotated[int, typer.Option(min=1, max=20)] = 3,
    threshold: Annotated[int, typer.Option(min=1)] = 2,
    online: Online = None,
    database: Database = None,
) -> None:
    """Replace the operator's keys: the old ones sign it, clients follow by themselves."""
    import os

    from cogen_registry.metadata import setup
    from cogen_registry.metadata.keys import make_offline

    if threshold > root_keys:
        raise Refused(400, f"{threshold} of {root_keys} keys can't sign", hint="--threshold is at most --root-keys")
    if new.exists():
        raise Refused(409, f"{new} exists already", hint="it may hold keys: name another")
    try:
        made = make_offline(new, root_keys, os.environ.get(_PASSWORD) or None)
        _renew(root, database, online, keys, "registry.rotate-root", own=made, threshold=threshold)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    with _opened(root, database) as sessions, sessions.read() as session:
        echo(setup.fingerprint(session))
    echo(f"the keys in {new} sign from now on; take them offline, and destroy the old ones", err=True)


@keys.command("revoke")
def key_revoke(
    fingerprint: Annotated[str, typer.Argument(help="sha256:…, as the publisher's page shows it.")],
    root: Root,
    reason: Annotated[str, typer.Option(help="One line, shown to everybody.")] = "",
    online: Online = None,
    database: Database = None,
) -> None:
    """Tell every client that nothing signed with this key is to be trusted; it can't be taken back."""
    import re

    from sqlalchemy import select

    from cogen_registry.audit import log
    from cogen_registry.cli_common import settle
    from cogen_registry.database import feed
    from cogen_registry.database.tables import Key, Publisher, now
    from cogen_registry.metadata import documents

    name = fingerprint.lower()
    if not re.fullmatch(r"sha256:[0-9a-f]{64}", name):
        raise Refused(400, f"{fingerprint!r} is not a fingerprint", hint="sha256: and 64 hex digits")
    with _signing(root, database, online) as (sessions, signer), sessions.write() as session:
        key = session.scalar(select(Key).where(Key.fingerprint == name))
        owner = session.scalar(select(Publisher.name).where(Publisher.id == key.publisher_id)) if key else None
        revocation = {
            "fingerprint": name,
            "publisher": owner,
            "by": "operator",
            "when": now().isoformat(),
            "reason": " ".join(reason.split())[:300],
        }
        if key is not None:  # the row before the signature: in the order of everybody else, who would wait for us
            key.revoked = key.revoked or now()
            session.flush()
        signer.change(session, files={documents.REVOCATIONS: documents.revocations(session, revocation)})
        if owner is not None:  # its pages and cards say it, too, in every process
            feed.change(session, "publisher", owner)
        log.record(session, log.operator(), "key.revoke", owner or name, key=name, reason=revocation["reason"] or None)
    settle()
    echo(f"revoked {name}" + (f" of {owner}" if owner else "; no publisher has it here"), err=True)


def project_recover(
    name: str,
    root: Root,
    reason: Annotated[str, typer.Option(help="One line, shown to everybody who knew the old keys.")],
    online: Online = None,
    database: Database = None,
) -> None:
    """Let a publisher who lost its keys begin anew; clients that know the old ones stop and say so."""
    from cogen_registry.admission.names import project_name
    from cogen_registry.audit import log
    from cogen_registry.names.chains import recover

    project, why = project_name(name), " ".join(reason.split())[:300]
    with _signing(root, database, online) as (sessions, signer), sessions.write() as session:
        signer.change(session, [project], files=recover(session, project, why))
        log.record(session, log.operator(), "project.recover", project, reason=why)
    echo(f"{project} may be signed with new keys: its publisher runs `cogen publish` again", err=True)


def _renew(
    root: Path,
    database: str | None,
    online: Path | None,
    offline: list[Path],
    action: str,
    *,
    new: Any = None,
    own: Any = None,
    threshold: int | None = None,
) -> None:
    """``new``: keys of the service, ``own``: of the operator, from now on. ``action``: for the audit log."""
    import os

    from cogen_registry.audit import log
    from cogen_registry.metadata import setup
    from cogen_registry.metadata.keys import load_offline, load_online

    signers = load_offline(offline, os.environ.get(_PASSWORD) or None)
    with _opened(root, database) as sessions:
        with sessions.read() as session:
            _check_signed(session, root)
        used = new or load_online(online or root / "keys")
        with sessions.write() as session:
            setup.renew(session, used, signers, new=new, keys=own, threshold=threshold)
            # The newest root, and who signed it: whoever asks later which keys were at hand finds them here.
            keys = sorted(f"sha256:{one.public_key.keyid}" for one in signers)
            log.record(session, log.operator(), action, setup.fingerprint(session), keys=keys, threshold=threshold)


@contextmanager
def _signing(root: Path, database: str | None, online: Path | None) -> Iterator[tuple[Any, Any]]:
    """Sessions, and the service's keys.

    :raises Refused: 404, 409
    """
    from cogen_registry.metadata.attach import attach
    from cogen_registry.settings import Settings

    with _opened(root, database) as sessions:
        signer = attach(sessions, Settings(root=root, database=database, keys=online).keys_folder)
        if signer is None:
            raise not_found("signed metadata", f"cogen-registry init --root {root}")
        yield sessions, signer


@contextmanager
def _opened(root: Path, database: str | None) -> Iterator[Sessions]:
    """Sessions of a registry, beside the process that serves it or without one; its tables are brought up to date."""
    from sqlalchemy.exc import SQLAlchemyError

    from cogen_registry.database.sessions import Sessions, connect, migrate
    from cogen_registry.settings import Settings

    root.mkdir(parents=True, exist_ok=True)
    engine = connect(Settings(root=root, database=database).database_url)
    try:
        try:
            migrate(engine)
        except SQLAlchemyError as error:
            reason = str(error).splitlines()[0]
            raise Refused(400, f"the database cannot be opened: {reason}", hint="check --database") from error
        yield Sessions(engine)
    finally:
        engine.dispose()
