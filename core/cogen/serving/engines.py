"""Which engine serves a model, and its command line."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from cogen.choices import ENGINES, check_choice
from cogen.errors import CompatibilityError, MissingExtraError, UsageError
from cogen.settings import settings


@dataclass(frozen=True)
class Served:
    """A model that an engine can load.

    :param kind: "folder" (safetensors), "gguf" (one file) or "route".
    :param name: what requests call it.
    """

    kind: str
    path: Path
    name: str


@dataclass(frozen=True)
class Command:
    """How an engine is started: its arguments, and the folder to start it in."""

    engine: str
    arguments: tuple[str, ...]
    folder: Path


def open_served(model: Path) -> Served:
    """
    :raises UsageError: no model folder, route or GGUF file, or a folder with several GGUF files.
    """
    path = model.resolve()
    if path.is_file() and path.suffix == ".gguf":
        return Served("gguf", path, path.stem)
    if (path / "route.json").is_file():
        return Served("route", path, path.name)
    if (path / "config.json").is_file():
        return Served("folder", path, path.name)
    files = sorted(path.glob("*.gguf")) if path.is_dir() else []
    if len(files) > 1:
        raise UsageError(f"{model} holds {len(files)} GGUF files", hint=f"name one of them: {model / files[0].name}")
    if files:
        return Served("gguf", files[0], path.name)
    if (path / "genai_config.json").is_file():
        raise CompatibilityError(
            f"{model} is an ONNX export, which none of the engines serves",
            hint="serve the composite that it was made of",
        )
    raise UsageError(
        f"{model} is not a model folder", hint="name a composite, an export to gguf, fp8 or int8, or a route"
    )


def choose_engine(served: Served, asked: str | None) -> str:
    """The engine that was asked for, or the first that is installed and reads the model.

    :raises CompatibilityError: it does not read this kind of model.
    :raises MissingExtraError: it is not installed.
    """
    if asked is not None:
        check_choice("engine", asked, ENGINES)
    fitting = _FITTING[served.kind]
    if asked is not None and asked not in fitting:
        raise CompatibilityError(
            f"{asked} does not serve {_KINDS[served.kind]}", hint=f"leave --engine out, or use {' or '.join(fitting)}"
        )
    candidates = (asked,) if asked is not None else fitting
    for engine in candidates:
        if is_installed(engine):
            return engine
    wanted = candidates[0] if asked is not None else fitting[-1]
    raise MissingExtraError(
        f"no engine for {_KINDS[served.kind]} is installed ({', '.join(candidates)})", hint=_GET[wanted]
    )


#: In the order of preference: a server that batches requests goes before one for trying things out.
_FITTING = {"folder": ("vllm", "transformers"), "gguf": ("llama-server",), "route": ("transformers",)}
_KINDS = {"folder": "a model folder", "gguf": "a GGUF file", "route": "a route"}
_GET = {
    "transformers": 'pip install "cogen-core[serve]"',
    "vllm": "pip install vllm (in an environment of its own: its requirements differ from CoGen's)",
    "llama-server": 'install llama.cpp, or: pip install "cogen-core[export-gguf]"',
}


def is_installed(engine: str) -> bool:
    """Looks for it without importing anything."""
    if engine == "vllm":
        return shutil.which("vllm") is not None
    if engine == "transformers":
        return all(
            find_spec(module) is not None for module in ("transformers", "fastapi", "uvicorn", "httpx", "openai")
        )
    return _llama_server() is not None


def command_line(engine: str, served: Served, host: str, port: int, options: Sequence[str] = ()) -> Command:
    """The engine's own server for one model; requests name it :attr:`Served.name`.

    :param options: further arguments of the engine.
    """
    where = ("--host", host, "--port", str(port))
    if engine == "vllm":
        program = shutil.which("vllm") or "vllm"
        name = ("--served-model-name", served.name)
        return Command(engine, (program, "serve", str(served.path), *where, *name, *options), served.path.parent)
    if engine == "transformers":
        # It calls a model by the path that it was given: from the folder above, that is the folder's name.
        return Command(engine, (*TRANSFORMERS, served.path.name, *where, *options), served.path.parent)
    start = _llama_server() or ("llama-server",)
    alias = ("--alias", served.name) if start[0] != sys.executable else ()
    if "llama_cpp.server" in start:
        alias = ("--model_alias", served.name)
    model = "--model" if "llama_cpp.server" in start else "-m"
    return Command(engine, (*start, model, str(served.path), *where, *alias, *options), served.path.parent)


TRANSFORMERS = (sys.executable, "-m", "transformers.cli.transformers", "serve")


def _llama_server() -> tuple[str, ...] | None:
    """llama.cpp's server, or the one of a Python package around llama.cpp."""
    own = settings().llama_cpp
    for folder in [] if own is None else [own, own / "build" / "bin", own / "bin"]:
        if (folder / "llama-server").is_file():
            return (str(folder / "llama-server"),)
    if (program := shutil.which("llama-server")) is not None:
        return (program,)
    if find_spec("llama_cpp") is not None and find_spec("llama_cpp.server") is not None:
        return sys.executable, "-m", "llama_cpp.server"
    if find_spec("cyllama") is not None:
        return sys.executable, "-m", "cyllama", "server"
    return None
