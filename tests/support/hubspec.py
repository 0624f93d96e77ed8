"""The paths of the Hub's protocol as OpenAPI: the registry leaves them out of its own description, tests don't."""

from __future__ import annotations

from typing import Any

from cogen_registry.openapi import _WRITING

_TEXT = {"type": "string"}
_NUMBER = {"type": "integer"}
_OID = {"type": "string", "pattern": "^[0-9a-f]{64}$"}
_API = "/api/models/{namespace}/{name}"


def _object(**fields: Any) -> dict[str, Any]:
    return {"type": "object", "properties": fields, "required": list(fields)}


_FILES = _object(files={"type": "array", "items": _object(path=_TEXT, size=_NUMBER, sample=_TEXT)})
_BATCH = _object(
    operation={"enum": ["upload", "download"]}, objects={"type": "array", "items": _object(oid=_OID, size=_NUMBER)}
)
#: (method, path, query, kind of the body, its schema)
_OPERATIONS: tuple[tuple[str, str, dict[str, Any], str, Any], ...] = (
    ("get", "/api/whoami-v2", {}, "", None),
    ("post", "/api/repos/create", {}, "application/json", _object(name=_TEXT, organization=_TEXT, type=_TEXT)),
    ("delete", "/api/repos/delete", {}, "", None),
    ("post", "/api/validate-yaml", {}, "application/json", _object(content=_TEXT)),
    ("get", _API, {"blobs": {"type": "boolean"}}, "", None),
    ("get", _API + "/revision/{revision}", {}, "", None),
    ("get", _API + "/tree/{revision}", {"limit": _NUMBER, "cursor": _TEXT, "expand": {"type": "boolean"}}, "", None),
    ("get", _API + "/tree/{revision}/{path}", {"recursive": {"type": "boolean"}}, "", None),
    ("get", _API + "/commits/{revision}", {"limit": _NUMBER, "p": _NUMBER}, "", None),
    (
        "post",
        _API + "/paths-info/{revision}",
        {},
        "application/json",
        _object(paths={"type": "array", "items": _TEXT}, expand={"type": "boolean"}),
    ),
    ("get", _API + "/refs", {}, "", None),
    ("get", "/{namespace}/{name}/resolve/{revision}/{path}", {}, "", None),
    ("post", _API + "/preupload/{revision}", {}, "application/json", _FILES),
    ("post", _API + "/commit/{revision}", {"create_pr": _TEXT}, "application/octet-stream", _TEXT),
    ("post", _API + "/tag/{revision}", {}, "application/json", _object(tag=_TEXT)),
    ("post", _API + "/branch/{revision}", {}, "application/json", _object(startingPoint=_TEXT)),
    ("delete", _API + "/tag/{revision}", {}, "", None),
    ("post", "/{namespace}/{name}.git/info/lfs/objects/batch", {}, "application/json", _BATCH),
    (
        "put",
        "/lfs/{repository}/{oid}",
        {"size": _NUMBER, "token": _NUMBER, "expires": _NUMBER, "signature": _TEXT},
        "application/octet-stream",
        _TEXT,
    ),
    ("get", _API + "/xet-write-token/{revision}", {}, "", None),
    ("post", "/xet/{epoch}/v1/xorbs/default/{xorb}", {}, "application/octet-stream", _TEXT),
    ("post", "/xet/{epoch}/v1/shards", {}, "application/octet-stream", _TEXT),
    ("get", "/composites", {"page": _TEXT}, "", None),
    ("get", "/experts", {"q": _TEXT, "size": _TEXT, "page": _TEXT, "sort": _TEXT, "domain": _TEXT}, "", None),
    ("get", "/experts/{name}", {}, "", None),
    ("get", "/experts/{name}/{revision}", {}, "", None),
    ("get", "/compare", {"id": {"type": "array", "items": _TEXT}}, "", None),
    ("get", "/publishers/{name}", {}, "", None),
    ("get", "/static/{name}", {}, "", None),
)
#: Names that are there, so that not everything ends at 404.
_KNOWN = {"namespace": "team", "name": "model", "revision": "main", "path": "config.json", "repository": "1"}


def document() -> dict[str, Any]:
    paths: dict[str, Any] = {}
    for method, path, query, kind, schema in _OPERATIONS:
        inside = [part[1:].partition("}")[0] for part in path.split("/") if part.startswith("{")]
        parameters = [
            {"name": name, "in": "path", "required": True, "schema": _part(name), "example": _KNOWN.get(name, "a" * 64)}
            for name in inside
        ]
        parameters += [{"name": name, "in": "query", "schema": one} for name, one in query.items()]
        output = {status: {"description": "any"} for status in ("200", "201", "206", "301", "302", "304", "307")}
        output |= {str(status): {"description": "any"} for status in (*_WRITING, 412)}
        operation: dict[str, Any] = {"parameters": parameters, "responses": output}
        if kind:
            operation["requestBody"] = {"required": True, "content": {kind: {"schema": schema}}}
        paths.setdefault(path, {})[method] = operation
    return {"openapi": "3.1.0", "info": {"title": "hub", "version": "1"}, "paths": paths}


def _part(name: str) -> dict[str, Any]:
    known = _KNOWN.get(name)
    return {"anyOf": [{"const": known}, _TEXT]} if known else _TEXT
