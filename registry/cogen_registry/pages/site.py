"""Templates, and the way from a request to a page."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from cogen_registry.experts.routes import url_of
from cogen_registry.pages import formats
from cogen_registry.pages.cache import Cache, Page
from cogen_registry.pages.links import Links, Served, named
from cogen_registry.service import Service
from cogen_registry.tag_cache import ANYTHING

#: Nothing runs and nothing is loaded but our own style sheet and script; nobody frames a page or gets what is typed.
POLICY = {
    "default-src": "'none'",
    "style-src": "'self'",
    "script-src": "'self'",
    "img-src": "'self'",
    "connect-src": "'self'",
    "form-action": "'self'",
    "base-uri": "'none'",
}
HEADERS = {
    "Content-Security-Policy": "; ".join(f"{k} {v}" for k, v in POLICY.items()) + "; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    # A browser may keep a page, and asks each time whether it is still the same.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class Site:
    """What every page knows of the place where it stands. ``url``: as clients reach it, without a slash at its end."""

    title: str
    url: str
    links: Links
    #: Where the page stands, and where to report what is wrong with it; "": nowhere.
    path: str = ""
    contact: str = ""

    @property
    def report(self) -> str:
        """Where the link "Report" leads; "": there is none."""
        if self.contact:
            return self.contact
        return self.links.page("report", about=self.path or None) if self.links.live else ""


#: From a site to the name of a template and what it shows. ``keep`` and ``tags`` among it are for the cache: does it
#: stay the same, and until what changes? Without ``tags``, until anything does.
View = Callable[[Site], tuple[str, dict[str, Any]]]


def environment() -> Environment:
    """Everything is escaped; what a template asks for and nobody gave is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= formats.FILTERS
    made.tests |= formats.TESTS
    made.globals |= {"asset": named, "units": formats.UNITS, "shares": formats.SHARES, "leaves": formats.LEAVES}
    made.globals["policy"] = "; ".join(f"{key} {value}" for key, value in POLICY.items())
    return made


class Pages:
    """The pages of one service: templates, links, and those that were rendered."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.environment = environment()
        self.cache = Cache()
        service.follow(lambda heard: self.cache.drop(heard.tags), rank=2)
        prefix = urlsplit(service.settings.url).path if service.settings.url else ""
        self.links = Served(prefix)

    def site(self, request: Request) -> Site:
        settings = self.service.settings
        return Site(settings.title, url_of(self.service, request), self.links, request.url.path, settings.contact or "")

    def render(self, site: Site, view: View) -> Page:
        template, shown = view(site)
        keep, tags = bool(shown.pop("keep", True)), frozenset(shown.pop("tags", (ANYTHING,)))
        text = self.environment.get_template(template).render(site=site, links=site.links, **shown)
        return Page(text.encode(), keep, tags)

    def answer(self, request: Request, key: Hashable, view: View) -> Response:
        """The page, or 304 where the browser has it.

        :param key: what the page depends on beside the registry's state and the URL it is reached by.
        """
        site = self.site(request)
        page = self.cache.made((site.url, key), lambda: self.render(site, view))
        return respond(request, page)

    def known(self, request: Request, key: Hashable) -> Response | None:
        """The page if it was rendered before: this waits for nothing."""
        page = self.cache.get((url_of(self.service, request), key))
        return None if page is None else respond(request, page)


def respond(request: Request, page: Page, status: int = 200) -> Response:
    headers = HEADERS | {"ETag": page.etag}
    asked = request.headers.get("if-none-match", "")
    if status == 200 and page.etag in {one.strip().removeprefix("W/") for one in asked.split(",")}:
        return Response(status_code=304, headers=headers)
    return Response(page.body, status, headers, "text/html; charset=utf-8")


def pages_of(service: Service) -> Pages:
    """Those of a service; made at the first call."""
    return service.components.get_or_make(Pages, lambda: Pages(service))
