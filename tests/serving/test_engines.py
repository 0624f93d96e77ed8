"""Which engine serves what, and the command lines, to the letter."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cogen.errors import CogenError, CompatibilityError, MissingExtraError, UsageError
from cogen.serving import engines
from cogen.serving.engines import Served, choose_engine, command_line, open_served

HERE = ("--host", "127.0.0.1", "--port", "8000")
TRANSFORMERS = (sys.executable, "-m", "transformers.cli.transformers", "serve")


@pytest.fixture
def only(monkeypatch: pytest.MonkeyPatch, programs: Callable[..., Path]) -> Callable[..., Path]:
    """These Python modules and programs, and no others."""

    def make(*modules: str, found: tuple[str, ...] = ()) -> Path:
        monkeypatch.setattr(engines, "find_spec", lambda name: name if name in modules else None)
        return programs(*found)

    return make


def _folder(path: Path, *names: str) -> Path:
    path.mkdir()
    for name in names:
        (path / name).write_text("{}")
    return path


def test_what_is_served(tmp_path: Path) -> None:
    model = _folder(tmp_path / "composite", "config.json")
    gguf = _folder(tmp_path / "composite-gguf", "composite-Q8_0.gguf", "Modelfile")
    route = _folder(tmp_path / "route", "route.json")
    assert open_served(model) == Served("folder", model, "composite")
    assert open_served(gguf) == Served("gguf", gguf / "composite-Q8_0.gguf", "composite-gguf")
    assert open_served(gguf / "composite-Q8_0.gguf").name == "composite-Q8_0"
    assert open_served(route).kind == "route"


def test_what_is_not(tmp_path: Path) -> None:
    two = _folder(tmp_path / "two", "a.gguf", "b.gguf")
    onnx = _folder(tmp_path / "onnx", "genai_config.json", "model.onnx")
    for path, kind, message in (
        (two, UsageError, "holds 2 GGUF files"),
        (onnx, CompatibilityError, "is an ONNX export"),
        (_folder(tmp_path / "empty"), UsageError, "is not a model folder"),
        (tmp_path / "nowhere", UsageError, "is not a model folder"),
    ):
        with pytest.raises(kind, match=message) as error:
            open_served(path)
        assert error.value.hint


def test_the_first_installed_engine_that_reads_the_model(only: Callable[..., Path], tmp_path: Path) -> None:
    folder, gguf, route = (Served(kind, tmp_path, "m") for kind in ("folder", "gguf", "route"))
    serving = ("transformers", "fastapi", "uvicorn", "httpx", "openai")
    only(*serving)
    assert choose_engine(folder, None) == choose_engine(route, None) == "transformers"
    only(*serving, found=("vllm", "llama-server"))
    assert choose_engine(folder, None) == "vllm"
    assert choose_engine(folder, "transformers") == "transformers"
    assert choose_engine(route, None) == "transformers"
    assert choose_engine(gguf, None) == "llama-server"


def test_engines_that_do_not_fit_or_are_not_installed(only: Callable[..., Path], tmp_path: Path) -> None:
    folder, gguf, route = (Served(kind, tmp_path, "m") for kind in ("folder", "gguf", "route"))
    only()
    for served, asked, kind, message, hint in (
        (
            folder,
            "llama-server",
            CompatibilityError,
            "llama-server does not serve a model folder",
            "vllm or transformers",
        ),
        (gguf, "vllm", CompatibilityError, "vllm does not serve a GGUF file", "llama-server"),
        (route, "vllm", CompatibilityError, "vllm does not serve a route", "transformers"),
        (folder, None, MissingExtraError, "no engine for a model folder", 'pip install "cogen-core[serve]"'),
        (folder, "vllm", MissingExtraError, r"is installed \(vllm\)", "pip install vllm"),
        (gguf, None, MissingExtraError, "no engine for a GGUF file", "export-gguf"),
        (folder, "sglang", UsageError, "unknown engine 'sglang'", "choose one"),
    ):
        with pytest.raises(kind, match=message) as error:
            choose_engine(served, asked)
        assert isinstance(error.value, CogenError)
        assert hint in error.value.hint


def test_command_lines(only: Callable[..., Path], tmp_path: Path) -> None:
    folder = Served("folder", tmp_path / "composite", "composite")
    gguf = Served("gguf", tmp_path / "c" / "c-Q8_0.gguf", "c")
    place = only(found=("vllm", "llama-server"))

    def line(engine: str, served: Served, *options: str) -> tuple[str, ...]:
        return command_line(engine, served, "127.0.0.1", 8000, options).arguments

    # The model is called by the name of its folder, in which `transformers serve` is started.
    assert line("transformers", folder) == (*TRANSFORMERS, "composite", *HERE)
    assert command_line("transformers", folder, "127.0.0.1", 8000).folder == tmp_path
    path = str(tmp_path / "composite")
    assert line("vllm", folder, "--max-model-len", "512") == (
        *(str(place / "vllm"), "serve", path, *HERE, "--served-model-name", "composite", "--max-model-len", "512"),
    )
    file = str(gguf.path)
    assert line("llama-server", gguf) == (str(place / "llama-server"), "-m", file, *HERE, "--alias", "c")


def test_llama_cpp_by_python_packages(only: Callable[..., Path], tmp_path: Path) -> None:
    gguf = Served("gguf", tmp_path / "c.gguf", "c")
    file = str(gguf.path)
    only("cyllama")
    line = command_line("llama-server", gguf, "127.0.0.1", 8000).arguments
    assert line == (sys.executable, "-m", "cyllama", "server", "-m", file, *HERE)
    only("llama_cpp", "llama_cpp.server", "cyllama")
    line = command_line("llama-server", gguf, "127.0.0.1", 8000).arguments
    assert line == (sys.executable, "-m", "llama_cpp.server", "--model", file, *HERE, "--model_alias", "c")


def test_the_users_own_llama_cpp_goes_first(
    only: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    only("cyllama", found=("llama-server",))
    own = tmp_path / "llama.cpp" / "build" / "bin"
    own.mkdir(parents=True)
    (own / "llama-server").write_text("")
    monkeypatch.setenv("COGEN_LLAMA_CPP", str(tmp_path / "llama.cpp"))
    gguf = Served("gguf", tmp_path / "c.gguf", "c")
    assert command_line("llama-server", gguf, "::1", 1).arguments[0] == str(own / "llama-server")


def test_print_starts_nothing(only: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from cogen.cli.main import main

    only(*("transformers", "fastapi", "uvicorn", "httpx", "openai"))
    model = _folder(tmp_path / "composite", "config.json")
    assert main(["serve", str(model), "--print", "--port", "9", "--engine-args", "--device cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["command"] == [*TRANSFORMERS, "composite", *HERE[:3], "9", "--device", "cpu"]
    assert found["folder"] == str(tmp_path)
