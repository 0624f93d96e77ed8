"""PEP 708: which pages of other indexes a project tracks, and which others it may be installed from.

pip is told that a name which two indexes have is one project only where both say so; else it is one of a stranger.
"""

from __future__ import annotations

import re

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from cogen_registry.audit import log
from cogen_registry.database import feed
from cogen_registry.database.tables import IndexLink
from cogen_registry.errors import Refused
from cogen_registry.operators.transfer import project_named

TRACKS, ALTERNATE = "tracks", "alternate-locations"
_MOST = 20


def set_links(
    session: Session, who: log.Actor, name: str, tracks: list[str], alternate: list[str], clear: bool = False
) -> list[tuple[str, str]]:
    """Add links, after forgetting all with ``clear``; what the project has then.

    :raises Refused: 400, it is not a URL; 404
    """
    project = project_named(session, name)
    wanted = [(TRACKS, _checked(url)) for url in tracks] + [(ALTERNATE, _checked(url)) for url in alternate]
    if clear:
        session.execute(delete(IndexLink).where(IndexLink.project_id == project.id))
    for kind, url in wanted:
        session.merge(IndexLink(project_id=project.id, kind=kind, url=url))
    session.flush()
    found = session.execute(
        select(IndexLink.kind, IndexLink.url)
        .where(IndexLink.project_id == project.id)
        .order_by(IndexLink.kind, IndexLink.url)
    ).all()
    if len(found) > _MOST:
        raise Refused(400, f"{project.name} has more than {_MOST} links", hint="begin again with --clear")
    if wanted or clear:
        links: dict[str, list[str]] = {TRACKS: [], ALTERNATE: []}
        for kind, url in found:
            links[kind].append(url)
        feed.change(session, "project", project.name)
        log.record(session, who, "project.link", project.name, links=links)
    return [(row.kind, row.url) for row in found]


def _checked(url: str) -> str:
    if not re.fullmatch(r"https?://[^\s\"'<>#?]+/", url) or len(url) > 500:
        raise Refused(
            400, f"{url!r} is not the page of a project", hint="such as https://pypi.org/simple/cogen-plugin-power/"
        )
    return url
