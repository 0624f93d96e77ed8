"""The front page, the list of experts with its filters, publishers, and lists of composites."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cogen_registry.errors import Refused
from cogen_registry.experts import composites, find, models
from cogen_registry.pages.site import Site
from cogen_registry.search.catalogue import ORDERS
from cogen_registry.search.index import Query, search_of
from cogen_registry.search.sizes import size_range
from cogen_registry.service import Service

PER_PAGE = 20
#: Values that a filter offers; any other one can be asked for by URL.
_OFFERED = 100
_NEWEST = 8
_DOMAINS = 40
#: What the filter by size offers: (value, what it is called).
SIZES = (
    ("<100M", "under 100 million"),
    ("100M-1B", "100 million to 1 billion"),
    ("1B-8B", "1 to 8 billion"),
    (">8B", "over 8 billion"),
)
SORTS = (("", "best match"), ("newest", "newest"), ("name", "name"), ("smallest", "smallest"), ("largest", "largest"))
_LONGEST = {"q": 1000, "size": 40, "language": 40}


@dataclass(frozen=True)
class BrowseQuery:
    """What the form asks for; hashable, so that it is the key of its page."""

    q: str = ""
    domain: str = ""
    language: str = ""
    license: str = ""
    base: str = ""
    publisher: str = ""
    size: str = ""
    sort: str = ""
    page: int = 1

    @classmethod
    def of(cls, query: Mapping[str, str]) -> BrowseQuery:
        """From a query string; fields that are not ours are left out.

        :raises Refused: 400
        """
        values = {name: " ".join(query.get(name, "").split()) for name in asdict(cls()) if name != "page"}
        values["license"] = values["license"] or " ".join(query.get("licence", "").split())  # links of before
        for name, value in values.items():
            if len(value) > _LONGEST.get(name, 300):
                raise Refused(400, f"{name} is longer than {_LONGEST.get(name, 300)} characters", hint="shorten it")
            if not value.isprintable():
                raise Refused(400, f"{name} holds characters that can't be printed", hint="type it again")
        page = query.get("page") or "1"
        if not re.fullmatch(r"[1-9]\d{0,4}", page, re.ASCII):
            raise Refused(400, f"{page[:20]!r} is not the number of a page", hint="pages begin with 1")
        if values["sort"] not in ("", "relevance", *ORDERS):
            raise Refused(400, "unknown sort order", hint="one of " + ", ".join(ORDERS))
        if values["size"]:
            size_range(values["size"])
        return cls(**values, page=int(page))

    @property
    def filtered(self) -> bool:
        return any(value for name, value in asdict(self).items() if name not in ("page", "sort"))

    def at(self, page: int) -> dict[str, Any]:
        """The query string of another page of the same list."""
        return asdict(self) | {"page": page if page > 1 else None}

    def query(self) -> Query:
        return Query(
            self.q,
            self.domain or None,
            self.language or None,
            self.license or None,
            self.base or None,
            self.publisher or None,
            size_range(self.size) if self.size else None,
            self.sort,
            PER_PAGE,
            (self.page - 1) * PER_PAGE,
        )


def home(service: Service, site: Site) -> tuple[str, dict[str, Any]]:
    """What is here, what is new, and where to begin."""
    newest = find.find(service, Query(limit=_NEWEST))
    facets = search_of(service).facets()
    made = composites.listed(service, limit=4)
    return "home.html.j2", {
        "total": newest.total,
        "newest": newest.items,
        "domains": facets["domain"][:_DOMAINS],
        "more_domains": max(0, len(facets["domain"]) - _DOMAINS),
        "publishers": len(facets["publisher"]),
        "composites": made,
        "meaning": service.settings.embedder != "none",
        "tags": {"experts", "composites", *_made_of(made)},
    }


def experts(service: Service, site: Site, query: BrowseQuery) -> tuple[str, dict[str, Any]]:
    """One page of the list.

    :raises Refused: 404, the list has no such page.
    """
    found = find.find(service, query.query())
    pages = max(1, -(-found.total // PER_PAGE))
    if query.page > pages:
        raise Refused(404, f"this list has {pages} page{'s' if pages > 1 else ''}", hint="begin with the first one")
    return "experts.html.j2", {
        "query": query,
        "found": found,
        "first": (query.page - 1) * PER_PAGE + 1,
        "pages": pages,
        "near": near(query.page, pages),
        "filters": filters(service, query),
        "sizes": SIZES,
        "sorts": SORTS,
        "tags": {"experts", "search"} if query.q else {"experts"},
        # While vectors are still missing the same question has a better answer a moment later.
        "keep": not (query.q and found.note),
    }


def near(page: int, pages: int) -> list[int | None]:
    """Pages to link: the first, the last and those around; ``None`` stands for those that are left out."""
    wanted = sorted({1, pages, *range(max(1, page - 2), min(pages, page + 2) + 1)})
    found: list[int | None] = []
    for one in wanted:
        if found and found[-1] is not None and one - found[-1] > 1:
            found.append(None)
        found.append(one)
    return found


def filters(service: Service, query: BrowseQuery) -> list[tuple[str, str, list[tuple[str, int | None]]]]:
    """(field, label, [(value, experts that have it)]); what was asked for is always among the values."""
    facets = search_of(service).facets()
    found = []
    for field, label in (("domain", "Domain"), ("language", "Language"), ("license", "License"), ("base", "Base")):
        named = [pair for pair in facets[field] if not re.fullmatch(r"(sha256:)?[0-9a-f]{64}", pair[0])]
        values: list[tuple[str, int | None]] = list(named[:_OFFERED])
        asked = getattr(query, field).lower()
        if asked and asked not in {value for value, _ in values}:
            values.insert(0, (asked, None))
        found.append((field, label, values))
    return found


def publisher(service: Service, site: Site, name: str) -> tuple[str, dict[str, Any]]:
    """:raises Refused: 404"""
    made = composites.listed(service, publisher=name, limit=100)
    return "publisher.html.j2", {
        "publisher": find.publisher_of(service, name),
        "composites": made,
        "tags": {f"publisher:{name}", "composites", *_made_of(made)},
    }


def composite_list(service: Service, site: Site, page: int) -> tuple[str, dict[str, Any]]:
    """:raises Refused: 404, the list has no such page."""
    found = composites.listed(service, limit=PER_PAGE, offset=(page - 1) * PER_PAGE)
    pages = max(1, -(-found.total // PER_PAGE))
    if page > pages:
        raise Refused(404, f"this list has {pages} page{'s' if pages > 1 else ''}", hint="begin with the first one")
    return "composites.html.j2", {
        "found": found,
        "page": page,
        "pages": pages,
        "near": near(page, pages),
        "tags": {"composites", *_made_of(found)},
    }


def _made_of(found: models.Composites) -> set[str]:
    """A list of composites says which of their experts are here."""
    return {f"expert:{part.id}" for item in found.items for part in item.experts}
