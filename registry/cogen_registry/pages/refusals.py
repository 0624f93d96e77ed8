"""What was refused, as a page, where a browser asks; everybody else gets JSON."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import Request, Response
from fastapi.responses import JSONResponse

from cogen_registry.pages.site import HEADERS, Pages
from cogen_registry.service import Service

#: Paths of protocols: their clients read JSON, whatever they say that they accept.
_PROTOCOLS = (
    "/api/",
    "/simple",
    "/integrity/",
    "/_/",
    "/files/",
    "/legacy",
    "/lfs/",
    "/xet/",
    "/healthz",
    "/openapi.json",
)
_TITLES = {
    400: "This can't be asked",
    401: "A token is needed",
    403: "Not allowed",
    404: "Not here",
    405: "Not this way",
    410: "Taken down",
    422: "This can't be asked",
    429: "Too much",
    451: "Taken down",
}


def is_browser(request: Request) -> bool:
    """Browsers name HTML first; pip names it last, and other clients don't."""
    accepts = request.headers.get("accept", "").lower().lstrip()
    return accepts.startswith("text/html") and not request.url.path.startswith(_PROTOCOLS)


def refusal(
    service: Service,
    request: Request,
    status: int,
    message: str,
    hint: str | None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """One line and a hint, in the form that who asked can read."""
    pages = service.components.get(Pages)
    if pages is None or not is_browser(request):
        return JSONResponse({"error": message, "hint": hint}, status, headers=dict(headers or {}))
    site = pages.site(request)
    template = pages.environment.get_template("refused.html.j2")
    title = _TITLES.get(status, "Not done")
    text = template.render(site=site, links=site.links, status=status, heading=title, message=message, hint=hint)
    return Response(text, status, HEADERS | dict(headers or {}), "text/html; charset=utf-8")
