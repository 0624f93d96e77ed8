"""GGUF by llama.cpp's converter and quantizer, with a Modelfile for ollama."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.errors import CompatibilityError
from cogen.exports import llama
from cogen.exports.formats import PLAIN_TYPES, ExportFormat
from cogen.exports.modelfile import write_modelfile
from cogen.exports.source import ExportSource, plain_view
from cogen.exports.tools import need_module
from cogen.reporter import Reporter, begin

#: The conversion before it was quantized.
PLAIN_FILE = "plain.gguf"
_PLAIN = {"bfloat16": "BF16", "float16": "F16", "float32": "F32"}


def check_tools(format: ExportFormat) -> None:
    """:raises MissingExtraError: converter or quantizer is not installed."""
    llama.find_converter()
    need_module("sentencepiece", "llama.cpp's converter", llama.EXTRA)
    if format.quantized:
        llama.check_quantizer()


def check_fits(source: ExportSource) -> None:
    """:raises CompatibilityError: the weights have a type that GGUF has not."""
    if source.dtype not in _PLAIN:
        raise CompatibilityError(
            f"{source.name} is in {source.dtype}, which is not exported to gguf", hint="convert it to bfloat16"
        )


def write_gguf(source: ExportSource, format: ExportFormat, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """``NAME-TYPE.gguf``, and ``Modelfile``; returns notes for the card.

    The folder also has ``plain.gguf``, the conversion before it is quantized, until the caller has compared it.

    :raises ExportError: llama.cpp cannot convert it.
    """
    plain = _PLAIN[source.dtype]
    type = format.type or plain
    file = folder / f"{source.name}-{type}.gguf"
    start = type if type in PLAIN_TYPES else plain
    begin(reporter, f"converting to gguf ({type})", None)
    first = file if type in PLAIN_TYPES else folder / PLAIN_FILE
    with plain_view(source) as model:
        llama.convert(model, first, start, source.name)
    tool = "llama.cpp convert_hf_to_gguf.py"
    if first is not file:
        tool = f"{tool}, {llama.quantize(first, file, type)}"
    notes = write_modelfile(source, file.name, folder)
    return {"file": file.name, "type": type, "tool": tool, **notes}
