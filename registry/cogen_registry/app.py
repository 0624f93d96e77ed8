"""Puts the service together: its components and their routes."""

from __future__ import annotations

import importlib
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from starlette.exceptions import HTTPException

from cogen_registry.admission.pool import pool_of
from cogen_registry.auth import required
from cogen_registry.errors import Refused
from cogen_registry.failures import failure, store_errors
from cogen_registry.limits import Guard
from cogen_registry.names.renewal import Renewal
from cogen_registry.openapi import describe
from cogen_registry.operators.upkeep import Upkeep
from cogen_registry.pages.refusals import refusal
from cogen_registry.service import Service
from cogen_registry.settings import Settings

#: Each has ``routes.py`` with ``router(service) -> APIRouter``. Weights come last: their paths begin with any name.
ROUTERS = ("names", "packages", "experts", "operators", "pages", "weights")


#: What may come of a disk, a database or an object store, or of a value that they can't hold; see failures.py.
_FAILURES = (OSError, OverflowError, UnicodeEncodeError, SQLAlchemyError)
_ABOUT = "Packages, experts and composites. Weights are read and written by the protocol of the Hugging Face Hub."
log = logging.getLogger(__name__)


def create_app(settings: Settings) -> FastAPI:
    """The whole service over one root; it is opened and closed with the application."""
    service = Service.open(settings)

    upkeep = Upkeep(service)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        upkeep.start()
        pool_of(settings.limits).start()
        yield
        upkeep.stop()
        service.components.close()
        service.close()

    app = FastAPI(title=settings.title, lifespan=lifespan, docs_url=None, redoc_url=None, description=_ABOUT)
    app.openapi = partial(describe, app)  # type: ignore[method-assign]
    app.state.service = service

    def on_refusal(request: Request, error: Refused) -> Response:
        return refusal(service, request, error.status, error.message, error.hint, error.headers)

    app.add_middleware(
        Guard,
        limits=settings.limits,
        required=required(service.sessions),
        proxied=bool(settings.proxies),
        on_refusal=on_refusal,
    )

    @app.exception_handler(Refused)
    def refused(request: Request, error: Refused) -> Response:
        return refusal(service, request, error.status, error.message, error.hint, error.headers)

    @app.exception_handler(IntegrityError)
    def beaten(request: Request, error: IntegrityError) -> Response:
        # On a database where writers don't wait for each other; whoever could go on does so itself.
        return refusal(service, request, 409, "conflict with a simultaneous request", "try again", {})

    def failed(request: Request, error: Exception) -> Response:
        found = failure(error)
        if found is None:
            raise error
        if found.status >= 500:
            log.error("%s %s: %d, %s", request.method, request.url.path, found.status, _line(error))
        return refusal(service, request, found.status, found.message, found.hint, found.headers)

    for kind in (*_FAILURES, *store_errors(settings)):
        app.add_exception_handler(kind, failed)

    @app.exception_handler(RequestValidationError)
    def malformed(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:]) or str(first["loc"][0])
        return refusal(service, request, 422, f"{place}: {first['msg']}", "see /docs for what is expected")

    @app.exception_handler(HTTPException)
    def unknown(request: Request, error: HTTPException) -> Response:
        message, hint = str(error.detail), "see /docs for the available paths"
        if error.status_code == 404:
            message, hint = "there is no such page", "the start page / leads to all; /docs lists what programs can ask"
        return refusal(service, request, error.status_code, message, hint, error.headers)

    @app.api_route("/healthz", methods=["GET", "HEAD"], include_in_schema=False)
    def healthz() -> dict[str, Any]:
        """Answers once everything is open. ``expiring``: what the operator has to sign again in the next weeks."""
        renewal = service.components.get(Renewal)
        expiring = renewal.expiring if renewal else []
        return {"status": "ok"} | ({"expiring": expiring} if expiring else {})

    for package in ROUTERS:
        module = importlib.import_module(f"cogen_registry.{package}.routes")
        app.include_router(module.router(service))
    return app


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
