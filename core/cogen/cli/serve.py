"""`cogen serve`: a model as an OpenAI-compatible endpoint."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import Annotated

import typer

from cogen.choices import ENGINES
from cogen.cli.arguments import choice
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter
from cogen.errors import UsageError

_LOCAL = ("127.0.0.1", "localhost", "::1")

Model = Annotated[
    Path,
    typer.Argument(
        metavar="[COMPOSITE]", help="A model folder, an export to gguf, fp8 or int8, a GGUF file, or a route."
    ),
]
Engine = Annotated[
    str | None,
    choice("engine", ENGINES, "--engine", help="Default: the first that is installed and reads the model."),
]


def command(
    model: Model = Path("composite"),
    engine: Engine = None,
    host: Annotated[
        str, typer.Option("--host", metavar="ADDRESS", help="Address to listen on; there is no authentication.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any free one.")] = 8000,
    engine_args: Annotated[
        str | None,
        typer.Option("--engine-args", metavar="TEXT", help="Further arguments of the engine: '--device cuda'."),
    ] = None,
    print_: Annotated[bool, typer.Option("--print", help="Print the engine's command line and start nothing.")] = False,
) -> None:
    """Serve a model as an OpenAI-compatible endpoint, until Ctrl-C.

    The server is the engine's own: `transformers serve`, vLLM, or llama.cpp's. Of a route, each request goes to the
    expert that the router chooses for its last question; the header x-cogen-expert names it.
    """
    from cogen.api.serving import serve

    options = _split(engine_args or "")
    if print_:
        _print(model, engine, host, port, options)
        return
    if host not in _LOCAL and host.strip():
        out.warn(f"whoever reaches {host} can use the model: there is no authentication")
    with contextlib.ExitStack() as running:
        with CommandReporter() as reporter:  # ends where the engine answers, not with the engine
            endpoint = serve(model, engine=engine, address=host, port=port, engine_options=options, reporter=reporter)
            found = running.enter_context(endpoint)
        out.success(f"{found.model} at {found.url} by {found.engine}; Ctrl-C ends it")
        out.result({"url": found.url, "model": found.model, "engine": found.engine, "command": list(found.command)})
        try:
            found.wait()
        except KeyboardInterrupt:
            out.status("stopped")


def _split(text: str) -> list[str]:
    """:raises UsageError: a quotation mark is open."""
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(
            f"--engine-args cannot be split into words: {error}", hint="close the quotation marks"
        ) from error


def _print(model: Path, engine: str | None, host: str, port: int, options: list[str]) -> None:
    from cogen.serving.serve import plan_command

    command = plan_command(model, engine, host, port, options)
    out.text(shlex.join(command.arguments))
    out.result({"engine": command.engine, "command": list(command.arguments), "folder": str(command.folder)})
