"""`cogen-registry takedown, restore, takedowns, release-hold, log, reports`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cogen_registry.cli_common import Database, Json, Reason, Root, echo, opened, settle, show

Kind = Annotated[
    str, typer.Argument(metavar="KIND", help="release, expert, repository, publisher, composite, evaluation")
]
Name = Annotated[str, typer.Argument(metavar="NAME[==VERSION]")]
Blobs = Annotated[str | None, typer.Option(help="Object store, as for serve: s3://bucket/prefix.")]


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.command("takedown")(takedown)
    app.command("restore")(restore)
    app.command("release-hold")(release_hold)
    app.command("takedowns")(takedowns)
    app.command("log")(log_)
    app.command("reports")(reports)


def takedown(
    kind: Kind,
    name: Name,
    root: Root,
    reason: Annotated[str, typer.Option(help="Public reason, one line.")],
    purge: Annotated[
        bool, typer.Option("--purge", help="Permanently delete the bytes that nothing else refers to.")
    ] = False,
    legal_hold: Annotated[
        bool, typer.Option("--legal-hold", help="Keep the bytes: nobody may purge them until release-hold.")
    ] = False,
    legal: Annotated[bool, typer.Option("--legal", help="Answer with 451 instead of 410.")] = False,
    database: Database = None,
    blobs: Blobs = None,
) -> None:
    """Hide something at once, everywhere; its names stay taken, and who asks is told why."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.purge import finish
    from cogen_registry.operators.takedown import Subject, take_down

    subject = Subject.of(kind, name)
    with opened(root, database, blobs) as service:
        with service.sessions.write() as session:
            rows = take_down(session, operator(), subject, reason, purge=purge, hold=legal_hold, legal=legal)
        settle()
        echo(f"took down {subject}: {rows:,} row{'' if rows == 1 else 's'} hidden", err=True)
        if purge and not finish(service):
            echo("its bytes are deleted by the service, at its next start if none runs", err=True)


def restore(kind: Kind, name: Name, root: Root, reason: Reason = "", database: Database = None) -> None:
    """Restore something that was taken down and not purged."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.takedown import Subject
    from cogen_registry.operators.takedown import restore as restored

    subject = Subject.of(kind, name)
    with opened(root, database) as service, service.sessions.write() as session:
        rows = restored(session, operator(), subject, reason)
    settle()
    echo(f"restored {subject}: {rows:,} row{'' if rows == 1 else 's'} shown again", err=True)


def release_hold(kind: Kind, name: Name, root: Root, reason: Reason, database: Database = None) -> None:
    """End a legal hold: it stays hidden, and may be restored or purged."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.takedown import Subject
    from cogen_registry.operators.takedown import release_hold as released

    subject = Subject.of(kind, name)
    with opened(root, database) as service, service.sessions.write() as session:
        released(session, operator(), subject, reason)
    echo(f"released the legal hold on {subject}", err=True)


def takedowns(
    root: Root,
    every: Annotated[bool, typer.Option("--all", help="Also those that were lifted.")] = False,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """List takedowns: kind, name, state, date, operator, reason."""
    from cogen_registry.operators.takedown import listed

    def rows() -> Any:
        for one in listed(session, every):
            yield {
                "kind": one.kind,
                "name": one.subject + (f"=={one.version}" if one.version else ""),
                "state": _state(one),
                "since": f"{one.created:%Y-%m-%d %H:%M}",
                "by": one.by,
                "reason": one.reason,
            }

    with opened(root, database) as service, service.sessions.read() as session:
        show(rows(), as_json)


def _state(one: Any) -> str:
    if one.lifted:
        return f"lifted {one.lifted:%Y-%m-%d} by {one.lifted_by}"
    if one.purged:
        return f"purged {one.purged:%Y-%m-%d}"
    if one.held and not one.released:
        return f"held since {one.held:%Y-%m-%d} by {one.held_by}"
    if one.released:
        return f"hidden, hold released {one.released:%Y-%m-%d} by {one.released_by}"
    return "hidden"


def log_(
    root: Root,
    publisher: Annotated[str | None, typer.Option(help="Only what this publisher's tokens did.")] = None,
    subject: Annotated[str | None, typer.Option(help="What was done to it, or to what begins with it.")] = None,
    since: Annotated[str | None, typer.Option(help="In UTC: 2026-01-31 or 2026-01-31T12:00.")] = None,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Who did what, the oldest first: moment, who, token, address, action, subject, details."""
    import datetime

    from cogen_registry.audit.log import entries
    from cogen_registry.errors import Refused

    moment = None
    if since:
        try:
            parsed = datetime.datetime.fromisoformat(since)
        except ValueError:
            raise Refused(
                400, f"{since!r} is not a moment", hint="it looks like 2026-01-31 or 2026-01-31T12:00"
            ) from None
        utc = parsed.replace(tzinfo=parsed.tzinfo or datetime.UTC).astimezone(datetime.UTC)
        moment = utc.isoformat(timespec="microseconds")

    def rows() -> Any:
        for one in entries(session, publisher, subject, moment):
            yield {
                "moment": one.moment,
                "publisher" if one.publisher else "operator": one.publisher or one.operator,
                "token": one.token_id,
                "address": one.address,
                "action": one.action,
                "subject": one.subject,
                "detail": one.detail,
            } | ({"id": one.id, "digest": one.digest} if as_json else {})

    with opened(root, database) as service, service.sessions.read() as session:
        show(rows(), as_json)


def reports(
    root: Root,
    close: Annotated[int | None, typer.Option(help="Number of a report that was looked at.")] = None,
    answer: Annotated[str, typer.Option(help="What was done about it.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Also those that are closed.")] = False,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """What readers reported and nobody closed yet: number, moment, page, kind, what they say, how to reach them."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.reports import closed, listed

    with opened(root, database) as service:
        if close is not None:
            with service.sessions.write() as session:
                closed(session, operator(), close, answer)
            echo(f"closed report {close}", err=True)
            return
        with service.sessions.read() as session:
            show(listed(session, every), as_json)
