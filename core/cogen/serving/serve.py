"""``cogen serve``: an engine's server for a model, or for the experts of a route with our choice in front of it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.errors import CompatibilityError, MissingExtraError
from cogen.reporter import SILENT, Reporter
from cogen.serving.engines import TRANSFORMERS, Command, Served, choose_engine, command_line, is_installed, open_served
from cogen.serving.process import ServingError, free_port, started

if TYPE_CHECKING:
    from cogen.host import Host


@dataclass(frozen=True)
class Endpoint:
    """Where a model answers: ``url`` is what OpenAI's clients call the base URL."""

    url: str
    model: str
    engine: str
    command: tuple[str, ...]
    #: Waits until the server ends, and raises where it ended by itself.
    wait: Callable[[], None]


def plan_command(model: Path, engine: str | None, host: str, port: int, options: Sequence[str]) -> Command:
    """The command line that :func:`serving` would start; of a route, that of the server behind the router."""
    served = open_served(model)
    chosen = choose_engine(served, engine)
    if served.kind == "route":
        return _route_command(served.path, 0, options)
    return command_line(chosen, served, host, port, options)


@contextlib.contextmanager
def serving(
    model: Path,
    *,
    engine: str | None = None,
    host: str = "127.0.0.1",
    port: int = 8000,
    options: Sequence[str] = (),
    registry: Callable[[], Host],
    reporter: Reporter = SILENT,
) -> Iterator[Endpoint]:
    """The endpoint, while the block runs.

    :param port: 0: any free one.
    :param registry: gives the host, which a route needs for its experts.
    :raises CogenError: no engine is installed or fits, the port is taken, or the engine did not start.
    """
    served = open_served(model)
    chosen = choose_engine(served, engine)
    port = free_port(host, port)
    if served.kind == "route":
        with _route(served, host, port, options, registry(), reporter) as endpoint:
            yield endpoint
        return
    command = command_line(chosen, served, host, port, options)
    reporter.describe(f"starting {chosen}")
    base = f"{_address(host, port)}/v1"
    with started(command, f"{base}/models") as process:

        def wait() -> None:
            code = process.wait()
            raise ServingError(f"{chosen} ended with exit code {code}", hint="start it again")

        yield Endpoint(base, served.name, chosen, command.arguments, wait)


def _address(host: str, port: int) -> str:
    """Where this machine reaches a server that listens on ``host``."""
    local = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{local}]:{port}" if ":" in local else f"http://{local}:{port}"


def _route_command(folder: Path, port: int, options: Sequence[str]) -> Command:
    """One server for all experts: it loads a model when a request names it."""
    where = ("--host", "127.0.0.1", "--port", str(port))
    return Command("transformers", (*TRANSFORMERS, *where, *options), folder)


@contextlib.contextmanager
def _route(
    served: Served, host: str, port: int, options: Sequence[str], registry: Host, reporter: Reporter
) -> Iterator[Endpoint]:
    from cogen.fusion.route import read_route
    from cogen.fusion.route.router import RoutingDecision, open_router
    from cogen.serving.experts import expert_folders
    from cogen.serving.proxy import make_app

    if not is_installed("transformers"):
        raise MissingExtraError("serving a route needs fastapi", hint='pip install "cogen-core[serve]"')
    manifest = read_route(served.path)
    if manifest.ensemble is not None:
        raise CompatibilityError(
            f"{served.path.name} answers with all experts together (--ensemble {manifest.ensemble}), as no engine does",
            hint="talk to it with `cogen chat`, or build the route without --ensemble",
        )
    router = open_router(served.path, manifest, reporter)

    def choose(text: str) -> RoutingDecision:
        (decision,) = router.choose([text])
        return decision

    with expert_folders(registry, manifest, reporter) as place:
        inner = free_port("127.0.0.1", 0)
        command = _route_command(place, inner, options)
        reporter.describe("starting transformers")
        experts = frozenset(path.name for path in place.iterdir())
        with started(command, f"{_address('127.0.0.1', inner)}/health"):
            choose("Which expert answers?")  # loads the embedding model before the first request waits for it
            app = make_app(served.name, experts, choose, _address("127.0.0.1", inner))
            with _running(app, host, port) as wait:
                base = f"{_address(host, port)}/v1"
                yield Endpoint(base, served.name, "transformers", command.arguments, wait)


@contextlib.contextmanager
def _running(app: object, host: str, port: int) -> Iterator[Callable[[], None]]:
    """uvicorn in a thread of its own, while the block runs."""
    import threading
    import time

    import uvicorn

    server = uvicorn.Server(uvicorn.Config(app, host=host, port=port, log_level="warning"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run, name="route", daemon=True)
    thread.start()
    try:
        while not server.started:
            if not thread.is_alive():
                raise ServingError(f"the router cannot listen on {host}:{port}", hint="give another --port")
            time.sleep(0.05)

        def wait() -> None:
            while thread.is_alive():
                thread.join(1)

        yield wait
    finally:
        server.should_exit = True
        thread.join(10)
