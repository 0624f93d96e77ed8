"""Routes: trusted publishing, as `uv publish`, twine and other tools ask for it on PyPI; purging what is one's own."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict, Field

from cogen_registry.auth import address_of, required
from cogen_registry.errors import Refused
from cogen_registry.metadata.setup import fingerprint
from cogen_registry.operators import own_purge
from cogen_registry.operators.issuers import Issuers
from cogen_registry.operators.takedown import LONGEST
from cogen_registry.operators.trusted import burn, exchange
from cogen_registry.service import Service


class IdentityToken(BaseModel):
    """What the issuer gave to the build machine; to burn: what was given for it."""

    token: str = Field(max_length=65536)


class Audience(BaseModel):
    """Whom an identity token has to be for."""

    audience: str


class Purge(BaseModel):
    """``reason``: public, one line. ``confirm``: the name of what goes, ``PROJECT==VERSION`` or ``NAMESPACE/NAME``."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(max_length=LONGEST)
    confirm: str = Field(max_length=400)


class Purged(BaseModel):
    """``hidden``: rows that are gone, what others measured of a release not counted."""

    purged: str
    hidden: int


class Given(BaseModel):
    """A token for uploads, good for a few minutes. ``expires``: seconds since 1970."""

    success: bool
    token: str
    expires: int


def router(service: Service) -> APIRouter:
    routes, issuers, owner = APIRouter(tags=["packages"]), Issuers(), required(service.sessions)

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

    @routes.post("/api/v1/releases/{project}/{version}/purge")
    def purge(request: Request, project: str, version: str, why: Purge) -> Purged:
        """Remove a release of your own for good: its bytes, its manifests, what was measured of it.

        Its name and version stay taken, and who asks is told the reason. A legal hold wins.
        """
        hidden = own_purge.purge_release(service, owner(request), project, version, why.reason, why.confirm)
        return Purged(purged=f"{canonicalize_name(project)}=={version}", hidden=hidden)

    @routes.post("/api/v1/repositories/{namespace}/{name}/purge")
    def purge_weights(request: Request, namespace: str, name: str, why: Purge) -> Purged:
        """Remove a repository of weights of your own for good, with all of its commits."""
        hidden = own_purge.purge_repository(service, owner(request), namespace, name, why.reason, why.confirm)
        return Purged(purged=f"{namespace}/{name}", hidden=hidden)

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
