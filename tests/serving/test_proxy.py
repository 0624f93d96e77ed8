"""The router in front of a route's experts: requests change in their model alone, and streams stay streams."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, StreamingResponse

from cogen.fusion.route.router import RoutingDecision
from cogen.serving import proxy
from cogen.serving.proxy import EXPERT_HEADER, make_app, question

#: Method, path and body.
Ask = Callable[..., httpx.Response]


def _engine() -> FastAPI:
    """Answers with what it was sent, as a stream where one is asked for."""
    app = FastAPI()

    @app.post("/v1/{rest:path}")
    async def echo(rest: str, request: Request) -> Any:
        body = await request.json()
        if body.get("stream"):
            pieces = [f"data: {json.dumps({'n': n, 'model': body['model']})}\n\n" for n in range(3)]
            return StreamingResponse(iter(pieces), media_type="text/event-stream")
        return JSONResponse({"path": rest, "body": body}, 418 if body.get("teapot") else 200)

    return app


@pytest.fixture
def ask(monkeypatch: pytest.MonkeyPatch) -> Ask:
    """Method, path and body through the proxy to the engine, without sockets."""
    engine, real = httpx.ASGITransport(app=_engine()), httpx.AsyncClient

    def client(**options: Any) -> httpx.AsyncClient:
        assert options.pop("trust_env") is False  # a proxy of the environment is not for this machine
        return real(**options, transport=engine)

    with monkeypatch.context() as patch:
        patch.setattr(httpx, "AsyncClient", client)
        app = make_app("route", frozenset({"power", "neuro", "base"}), _choose, "http://engine")

    def send(method: str, path: str, body: Any = None) -> httpx.Response:
        async def run() -> httpx.Response:
            async with real(transport=httpx.ASGITransport(app=app), base_url="http://route") as found:
                content = body if isinstance(body, bytes) else json.dumps(body).encode()
                return await found.request(method, path, content=content)

        return asyncio.run(run())

    return send


def _choose(text: str) -> RoutingDecision:
    expert = "power" if "voltage" in text else "neuro"
    return RoutingDecision(expert, {"power": 0.0, "neuro": 0.0})


def _turns(*texts: str) -> list[dict[str, Any]]:
    return [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(texts)]


def test_the_last_question_chooses(ask: Ask) -> None:
    body = {"model": "route", "messages": _turns("the voltage?", "High.", "a synapse?"), "temperature": 0.5, "own": [1]}
    answer = ask("POST", "/v1/chat/completions", body)
    assert answer.headers[EXPERT_HEADER] == "neuro"
    assert answer.json() == {"path": "chat/completions", "body": body | {"model": "neuro"}}
    assert ask("POST", "/v1/completions", {"prompt": "the voltage"}).json()["body"]["model"] == "power"


def test_an_expert_may_be_asked_for_by_name(ask: Ask) -> None:
    answer = ask("POST", "/v1/chat/completions", {"model": "base", "messages": _turns("the voltage?")})
    assert answer.json()["body"]["model"] == answer.headers[EXPERT_HEADER] == "base"


def test_streams_and_status_pass_through(ask: Ask) -> None:
    answer = ask("POST", "/v1/chat/completions", {"messages": _turns("voltage"), "stream": True})
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in answer.text.split("\n\n") if line]
    assert [json.loads(line.removeprefix("data: ")) for line in lines] == [{"n": n, "model": "power"} for n in range(3)]
    assert ask("POST", "/v1/completions", {"prompt": "x", "teapot": True}).status_code == 418


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"{", 400, "not a JSON object"),
        (b"[" * 100_000, 400, "not a JSON object"),
        (b"[1]", 400, "not a JSON object"),
        (b'{"prompt": "voltage", "temperature": NaN}', 400, "NaN is not JSON"),
        (b'{"prompt": "voltage \\ud800"}', 400, "half a surrogate pair"),
        (b'{"prompt": "voltage", "seed": 1' + b"0" * 5000 + b"}", 400, "digits"),
        ({"model": ["power"], "prompt": "x"}, 404, "there is no model ['power']"),
        ({"model": {"a": 1}, "prompt": "x"}, 404, "there is no model"),
        ({"model": None, "prompt": "x"}, 404, "there is no model None"),
        ({"model": "gpt-4", "messages": _turns("hi")}, 404, "there is no model 'gpt-4'"),
        ({"messages": []}, 400, "no question"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "no question"),
        ({"messages": "not a list"}, 200, ""),
        ({}, 400, "no question"),
    ],
)
def test_what_cannot_be_routed_is_refused_as_openais_clients_read_it(
    ask: Ask, body: Any, status: int, message: str
) -> None:
    answer = ask("POST", "/v1/chat/completions", body)
    assert answer.status_code == status
    if status != 200:
        assert message in answer.json()["error"]["message"]
        assert answer.json()["error"]["type"] == "invalid_request_error"


def test_a_body_beyond_the_limit_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proxy, "MAX_BODY", 100)
    assert ask("POST", "/v1/completions", {"prompt": "x" * 200}).status_code == 413


def test_a_router_that_fails_is_said() -> None:
    def choose(text: str) -> RoutingDecision:
        raise ValueError("a text that the embedding model does not take")

    app = make_app("route", frozenset(), choose, "http://127.0.0.1:9")

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://route") as client:
            return await client.post("/v1/completions", json={"prompt": "x"})

    answer = asyncio.run(run())
    assert answer.status_code == 500
    assert "cannot choose an expert: a text that" in answer.json()["error"]["message"]


def test_models_and_health(ask: Ask) -> None:
    assert [entry["id"] for entry in ask("GET", "/v1/models").json()["data"]] == ["route", "base", "neuro", "power"]
    assert ask("GET", "/health").json() == {"status": "ok"}


def test_an_engine_that_is_gone_is_said() -> None:
    app = make_app("route", frozenset(), _choose, "http://127.0.0.1:9")

    async def run() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://route") as client:
            return await client.post("/v1/completions", json={"prompt": "x"})

    answer = asyncio.run(run())
    assert answer.status_code == 502
    assert answer.json()["error"]["type"] == "server_error"


def test_questions_in_all_forms() -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}]
    assert question({"messages": [{"role": "user", "content": parts}]}) == "a\nb"
    assert question({"input": "responses take a text"}) == "responses take a text"
    assert question({"input": _turns("or turns")}) == "or turns"
    assert question({"prompt": ["one", "two"]}) == "one\ntwo"
    assert question({"messages": [{"role": "system", "content": "x"}, 3]}) is None
    assert question({"prompt": 7}) is None
