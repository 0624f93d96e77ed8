"""A route's endpoint: each request goes to the expert that the router chooses for its last question.

The experts run in one server of transformers, which loads a model when a request names it. Nothing of a request or an
answer is changed but the name of the model; the header ``x-cogen-expert`` says who answered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import TYPE_CHECKING, Any

from cogen.fusion.route.router import RoutingDecision
from cogen.untrusted.border import reason_of
from cogen.untrusted.json_text import parse_object

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.responses import Response

EXPERT_HEADER = "x-cogen-expert"
_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/responses")
#: Of a body: no question of people is longer.
MAX_BODY = 32 << 20

Choose = Callable[[str], RoutingDecision]


def question(body: Mapping[str, Any]) -> str | None:
    """The text that the router reads: the last message of the user, or the prompt; None where there is none.

    Takes the forms of chat completions, completions and responses, whose texts may be lists of parts.
    """
    messages = body.get("messages", body.get("input"))
    if isinstance(messages, list):
        turns = [m for m in messages if isinstance(m, dict) and m.get("role") == "user"]
        return _text(turns[-1].get("content")) if turns else None
    return _text(messages if messages is not None else body.get("prompt"))


def _text(content: Any) -> str | None:
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        parts = [p.get("text") if isinstance(p, dict) else p for p in content]
        texts = [part for part in parts if isinstance(part, str)]
        return "\n".join(texts) if texts else None
    return None


def make_app(name: str, experts: frozenset[str], choose: Choose, engine: str) -> FastAPI:
    """
    :param name: what requests call the route.
    :param experts: ids that a request may name itself, past the router.
    :param engine: URL of the server that has all experts, without a path.
    """
    import httpx
    from fastapi import FastAPI, Request
    from fastapi.concurrency import run_in_threadpool

    client = httpx.AsyncClient(base_url=engine, timeout=None, trust_env=False)
    app = FastAPI(title=f"cogen route {name}", docs_url=None, redoc_url=None, openapi_url=None)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        own = [{"id": id, "object": "model", "owned_by": "cogen"} for id in (name, *sorted(experts))]
        return {"object": "list", "data": own}

    async def ask(request: Request) -> Response:
        raw = bytearray()
        async for piece in request.stream():
            raw += piece
            if len(raw) > MAX_BODY:
                return _refusal(413, f"the body is larger than {MAX_BODY:,} bytes")
        try:
            body = parse_object(bytes(raw))
        except ValueError as error:
            return _refusal(400, f"the body is not a JSON object: {error}")
        asked = body.get("model", name)
        if isinstance(asked, str) and asked in experts:
            expert = asked
        elif asked != name:
            return _refusal(404, f"there is no model {asked!r}; use {name}, or one of its experts")
        else:
            text = question(body)
            if not text:
                return _refusal(400, "there is no question to choose an expert by")
            try:
                expert = (await run_in_threadpool(choose, text)).expert
            except Exception as error:  # noqa: BLE001 - an embedding model or a plugin's, on a stranger's text
                return _refusal(500, f"the router cannot choose an expert: {reason_of(error)}")
        return await _forward(client, request.url.path, body | {"model": expert}, expert)

    # With `from __future__ import annotations`, FastAPI cannot see what the local name Request means.
    ask.__annotations__["request"] = Request
    for path in _PATHS:
        app.add_api_route(path, ask, methods=["POST"], response_model=None)
    return app


async def _forward(client: Any, path: str, body: Mapping[str, Any], expert: str) -> Response:
    """The engine's answer as it comes, so that streams stay streams."""
    import httpx
    from starlette.responses import StreamingResponse

    try:
        answer = await client.send(client.build_request("POST", path, json=body), stream=True)
    except httpx.HTTPError as error:
        return _refusal(502, f"the engine does not answer: {type(error).__name__}")

    async def pieces() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:
            await answer.aclose()

    kind = answer.headers.get("content-type", "application/json")
    return StreamingResponse(pieces(), answer.status_code, {EXPERT_HEADER: expert}, media_type=kind)


def _refusal(status: int, message: str) -> Response:
    """In the form that OpenAI's clients show."""
    from starlette.responses import JSONResponse

    kind = "invalid_request_error" if status < 500 else "server_error"
    return JSONResponse({"error": {"message": message, "type": kind, "code": None}}, status)
