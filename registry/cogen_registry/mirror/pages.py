"""Pages for people with relative links; what only a service can do (search, compare) is left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import select

from cogen_registry.audit.removals import shown
from cogen_registry.database.tables import Publisher
from cogen_registry.experts import composites, find
from cogen_registry.mirror.api import Versions, composite_versions
from cogen_registry.mirror.tree import Tree
from cogen_registry.pages import browse, composite, expert
from cogen_registry.pages.links import Mirrored, assets
from cogen_registry.pages.site import Site, View, environment
from cogen_registry.search.index import Query
from cogen_registry.service import Service

#: Where nobody said what the mirror's URL will be; the pages' script puts the real one in its place.
UNKNOWN = "https://THIS-MIRROR"
#: Experts on one page of the list.
PER_PAGE = 200


class Writer:
    """Renders views into files: ``folder/name``, index.html where nothing else is said."""

    def __init__(self, service: Service, tree: Tree, url: str | None) -> None:
        self.service, self.tree = service, tree
        self.url = (url or UNKNOWN).rstrip("/")
        self.environment = environment()

    def write(self, view: View, *folder: str, name: str = "index.html") -> None:
        settings = self.service.settings
        site = Site(settings.title, self.url, Mirrored(*folder), contact=settings.contact or "")
        template, shown = view(site)
        text = self.environment.get_template(template).render(site=site, links=site.links, **shown)
        self.tree.put([*folder, name], text.encode())


def write_pages(
    service: Service, tree: Tree, url: str | None, found: Versions, advance: Callable[[], None] = lambda: None
) -> None:
    """Front page, list, every expert in every version, publishers, composites, style sheet and script."""
    writer = Writer(service, tree, url)
    for name, data in assets().items():
        tree.put(["static", name], data)
    writer.write(lambda site: browse.home(service, site))
    _list(writer)
    for id in dict.fromkeys(id for id, _ in found):
        writer.write(_expert(service, id), "experts", id)
        advance()
    for id, version in found:
        writer.write(_expert(service, id, version), "experts", id, version)
        advance()
    with service.sessions.read() as session:
        visible = select(Publisher.name).where(shown("publisher", Publisher.id))
        publishers = session.scalars(visible.order_by(Publisher.name)).all()
    for name in publishers:
        writer.write(_publisher(service, name), "publishers", name)
    _composites(writer)


def _expert(service: Service, id: str, version: str | None = None) -> View:
    return lambda site: expert.expert(service, site, id, version)


def _shown(template: str, values: dict[str, Any]) -> View:
    return lambda site: (template, values)


def _publisher(service: Service, name: str) -> View:
    return lambda site: browse.publisher(service, site, name)


def _list(writer: Writer) -> None:
    """``experts/index.html``, ``experts/2.html``, …: no expert's id begins with a digit."""
    page, pages = 1, 1
    while page <= pages:
        query = Query(limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
        cards = find.find(writer.service, query)
        pages = max(1, -(-cards.total // PER_PAGE))
        shown = {
            "total": cards.total,
            "cards": cards.items,
            "first": query.offset + 1,
            "page": page,
            "pages": pages,
            "near": browse.near(page, pages),
        }
        name = "index.html" if page == 1 else f"{page}.html"
        writer.write(_shown("all_experts.html.j2", shown), "experts", name=name)
        page += 1


def _composites(writer: Writer) -> None:
    service = writer.service
    found = composites.listed(service, limit=10**9)
    writer.write(lambda site: ("composites.html.j2", {"found": found, "page": 1, "pages": 1, "near": []}), "composites")
    for publisher, name, version in composite_versions(service):
        made = lambda site, of=(publisher, name, version): composite.composite(service, site, *of)  # noqa: E731
        writer.write(made, "composites", publisher, name)  # versions come in order: the newest stays
        writer.write(made, "composites", publisher, name, str(version))
        lock = composites.one(service, publisher, name, version).lock
        path = ["composites", publisher, name, str(version), "cogen.lock"]
        writer.tree.put(path, composite.lock_file(lock))
