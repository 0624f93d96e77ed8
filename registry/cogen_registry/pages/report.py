"""The form that readers say with what is wrong with a page; it works without JavaScript."""

from __future__ import annotations

import secrets
from urllib.parse import parse_qs, urlsplit

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from cogen_registry.auth import address_of
from cogen_registry.errors import Refused
from cogen_registry.operators import reports
from cogen_registry.pages.cache import Page
from cogen_registry.pages.site import Pages, pages_of, respond
from cogen_registry.service import Service

_FIELDS = ("about", "kind", "text", "contact", "signed")


def add_routes(routes: APIRouter, service: Service) -> None:
    """``GET /report`` shows the form, ``POST /report`` takes it; both lead elsewhere where the operator says so."""
    pages, forms = pages_of(service), reports.Forms(_secret(service))

    @routes.api_route("/report", methods=["GET", "HEAD"])
    def form(request: Request) -> Response:
        if service.settings.contact:
            hint = f"write to {service.settings.contact.removeprefix('mailto:')}"
            raise Refused(404, "reports are not taken by a form here", hint=hint)
        about = _place(request)
        values = {"about": about, "signed": forms.sign(about), "kinds": reports.KINDS, "most": reports.TEXT}
        return _page(pages, request, values)

    @routes.post("/report")
    async def send(request: Request) -> Response:
        if service.settings.contact:
            raise Refused(404, "reports are not taken by a form here", hint=f"write to {service.settings.contact}")
        reports.check_origin(request.headers, pages.site(request).url)
        fields = await _fields(request)
        forms.check(fields["signed"], fields["about"])
        number = await run_in_threadpool(_add, service, request, fields)
        return _page(pages, request, {"about": fields["about"], "number": number})


def _add(service: Service, request: Request, fields: dict[str, str]) -> int:
    with service.sessions.write() as session:
        return reports.add(
            session, fields["about"], fields["kind"], fields["text"], fields["contact"], address_of(request) or ""
        )


def _page(pages: Pages, request: Request, values: dict[str, object]) -> Response:
    site = pages.site(request)
    shown = {"about": "", "signed": "", "kinds": {}, "most": 0, "number": None} | values
    text = pages.environment.get_template("report.html.j2").render(site=site, links=site.links, **shown)
    answer = respond(request, Page(text.encode(), keep=False))
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _place(request: Request) -> str:
    """The page that it is about: what the link says, else where the reader came from; a path of ours and no more."""
    about = request.query_params.get("about") or urlsplit(request.headers.get("referer", "")).path
    plain = "".join(c for c in about if c.isprintable())[: reports.ABOUT]
    return plain if plain.startswith("/") else "/"


async def _fields(request: Request) -> dict[str, str]:
    """:raises Refused: 400, 413, 415"""
    if not request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        raise Refused(415, "this is not the form of a report", hint="load /report and send it from there")
    body = bytearray()
    async for block in request.stream():
        body += block
        if len(body) > reports.FORM:
            raise Refused(413, f"a report has at most {reports.TEXT:,} characters", hint="shorten it")
    try:
        form = parse_qs(body.decode("utf-8"), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Refused(400, "the form cannot be read", hint="load /report and send it from there") from None
    return {name: form.get(name, [""])[0].replace("\r\n", "\n") for name in _FIELDS}


def _secret(service: Service) -> bytes:
    """Of this root: a form that was loaded before a restart is good after it."""
    file = service.settings.root / "url.key"
    return file.read_bytes() if file.exists() else secrets.token_bytes(32)
