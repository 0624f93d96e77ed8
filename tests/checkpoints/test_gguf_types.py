"""Quantized GGUF tensors, family by family: bit for bit what gguf's, and llama.cpp's own, dequantization gives."""

from __future__ import annotations

import ctypes
import platform
import random
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.gguf_files import random_blocks, write_model
from support.gguf_models import build

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.gguf import converted
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError

KINDS = ("F16", "BF16", "Q8_0", "Q4_K", "Q5_K", "Q6_K")
FAMILIES = ("llama", "qwen2", "qwen3", "gemma3")


def wide(family: str) -> Any:
    """Rows of 256 elements, as types with K need them."""
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 1}
    return build(family, **sizes, **({"head_dim": 64} if family in ("qwen3", "gemma3") else {}))


def check(path: Path, meant: dict[str, np.ndarray]) -> None:
    """Every tensor of the converted file, bit for bit."""
    checkpoint = open_folder(converted(path, file_digest(path), "float32"))
    assert checkpoint.names() == sorted(meant)
    for name, data in meant.items():
        assert np.array_equal(checkpoint.read(name).numpy(), data), name


@pytest.mark.parametrize(
    ("family", "kind"),
    [
        pytest.param(family, kind, marks=() if family == "llama" or kind == "Q4_K" else pytest.mark.slow)
        for family in FAMILIES
        for kind in KINDS
    ],
)
def test_the_reference_of_gguf(tmp_path: Path, family: str, kind: str) -> None:
    """The Python package that llama.cpp's authors publish."""
    path = tmp_path / "tiny.gguf"
    check(path, write_model(path, wide(family), kind, quantizer=random_blocks if kind.endswith("_K") else None))


class Ggml:
    """The quantizers and dequantizers of llama.cpp in C."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))

    def quantize(self, data: np.ndarray, kind: str) -> np.ndarray:
        """Rows of float32 → rows of bytes."""
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, quantize

        number = GGMLQuantizationType[kind]
        if kind in ("F16", "BF16"):
            return quantize(data, number)
        block, size = GGML_QUANT_SIZES[number]
        rows, columns = data.shape
        source = np.ascontiguousarray(data, dtype=np.float32)
        found = np.empty((rows, columns // block * size), dtype=np.uint8)
        function = getattr(self._library, f"quantize_{kind.lower().replace('_k', '_K')}")
        function.restype = ctypes.c_size_t
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
        assert function(source.ctypes.data, found.ctypes.data, rows, columns, None) == found.nbytes
        return found

    def dequantize(self, raw: np.ndarray, kind: str) -> np.ndarray:
        from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

        block, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
        raw = np.ascontiguousarray(raw)
        found = np.empty(raw.nbytes // size * block, dtype=np.float32)
        names = {"F16": "ggml_fp16_to_fp32_row", "BF16": "ggml_bf16_to_fp32_row"}
        name = names.get(kind, f"dequantize_row_{kind.lower().replace('_k', '_K')}")
        function = getattr(self._library, name)
        function.restype = None
        function.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64]
        function(raw.ctypes.data, found.ctypes.data, found.size)
        return found


@pytest.fixture(scope="session")
def ggml(tmp_path_factory: pytest.TempPathFactory) -> Ggml:
    """Of the wheel xllamacpp, which is llama.cpp in one library; it is not installed."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        pytest.skip("the wheel's library is taken for Linux on x86-64")
    folder = tmp_path_factory.mktemp("llama.cpp")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary=:all:",
            "-d",
            str(folder),
            "xllamacpp",
        ],
        check=True,
    )
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [one for one in archive.namelist() if one.endswith("xllamacpp.abi3.so")]
        return Ggml(Path(archive.extract(name, folder)))


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
def test_llama_cpp_itself(tmp_path: Path, ggml: Ggml, family: str, kind: str) -> None:
    """Quantized and dequantized by llama.cpp in C."""
    path = tmp_path / "tiny.gguf"
    check(path, write_model(path, wide(family), kind, quantizer=ggml.quantize, dequantizer=ggml.dequantize))


def damaged(content: bytes, generator: random.Random, head: int) -> bytes:
    """One of: bits turned in the head or in the tensors, bytes cut out or doubled, the end cut off."""
    place = generator.randrange(head if generator.random() < 0.8 else len(content))
    kind = generator.randrange(5)
    if kind == 0:
        return content[:place]
    if kind == 1:
        return content[:place] + content[place + generator.randrange(1, 40) :]
    if kind == 2:
        return content[:place] + content[place : place + 16] + content[place:]
    changed = bytearray(content)
    for _ in range(1 if kind == 3 else 8):
        changed[min(place + generator.randrange(8), len(content) - 1)] ^= 1 << generator.randrange(8)
    return bytes(changed)


@pytest.mark.parametrize(
    "seeds", [range(60), pytest.param(range(60, 500), marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_damaged_files(tmp_path: Path, seeds: range) -> None:
    """Read as numbers, or one line that names the file: never a traceback, whatever the library below raises."""
    good = tmp_path / "good.gguf"
    write_model(good, build("llama", hidden_size=16, num_attention_heads=2, num_key_value_heads=1), "F32")
    content = good.read_bytes()
    path, refused = tmp_path / "bad.gguf", 0
    for number in seeds:
        path.write_bytes(damaged(content, random.Random(number), 20_000))
        try:
            folder = converted(path, file_digest(path), "float32")
        except CogenError as error:
            message, hint = error.message, error.hint
        else:
            tensors = open_folder(folder)
            assert all(bool(torch.isfinite(tensors.read(name)).all()) for name in tensors.names())
            continue
        refused += 1
        assert message.startswith("bad.gguf cannot be read as GGUF: "), (number, message)
        assert message.isprintable(), (number, message)
        assert len(message) < 500
        assert hint
    assert refused > len(seeds) // 2
