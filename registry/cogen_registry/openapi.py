"""What FastAPI can't know for our description of the API: which refusals there are, and who has to prove a token.

Pages for people, and the protocol of the Hub, which ``huggingface_hub`` documents and alone speaks, are left out of it.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "hint"],
    "properties": {
        "error": {"type": "string", "description": "One line that says what is wrong."},
        "hint": {"type": ["string", "null"], "description": "One line that says what to do about it."},
    },
}
SCHEMES: dict[str, Any] = {
    "token": {"type": "http", "scheme": "bearer", "description": "A token of a publisher (`cogen login`)."},
    "password": {
        "type": "http",
        "scheme": "basic",
        "description": "The same token as password of the user `__token__`, as twine and uv send it.",
    },
}
_READING = {
    400: "The request can't be read, or asks for what can't be.",
    401: "The token is not known, or there is none where one is needed.",
    403: "Not with this token.",
    404: "It is not here.",
    405: "Not with this method.",
    406: "There is no such form of it.",
    408: "It came too slowly.",
    410: "It was taken down, or deleted; the reason is said.",
    413: "It is too large.",
    416: "It has no such bytes.",
    422: "Validation failed.",
    429: "Too much at once: wait for the seconds in Retry-After.",
    451: "It was taken down for legal reasons.",
    503: "Not now: wait for the seconds in Retry-After.",
}
_WRITING = _READING | {
    409: "Something else is there already.",
    411: "Content-Length is missing.",
    415: "Unsupported media type.",
    507: "The registry's disk is full.",
}
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_PROVEN: tuple[dict[str, list[str]], ...] = ({"token": []}, {"password": []})
_NEEDED = ("/whoami",)
#: Who asks here proves an identity of another place, in the body.
_OPEN = "/_/oidc/"


def describe(app: FastAPI) -> dict[str, Any]:
    """The whole description, made once an application."""
    if app.openapi_schema is None:
        made = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        parts = made.setdefault("components", {})
        parts.setdefault("schemas", {})["Error"] = ERROR
        for unused in ("HTTPValidationError", "ValidationError"):
            parts["schemas"].pop(unused, None)
        parts["securitySchemes"] = SCHEMES
        for path, item in made["paths"].items():
            for method in _METHODS:
                if method in item:
                    _complete(path, method, item[method])
        app.openapi_schema = made
    return app.openapi_schema


def _complete(path: str, method: str, operation: dict[str, Any]) -> None:
    reads = method in ("get", "head", "options")
    needed = path.endswith(_NEEDED) or not (reads or path.startswith(_OPEN))
    operation["security"] = [*_PROVEN] if needed else [{}, *_PROVEN]
    responses = operation.setdefault("responses", {})
    if "201" in responses:
        responses.setdefault("200", responses["201"] | {"description": "It was there already."})
    elif reads and "200" in responses:
        responses.setdefault("304", {"description": "The copy that was named is still the same."})
    if path.startswith("/simple/"):
        responses["301"] = {"description": "The name is spelled otherwise."}
    if path.startswith("/files/"):
        responses["206"] = {"description": "The part that was asked for."}
    answer = {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}
    for status, why in (_READING if reads else _WRITING).items():
        responses[str(status)] = {"description": why, "content": answer}
