"""Run and administer a registry of experts."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.cli import streams
from cogen.errors import CogenError
from cogen.system_errors import describe
from cogen.untrusted.printable import one_line
from cogen_registry import cli_metadata, cli_names, cli_operators, cli_trusted
from cogen_registry.cli_common import Database, Root, echo
from cogen_registry.cli_common import publisher_named as _publisher
from cogen_registry.cli_common import sessions as _sessions
from cogen_registry.cli_metadata import check_initialised
from cogen_registry.errors import Refused

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from cogen_registry.settings import Settings

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode=None, help=__doc__)
#: Days that a token is good for, unless somebody says otherwise.
_DAYS = 90.0
publishers = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Publishers: teams that may publish here.")
tokens = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="API tokens of publishers.")
app.add_typer(publishers, name="publisher")
app.add_typer(tokens, name="token")
cli_metadata.register(app)

cli_operators.register(app)
cli_names.register(app)
cli_names.projects.command("recover")(cli_metadata.project_recover)  # of one group, whoever wrote it
cli_trusted.register(app)


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line; a mistake of the operator ends in one line and a hint."""
    if args is None:
        streams.prepare()
    try:
        # Outside of its standalone mode typer returns the code of an Exit, else what the command returned: nothing.
        code = app(list(sys.argv[1:] if args is None else args), standalone_mode=False)
    except (Refused, CogenError) as error:
        return _say(error.message, error.hint)
    except BrokenPipeError:  # who reads has read enough
        streams.discard(sys.stdout)
        return 0
    except OSError as error:
        return _say(*describe(error))
    except Exception as error:
        if hasattr(error, "format_message"):
            return _say(error.format_message(), "see `cogen-registry --help`")
        raise
    finally:
        streams.settle()
    return code if isinstance(code, int) else 0


def _say(message: str, hint: str | None) -> int:
    echo(f"error: {one_line(message)}", err=True)
    if hint:
        echo(f"hint: {one_line(hint)}", err=True)
    return 1


@app.command()
def serve(
    root: Root,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0: any free one, which is printed.")] = 8000,
    database: Database = None,
    blobs: Annotated[
        str | None, typer.Option(help="Object store for blobs (s3://bucket/prefix); default: files in ROOT.")
    ] = None,
    url: Annotated[str | None, typer.Option(help="Public URL of this service, where it is behind a proxy.")] = None,
    title: Annotated[str | None, typer.Option(help='Title of the pages; default: "CoGen registry".')] = None,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="Embedding model for semantic search: minilm (English; default), multilingual, a source URI or a "
            'folder; "none" disables it.'
        ),
    ] = None,
    settings: Annotated[Path | None, typer.Option(help="TOML file with settings; options take precedence.")] = None,
) -> None:
    """Run the service until it is interrupted."""
    import socket

    import uvicorn

    from cogen_registry.app import create_app
    from cogen_registry.connections import watched

    options: dict[str, Any] = {
        "root": root,
        "database": database,
        "blobs": blobs,
        "url": url,
        "title": title,
        "embedder": embedder,
    }
    chosen = chosen_settings(settings, options)
    check_initialised(chosen)
    try:
        listening = socket.create_server((host, port), backlog=512)
    except OSError as error:
        raise Refused(
            400, f"{host}:{port} cannot be listened on: {error.strerror}", hint="choose another --port"
        ) from error
    with listening:
        config = uvicorn.Config(
            create_app(chosen),
            access_log=False,
            log_level="warning",
            timeout_keep_alive=30,
            server_header=False,
            http=watched(chosen.limits, chosen.proxies),
            ws="none",
            proxy_headers=bool(chosen.proxies),
            forwarded_allow_ips=list(chosen.proxies),
        )
        # A thread that works on an upload lets the loop, which answers everybody, go on after so long (5 ms by default:
        # at 2,000 answers a second each waits for that twice).
        sys.setswitchinterval(0.0005)
        echo(f"serving {root} at http://{host}:{listening.getsockname()[1]}", err=True)
        uvicorn.Server(config).run(sockets=[listening])


def chosen_settings(file: Path | None, options: Mapping[str, Any]) -> Settings:
    """What a TOML file says, and the options that were given over it.

    :raises Refused: 400, the file is not there, is no TOML, or says something that no setting is.
    """
    import tomllib

    from pydantic import ValidationError

    from cogen_registry.settings import Settings

    try:
        known = tomllib.loads(file.read_text(encoding="utf-8")) if file else {}
        return Settings.model_validate(known | {key: value for key, value in options.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, tomllib.TOMLDecodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise Refused(400, f"{file or 'an option'} cannot be used: {reason}", hint="docs/fields.md lists all settings")


@app.command("export")
def export_(
    target: Annotated[Path, typer.Argument(metavar="DIR", help="A new folder, or an existing mirror to update.")],
    root: Root,
    url: Annotated[str | None, typer.Option(help="URL of the mirror, for the commands shown on its pages.")] = None,
    title: Annotated[str, typer.Option(help="Shown on the pages.")] = "CoGen registry",
    contact: Annotated[
        str | None, typer.Option(help="Contact for reports: mailto:… or a URL; default: no link.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Copy all files, also those that look unchanged.")] = False,
    database: Database = None,
    blobs: Annotated[str | None, typer.Option(help="Object store, as for serve: s3://bucket/prefix.")] = None,
) -> None:
    """Export a static mirror for any web server or object store; the service may keep running."""
    from cogen_registry.export import export

    settings = chosen_settings(
        None,
        {"root": root, "database": database, "blobs": blobs, "title": title, "embedder": "none", "contact": contact},
    )
    with _progress("documents") as report:
        done = export(settings, target, _checked_url(url), fresh=fresh, report=report)
    echo(
        f"{target}: {done.experts:,} experts, {done.files:,} files, {done.kept:,} of them as before, "
        f"{done.written:,} bytes written",
        err=True,
    )


@app.command("check")
def check_(
    root: Root,
    quick: Annotated[bool, typer.Option("--quick", help="Check the sizes of blobs, not their contents.")] = False,
    database: Database = None,
    blobs: Annotated[str | None, typer.Option(help="Object store, as for serve: s3://bucket/prefix.")] = None,
) -> None:
    """Verify every blob and every row; print one line for each damaged one and exit with code 1."""
    from cogen_registry.check import check
    from cogen_registry.readonly import open_readonly

    with open_readonly(_settings(root, database, blobs)) as service, _progress("bytes") as report:
        read = 0

        def advance(size: int) -> None:
            nonlocal read
            read += size
            report(read, 0)

        found = check(service, quick=quick, advance=advance)
    for line in found.damage:
        echo(line)
    echo(f"newest entry of the audit log: {found.head}", err=True)
    left = f", {found.unnamed:,} of them named by nothing" if found.unnamed else ""
    echo(
        f"{found.blobs:,} blobs{left}, {found.bytes:,} bytes, {found.rows:,} names of blobs: "
        + (f"{len(found.damage):,} damaged" if found.damage else "all whole"),
        err=True,
    )
    if found.damage:
        raise typer.Exit(1)


def _settings(root: Path, database: str | None, blobs: str | None, title: str = "CoGen registry") -> Settings:
    """Of a registry that is only read: without a model."""
    from cogen_registry.settings import Settings

    return Settings(root=root, database=database, blobs=blobs, title=title, embedder="none")


def _checked_url(url: str | None) -> str | None:
    if url is not None and not re.fullmatch(r"https?://[^\s/?#\"'<>]+(/[^\s?#\"'<>]*)?", url):
        raise Refused(400, f"{url!r} is not where a mirror can be", hint="for example https://models.example.org")
    return url


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A line on a terminal that says how far it is, twice a second."""
    import time

    last, shown = 0.0, False

    def report(done: int, total: int) -> None:
        nonlocal last, shown
        if sys.stderr.isatty() and time.monotonic() - last > 0.5:
            last, shown = time.monotonic(), True
            typer.echo(f"\r{done:,} {f'of {total:,} ' if total else ''}{one_line(what)}", err=True, nl=False)

    try:
        yield report
    finally:
        if shown:
            typer.echo("", err=True)


@publishers.command("add")
def publisher_add(
    name: Annotated[str, typer.Argument(help="Also its namespace for weights: NAME/repository.")],
    root: Root,
    title: Annotated[str, typer.Option(help="Its full name.")] = "",
    scope: Annotated[
        list[str] | None, typer.Option(help="Print its first token with these scopes, as `token new` does.")
    ] = None,
    database: Database = None,
) -> None:
    """Add a publisher."""
    from sqlalchemy import select

    from cogen_registry.admission.names import RESERVED
    from cogen_registry.admission.rules import check_prohibited
    from cogen_registry.audit import log
    from cogen_registry.auth import checked_scopes
    from cogen_registry.database import feed
    from cogen_registry.database.tables import Publisher

    scopes = checked_scopes(scope) if scope else None
    if not re.fullmatch(r"[a-z0-9](?:[a-z0-9]|-(?=[a-z0-9])){0,62}", name) or name in RESERVED:
        raise Refused(400, f"{name!r} can't be a publisher's name", hint="lower-case letters, digits and single dashes")
    with _sessions(root, database).write() as session:
        if session.scalar(select(Publisher).where(Publisher.name == name)):
            raise Refused(
                409, f"there is a publisher {name!r} already", hint="`cogen-registry publisher list` shows it"
            )
        check_prohibited(session, name)
        session.add(Publisher(name=name, title=title or name, limits={}))
        session.flush()
        feed.change(session, "publisher", name)
        log.record(session, log.operator(), "publisher.add", name, title=title or None)
        secret = _new_token(session, name, scopes, "first", _DAYS) if scopes else None
    echo(f"added {name}", err=True)
    if secret:
        echo(secret)


@publishers.command("list")
def publisher_list(root: Root, database: Database = None) -> None:
    """List publishers: name, bytes stored, own limits, full name."""
    from cogen_registry.overview import publishers

    _show(root, database, publishers)


@publishers.command("set")
def publisher_set(
    name: str,
    root: Root,
    limit: Annotated[list[str], typer.Option(help="FIELD=BYTES, such as wheel=50000000.")],
    database: Database = None,
) -> None:
    """Set limits for one publisher."""
    from cogen_registry.audit import log
    from cogen_registry.settings import Limits

    with _sessions(root, database).write() as session:
        publisher = _publisher(session, name)
        limits = dict(publisher.limits)
        for item in limit:
            field, _, value = item.partition("=")
            known = [name for name, one in Limits.model_fields.items() if one.annotation in (int, float)]
            if field not in known or not value.isdigit():
                raise Refused(400, f"{item!r} is not a limit", hint="one of " + ", ".join(known))
            limits[field] = int(value)
        publisher.limits = limits
        log.record(session, log.operator(), "publisher.set", name, limits=limits)
    echo(f"{name}: " + " ".join(f"{field}={value}" for field, value in sorted(limits.items())), err=True)


@tokens.command("new")
def token_new(
    publisher: str,
    root: Root,
    scope: Annotated[
        list[str] | None, typer.Option(help="packages, packages:PROJECT, weights, evaluations, keys; or all.")
    ] = None,
    label: Annotated[str, typer.Option(help="What it is for.")] = "",
    days: Annotated[float, typer.Option(min=0.001, max=36500, help="Until it expires.")] = _DAYS,
    no_expiry: Annotated[bool, typer.Option("--no-expiry", help="Valid until it is revoked.")] = False,
    database: Database = None,
) -> None:
    """Create a token and print it to stdout; it cannot be shown again."""
    from cogen_registry.auth import checked_scopes

    scopes = checked_scopes(scope or [])
    with _sessions(root, database).write() as session:
        secret = _new_token(session, publisher, scopes, label, None if no_expiry else days)
    echo(secret)


def _new_token(session: Session, publisher: str, scopes: list[str], label: str, days: float | None) -> str:
    """The secret of a new token; ``days``: until it expires, ``None``: never."""
    import datetime

    from cogen_registry.audit import log
    from cogen_registry.auth import made_token
    from cogen_registry.database.tables import now

    expires = None if days is None else now() + datetime.timedelta(days=days)
    secret, row = made_token(session, _publisher(session, publisher), scopes, label[:100], expires)
    until = f"{expires:%Y-%m-%d}" if expires else None
    log.record(
        session, log.operator(), "token.new", publisher, token=row.id, scopes=scopes, label=label or None, expires=until
    )
    return secret


@tokens.command("list")
def token_list(
    root: Root,
    publisher: Annotated[str | None, typer.Argument(help="Of one team; default: all.")] = None,
    database: Database = None,
) -> None:
    """List tokens: number, publisher, state, scopes, label, last use."""
    from cogen_registry.overview import tokens

    _show(root, database, lambda session: tokens(session, publisher))


@tokens.command("revoke")
def token_revoke(
    token: Annotated[str, typer.Argument(help="Its number in `token list`, or the token itself.")],
    root: Root,
    database: Database = None,
) -> None:
    """Revoke a token immediately."""
    from cogen_registry.audit import log
    from cogen_registry.auth import digest
    from cogen_registry.database.tables import now
    from cogen_registry.overview import token_named

    with _sessions(root, database).write() as session:
        found = token_named(session, token, digest(token))
        if found.revoked is None:
            found.revoked = now()
            log.record(session, log.operator(), "token.revoke", found.publisher.name, token=found.id)
        message = f"revoked token {found.id} of {found.publisher.name}"
    echo(message, err=True)


@app.command("quarantine")
def quarantine_(root: Root, database: Database = None) -> None:
    """List quarantined releases: publisher, since when, reason."""
    from cogen_registry.overview import quarantine

    _show(root, database, quarantine)


def _show(root: Path, database: str | None, lines: Callable[[Session], Iterator[tuple[str, ...]]]) -> None:
    """A table on stdout, its cells parted by tabs."""
    from cogen_registry.readonly import open_readonly

    with open_readonly(_settings(root, database, None)) as service, service.sessions.read() as session:
        for cells in lines(session):
            echo("\t".join(cells))


if __name__ == "__main__":
    sys.exit(main())
