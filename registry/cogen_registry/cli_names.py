"""`cogen-registry project …` and `cogen-registry names …`: who has which name."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cogen_registry.cli_common import Database, Json, Reason, Root, echo, opened, publisher_named, settle, show
from cogen_registry.errors import Refused

projects = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Owners of projects, and their pages on other indexes."
)
names = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Prohibited names, and exceptions.")


def register(app: typer.Typer) -> None:
    """Add these commands."""
    app.add_typer(projects, name="project")
    app.add_typer(names, name="names")


@projects.command("transfer")
def project_transfer(
    name: str,
    publisher: Annotated[str, typer.Argument(metavar="NEW-PUBLISHER")],
    root: Root,
    reason: Reason = "",
    database: Database = None,
) -> None:
    """Transfer a project to another publisher.

    What was published stays under the name and signature of its publisher.
    """
    from cogen_registry.audit.log import operator
    from cogen_registry.names.chains import roots_of
    from cogen_registry.operators.transfer import transfer

    with opened(root, database) as service, service.sessions.write() as session:
        project, before = transfer(session, operator(), name, publisher, reason)
        signed = bool(roots_of(session, project))
    settle()
    echo(f"{project} went from {before} to {publisher}; who pinned {before} is told at the next update", err=True)
    if signed:
        echo(
            f"hint: it is bound to keys of {before}, which have to sign those of {publisher}; where they cannot: "
            f"cogen-registry project recover {project}",
            err=True,
        )


@projects.command("link")
def project_link(
    name: str,
    root: Root,
    tracks: Annotated[list[str] | None, typer.Option(help="It is the same as this page of another index.")] = None,
    alternate: Annotated[list[str] | None, typer.Option(help="It may be installed from this one as well.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Forget all links first.")] = False,
    database: Database = None,
) -> None:
    """Say where else a project is (PEP 708); without options, print what was said."""
    from cogen_registry.audit.log import operator
    from cogen_registry.operators.links import set_links

    with opened(root, database) as service, service.sessions.write() as session:
        found = set_links(session, operator(), name, tracks or [], alternate or [], clear)
    settle()
    for kind, url in found:
        echo(f"{kind}\t{url}")


@names.command("prohibit")
def names_prohibit(
    pattern: Annotated[str, typer.Argument(help="A name; * and ? are wildcards.")],
    root: Root,
    reason: Annotated[str, typer.Option(help="Told to whoever asks for such a name.")],
    database: Database = None,
) -> None:
    """Let nobody take names like this, nor those that look so. Names that are taken stay."""
    from cogen_registry.admission.rules import checked_pattern
    from cogen_registry.audit import log
    from cogen_registry.database.tables import Prohibited

    normal, why = checked_pattern(pattern), " ".join(reason.split())
    if not why:
        raise Refused(400, "a prohibition needs a reason", hint='--reason "…", one line')
    with opened(root, database) as service, service.sessions.write() as session:
        session.merge(Prohibited(pattern=normal, reason=why[:300]))
        log.record(session, log.operator(), "names.prohibit", normal, reason=why[:300])
    echo(f"prohibited {normal}", err=True)


@names.command("allow")
def names_allow(pattern: str, root: Root, database: Database = None) -> None:
    """Remove a prohibition."""
    from cogen_registry.admission.rules import checked_pattern
    from cogen_registry.audit import log
    from cogen_registry.database.tables import Prohibited

    normal = checked_pattern(pattern)
    with opened(root, database) as service, service.sessions.write() as session:
        found = session.get(Prohibited, normal)
        if found is None:
            raise Refused(404, f"{normal} is not prohibited", hint="`cogen-registry names list` shows what is")
        session.delete(found)
        log.record(session, log.operator(), "names.allow", normal)
    echo(f"allowed {normal}", err=True)


@names.command("consent")
def names_consent(name: str, publisher: str, root: Root, database: Database = None) -> None:
    """Let this team take a name although it is prohibited, or close to one that people install."""
    from packaging.utils import canonicalize_name

    from cogen_registry.audit import log
    from cogen_registry.database.tables import Consent

    normal = str(canonicalize_name(name))
    with opened(root, database) as service, service.sessions.write() as session:
        owner = publisher_named(session, publisher)
        if session.get(Consent, (normal, owner.id)) is None:
            session.add(Consent(name=normal, publisher_id=owner.id))
            log.record(session, log.operator(), "names.consent", normal, publisher=publisher)
    echo(f"{publisher} may take {normal}", err=True)


@names.command("list")
def names_list(root: Root, as_json: Json = False, database: Database = None) -> None:
    """Prohibited patterns with their reasons, then names that a team was allowed to take."""
    from sqlalchemy import select

    from cogen_registry.database.tables import Consent, Prohibited, Publisher

    def rows() -> Any:
        for rule in session.scalars(select(Prohibited).order_by(Prohibited.pattern)):
            yield {"kind": "prohibited", "name": rule.pattern, "reason": rule.reason}
        consents = select(Consent.name, Publisher.name).join(Publisher, Consent.publisher_id == Publisher.id)
        for name, publisher in session.execute(consents.order_by(Consent.name, Publisher.name)):
            yield {"kind": "consent", "name": name, "publisher": publisher}

    with opened(root, database) as service, service.sessions.read() as session:
        show(rows(), as_json)
