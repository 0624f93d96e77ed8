"""`cogen-registry trusted-publisher …`: build machines that get their tokens by themselves."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cogen_registry.cli_common import Database, Json, Root, echo, opened, show
from cogen_registry.errors import Refused

trusted = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Trusted publishers: CI builds that publish without a long-lived token (OIDC).",
)


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(trusted, name="trusted-publisher")


@trusted.command("add")
def trusted_add(
    project: str,
    root: Root,
    issuer: Annotated[str, typer.Option(help="github, gitlab, or the URL of an OIDC issuer.")],
    subject: Annotated[str | None, typer.Option(help="The claim sub, exactly.")] = None,
    claims: Annotated[
        list[str] | None,
        typer.Option(help="That it must have, such as repository=org/name,workflow=release.yml,environment=publish."),
    ] = None,
    publisher: Annotated[str | None, typer.Option(help="Whose the project will be, where it is not there yet.")] = None,
    database: Database = None,
) -> None:
    """Let builds that prove these claims publish this project, with tokens of 15 minutes."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.trusted import add

    wanted = _claims(claims or [])
    if subject:
        wanted["sub"] = subject
    with opened(root, database) as service, service.sessions.write() as session:
        made = add(session, operator(), project, issuer, wanted, publisher)
        message = f"{made.id}: {made.issuer} may publish {made.project} for {made.publisher.name}"
    echo(message, err=True)


def _claims(items: list[str]) -> dict[str, str]:
    found = {}
    for item in [part for one in items for part in one.split(",") if part.strip()]:
        name, equals, value = item.strip().partition("=")
        if not name or not equals or not value:
            raise Refused(400, f"{item!r} is not a claim", hint="it looks like repository=org/name")
        found[name] = value
    return found


@trusted.command("list")
def trusted_list(
    root: Root,
    project: Annotated[str | None, typer.Argument(help="Of one project; default: all.")] = None,
    as_json: Json = False,
    database: Database = None,
) -> None:
    """Number, project, publisher, issuer, claims."""
    from packaging.utils import canonicalize_name

    from cogen_registry.operators.trusted import listed

    def rows() -> Any:
        for one in listed(session, str(canonicalize_name(project)) if project else None):
            yield {
                "id": one.id,
                "project": one.project,
                "publisher": one.publisher.name,
                "issuer": one.issuer,
                "claims": one.claims,
            }

    with opened(root, database) as service, service.sessions.read() as session:
        show(rows(), as_json)


@trusted.command("remove")
def trusted_remove(
    number: Annotated[int, typer.Argument(help="Its number in the list.")], root: Root, database: Database = None
) -> None:
    """Trust it no longer; tokens that it got end by themselves within 15 minutes."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.trusted import remove

    with opened(root, database) as service, service.sessions.write() as session:
        message = f"removed {remove(session, operator(), number).project}'s trusted publisher {number}"
    echo(message, err=True)
