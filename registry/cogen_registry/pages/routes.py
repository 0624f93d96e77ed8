"""Routes: for people, so they are not in our own description of the API."""

from __future__ import annotations

import re

from fastapi import APIRouter, Request, Response

from cogen_registry.errors import Refused, not_found
from cogen_registry.experts import composites
from cogen_registry.pages import browse, docs, report
from cogen_registry.pages import composite as composite_page
from cogen_registry.pages import expert as expert_page
from cogen_registry.pages.links import assets
from cogen_registry.pages.site import HEADERS, pages_of
from cogen_registry.service import Service

_KINDS = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}
_READ = ["GET", "HEAD"]


def router(service: Service) -> APIRouter:
    routes = APIRouter(include_in_schema=False)
    _browsing(routes, service)
    _experts(routes, service)
    _composites(routes, service)
    report.add_routes(routes, service)
    return routes


def _browsing(routes: APIRouter, service: Service) -> None:
    pages = pages_of(service)

    @routes.api_route("/", methods=_READ)
    def home(request: Request) -> Response:
        return pages.answer(request, "home", lambda site: browse.home(service, site))

    @routes.api_route("/experts", methods=_READ)
    def experts(request: Request) -> Response:
        query = browse.BrowseQuery.of(request.query_params)
        return pages.answer(request, query, lambda site: browse.experts(service, site, query))

    @routes.api_route("/docs", methods=_READ)
    def api(request: Request) -> Response:
        return pages.answer(request, "docs", lambda site: docs.docs(site, request.app.openapi()))

    @routes.api_route("/publishers/{name}", methods=_READ)
    def publisher(request: Request, name: str) -> Response:
        return pages.answer(request, ("publisher", name), lambda site: browse.publisher(service, site, name))

    @routes.api_route("/static/{name}", methods=_READ)
    def static(name: str) -> Response:
        if (content := assets().get(name)) is None:
            raise not_found("such file", "load the page again")
        headers = HEADERS | {"Cache-Control": "public, max-age=31536000, immutable"}
        return Response(content, 200, headers, _KINDS[name.rpartition(".")[2]])


def _experts(routes: APIRouter, service: Service) -> None:
    pages = pages_of(service)

    @routes.api_route("/experts/{id}", methods=_READ)
    def current(request: Request, id: str) -> Response:
        return pages.answer(request, ("expert", id, None), lambda site: expert_page.expert(service, site, id))

    @routes.api_route("/experts/{id}/{version}", methods=_READ)
    def version(request: Request, id: str, version: str) -> Response:
        return pages.answer(
            request, ("expert", id, version), lambda site: expert_page.expert(service, site, id, version)
        )

    @routes.api_route("/compare", methods=_READ)
    def compare(request: Request) -> Response:
        ids = tuple(request.query_params.getlist("id"))
        return pages.answer(request, ("compare", ids), lambda site: expert_page.compare(service, site, ids))


def _composites(routes: APIRouter, service: Service) -> None:
    pages = pages_of(service)

    @routes.api_route("/composites", methods=_READ)
    def listed(request: Request) -> Response:
        page = _number(request.query_params.get("page") or "1")
        return pages.answer(request, ("composites", page), lambda site: browse.composite_list(service, site, page))

    @routes.api_route("/composites/{publisher}/{name}", methods=_READ)
    def newest(request: Request, publisher: str, name: str) -> Response:
        return pages.answer(
            request,
            ("composite", publisher, name, None),
            lambda site: composite_page.composite(service, site, publisher, name),
        )

    @routes.api_route("/composites/{publisher}/{name}/{version}", methods=_READ)
    def version(request: Request, publisher: str, name: str, version: str) -> Response:
        number = _number(version)
        return pages.answer(
            request,
            ("composite", publisher, name, number),
            lambda site: composite_page.composite(service, site, publisher, name, number),
        )

    @routes.api_route("/composites/{publisher}/{name}/{version}/cogen.lock", methods=_READ)
    def lock(publisher: str, name: str, version: str) -> Response:
        found = composites.one(service, publisher, name, _number(version))
        headers = {"Content-Disposition": 'attachment; filename="cogen.lock"', "X-Content-Type-Options": "nosniff"}
        return Response(composite_page.lock_file(found.lock), 200, headers, "application/json")


def _number(text: str) -> int:
    """:raises Refused: 400"""
    if not re.fullmatch(r"[1-9]\d{0,4}", text, re.ASCII):
        raise Refused(400, f"{text[:20]!r} is not a number from 1", hint="leave it out")
    return int(text)
