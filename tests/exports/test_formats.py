"""What --to takes."""

from __future__ import annotations

import pytest

from cogen.errors import UsageError
from cogen.exports.formats import FORMATS, GGUF_TYPES, ExportFormat, read_format


@pytest.mark.parametrize(
    ("text", "format", "suffix", "quantized"),
    [
        ("gguf", ExportFormat("gguf"), "gguf", False),
        ("GGUF:q4_k_m", ExportFormat("gguf", "Q4_K_M"), "gguf-q4_k_m", True),
        ("gguf:BF16", ExportFormat("gguf", "BF16"), "gguf-bf16", False),
        ("fp8", ExportFormat("fp8"), "fp8", True),
        ("fp8:w8a8", ExportFormat("fp8", "W8A8"), "fp8-w8a8", True),
        ("fp8:W8A16", ExportFormat("fp8"), "fp8", True),
        ("int8", ExportFormat("int8"), "int8", True),
        ("onnx", ExportFormat("onnx"), "onnx", False),
    ],
)
def test_formats(text: str, format: ExportFormat, suffix: str, quantized: bool) -> None:
    found = read_format(text)
    assert (found, found.suffix, found.quantized) == (format, suffix, quantized)
    assert read_format(str(found)) == found


def test_every_shown_format_is_read() -> None:
    assert [str(read_format(text)) for text in FORMATS] == list(FORMATS)
    assert all(str(read_format(f"gguf:{type}")) == f"gguf:{type}" for type in GGUF_TYPES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gptq", "unknown format 'gptq'"),
        ("", "unknown format ''"),
        ("gguf:", "unknown GGUF type ''"),
        ("gguf:Q4_K_X", "unknown GGUF type 'Q4_K_X'"),
        ("fp8:e5m2", "unknown FP8 type"),
        ("int8:W4", "int8 has no types"),
    ],
)
def test_others_are_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        read_format(text)
    assert "\n" not in error.value.message
    assert error.value.hint
