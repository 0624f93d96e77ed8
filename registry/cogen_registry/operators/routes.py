"""Routes: trusted publishing, as `uv publish`, twine and other tools ask for it on PyPI."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from cogen_registry.auth import address_of
from cogen_registry.errors import Refused
from cogen_registry.metadata.setup import fingerprint
from cogen_registry.operators.issuers import Issuers
from cogen_registry.operators.trusted import burn, exchange
from cogen_registry.service import Service


class IdentityToken(BaseModel):
    """What the issuer gave to the build machine; to burn: what was given for it."""

    token: str = Field(max_length=65536)


class Audience(BaseModel):
    """Whom an identity token has to be for."""

    audience: str


class Given(BaseModel):
    """A token for uploads, good for a few minutes. ``expires``: seconds since 1970."""

    success: bool
    token: str
    expires: int


def router(service: Service) -> APIRouter:
    routes, issuers = APIRouter(tags=["packages"]), Issuers()

    @routes.get("/_/oidc/audience")
    def audience() -> Audience:
        """The audience to ask one's issuer for."""
        return Audience(audience=_audience(service))

    @routes.post("/_/oidc/mint-token", response_model=Given, responses={422: {"description": "not trusted"}})
    def mint(identity: IdentityToken, request: Request) -> Response:
        """Exchange an identity token for one that uploads the projects which trust it."""
        try:
            given = exchange(service, issuers, _audience(service), identity.token, address_of(request))
        except Refused as error:
            errors = [{"code": "invalid-token", "description": f"{error.message} ({error.hint})"}]
            refusal = {"success": False, "message": error.message, "errors": errors, "error": error.message}
            return JSONResponse(refusal | {"hint": error.hint}, error.status, headers=error.headers)
        body = {"success": True, "token": given.token, "expires": int(given.expires.timestamp())}
        return Response(json.dumps(body), media_type="application/json", headers={"Cache-Control": "no-store"})

    @routes.post("/_/oidc/burn-token", status_code=202)
    def burned(identity: IdentityToken, request: Request) -> dict[str, str]:
        """End a token that was given by an exchange: the upload is over."""
        with service.sessions.write() as session:
            burn(session, identity.token, address_of(request))
        return {"message": "accepted"}

    return routes


def _audience(service: Service) -> str:
    """The operator's word where there is one, else a name that no other registry has.

    Never the host of the request: who got an identity token that is for another host would send that host's name here.
    """
    if service.settings.oidc_audience:
        return service.settings.oidc_audience
    if service.settings.url and (host := urlsplit(service.settings.url).netloc):
        return host
    with service.sessions.read() as session:
        root = fingerprint(session, 1).removeprefix("sha256:")
    return f"cogen-registry-{root[:32]}"
