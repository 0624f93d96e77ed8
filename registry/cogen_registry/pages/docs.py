"""The description of the API as a page: nothing is loaded from elsewhere, and nothing runs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from cogen_registry.pages.site import Site

_METHODS = ("get", "post", "put", "patch", "delete")


@dataclass(frozen=True)
class Operation:
    """One method of one path. ``needs``: a token; ``body``: kinds of content → an example of it, or ""."""

    method: str
    path: str
    anchor: str
    summary: str
    text: str
    needs: bool
    parameters: list[dict[str, Any]]
    body: dict[str, str]
    answers: list[tuple[str, str]]
    command: str


def docs(site: Site, description: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Everything that a program can ask, by tag."""
    groups: dict[str, list[Operation]] = {}
    for path, item in description["paths"].items():
        for method in _METHODS:
            if (operation := item.get(method)) is not None:
                tag = (operation.get("tags") or ["other"])[0]
                groups.setdefault(tag, []).append(_operation(site, description, path, method, operation))
    schemas = {
        name: json.dumps(schema, indent=2, ensure_ascii=False)
        for name, schema in sorted(description["components"]["schemas"].items())
    }
    schemes = description["components"]["securitySchemes"]
    return "docs.html.j2", {"groups": groups, "schemas": schemas, "schemes": schemes}


def _operation(site: Site, description: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Operation:
    body = {
        kind: json.dumps(_example(description, content.get("schema", {}), 0), indent=2, ensure_ascii=False)
        if "json" in kind and content.get("schema")
        else ""
        for kind, content in operation.get("requestBody", {}).get("content", {}).items()
    }
    needs = {} not in operation["security"]
    command = f"curl{'' if method == 'get' else f' -X {method.upper()}'} {site.url}{path}"
    if needs:
        command += " -H 'Authorization: Bearer TOKEN'"
    if any("json" in kind for kind in body):
        command += " -H 'Content-Type: application/json' -d @body.json"
    return Operation(
        method.upper(),
        path,
        f"{method}-{path.strip('/').replace('/', '-')}",
        operation.get("summary", ""),
        operation.get("description", ""),
        needs,
        [_parameter(one) for one in operation.get("parameters", [])],
        body,
        [(status, one.get("description", "")) for status, one in sorted(operation["responses"].items())],
        command,
    )


def _parameter(operation: dict[str, Any]) -> dict[str, Any]:
    schema = operation.get("schema", {})
    kinds = [one.get("type", "") for one in schema.get("anyOf", [schema]) if one.get("type") != "null"]
    return {
        "name": operation["name"],
        "place": operation["in"],
        "required": bool(operation.get("required")),
        "kind": " or ".join(kinds),
        "text": operation.get("description") or schema.get("description") or "",
        "choices": schema.get("enum"),
    }


def _example(description: dict[str, Any], schema: dict[str, Any], depth: int) -> Any:
    """A value of the right form, as short as can be."""
    if depth > 8:
        return None
    if name := schema.get("$ref"):
        return _example(description, description["components"]["schemas"][name.rpartition("/")[2]], depth + 1)
    if "default" in schema or "const" in schema or "enum" in schema:
        return schema.get("default", schema.get("const", (schema.get("enum") or [None])[0]))
    if either := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return _example(description, either[0], depth + 1)
    match schema.get("type"):
        case "object":
            return {key: _example(description, one, depth + 1) for key, one in schema.get("properties", {}).items()}
        case "array":
            parts = schema.get("prefixItems") or [schema.get("items", {})]
            return [_example(description, one, depth + 1) for one in parts]
        case "integer" | "number":
            return 1
        case "boolean":
            return False
        case "null":
            return None
    return "…"
