"""The formats of ``cogen export --to``."""

from __future__ import annotations

from dataclasses import dataclass

from cogen.choices import unknown
from cogen.errors import UsageError

#: GGUF type → llama.cpp's number of it (``enum llama_ftype`` in llama.h), of the ones that need no importance matrix.
GGUF_TYPES = {
    "F32": 0,
    "F16": 1,
    "Q4_0": 2,
    "Q4_1": 3,
    "Q8_0": 7,
    "Q5_0": 8,
    "Q5_1": 9,
    "Q2_K": 10,
    "Q3_K_S": 11,
    "Q3_K_M": 12,
    "Q3_K_L": 13,
    "Q4_K_S": 14,
    "Q4_K_M": 15,
    "Q5_K_S": 16,
    "Q5_K_M": 17,
    "Q6_K": 18,
    "IQ4_NL": 25,
    "IQ4_XS": 30,
    "BF16": 32,
}
#: The types that llama.cpp's converter writes by itself: nothing is quantized.
PLAIN_TYPES = ("F32", "F16", "BF16")
#: FP8: of weights alone, or of weights and activations.
FP8_TYPES = ("W8A16", "W8A8")
#: Shown in help texts; every name of GGUF_TYPES may stand behind the colon.
FORMATS = ("gguf", "gguf:Q8_0", "gguf:Q4_K_M", "fp8", "fp8:W8A8", "int8", "onnx")
KINDS = ("gguf", "fp8", "int8", "onnx")


@dataclass(frozen=True)
class ExportFormat:
    """``kind``: one of KINDS. ``type``: of a GGUF, a key of GGUF_TYPES, or None for the type of the weights; of
    FP8, W8A8, or None for weights alone.
    """

    kind: str
    type: str | None = None

    def __str__(self) -> str:
        return self.kind if self.type is None else f"{self.kind}:{self.type}"

    @property
    def suffix(self) -> str:
        """What is appended to a composite's name: ``gguf-q4_k_m``."""
        return str(self).replace(":", "-").lower()

    @property
    def quantized(self) -> bool:
        """Are the weights others than the composite's?"""
        return self.kind in ("fp8", "int8") or (self.kind == "gguf" and self.type not in (None, *PLAIN_TYPES))


def read_format(text: str) -> ExportFormat:
    """``gguf``, ``gguf:TYPE``, ``fp8``, ``fp8:W8A8``, ``int8`` or ``onnx``, in any case.

    :raises UsageError: it is none of them.
    """
    kind, colon, type = text.strip().partition(":")
    kind = kind.lower()
    if kind not in KINDS:
        raise unknown("format", text, FORMATS)
    if not colon:
        return ExportFormat(kind)
    if kind == "fp8":
        if type.upper() not in FP8_TYPES:
            raise unknown("FP8 type", type, FP8_TYPES)
        return ExportFormat(kind, None if type.upper() == FP8_TYPES[0] else type.upper())
    if kind != "gguf":
        raise UsageError(f"{kind} has no types (got {text!r})", hint=f"--to {kind}")
    if type.upper() not in GGUF_TYPES:
        raise unknown("GGUF type", type, GGUF_TYPES)
    return ExportFormat(kind, type.upper())
