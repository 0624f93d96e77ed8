"""Our check of a safetensors header against the library's own, on valid files and on files damaged at random."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from safetensors import SafetensorError, safe_open

from cogen.wheels.safetensors_header import BITS, check_header


def opens(folder: Path, header: bytes, body: int) -> bool:
    """Whether the library opens a file of this header and so many bytes of tensors."""
    file = folder / "x.safetensors"
    file.write_bytes(len(header).to_bytes(8, "little") + header + bytes(body))
    try:
        with safe_open(str(file), framework="numpy"):
            return True
    except (SafetensorError, OSError):
        return False


def holds(header: bytes, body: int) -> bool:
    try:
        check_header(header, body)
    except (ValueError, RecursionError):
        return False
    return True


def tensors(*entries: tuple[str, list[int], int, int]) -> dict[str, Any]:
    return {
        f"t{i}": {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}
        for i, (dtype, shape, start, stop) in enumerate(entries)
    }


VALID = tensors(("F32", [2, 3], 0, 24), ("BF16", [4], 24, 32), ("U8", [], 32, 33), ("I64", [0, 5], 33, 33))


@pytest.mark.parametrize("dtype", sorted(BITS))
def test_every_dtype_is_known_to_both(tmp_path: Path, dtype: str) -> None:
    whole = json.dumps(tensors((dtype, [8], 0, BITS[dtype]))).encode()
    assert opens(tmp_path, whole, BITS[dtype])
    assert holds(whole, BITS[dtype])
    assert not holds(whole, BITS[dtype] + 1)
    part = json.dumps(tensors((dtype, [1], 0, max(1, BITS[dtype] // 8)))).encode()
    assert (
        holds(part, max(1, BITS[dtype] // 8)) == opens(tmp_path, part, max(1, BITS[dtype] // 8)) == (BITS[dtype] >= 8)
    )


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (VALID, 33),
        (VALID, 34),
        ({}, 0),
        ({}, 1),
        (VALID | {"__metadata__": {"a": "b"}}, 33),
        (VALID | {"__metadata__": None}, 33),
        (VALID | {"__metadata__": {"a": 1}}, 33),
        (VALID | {"__metadata__": []}, 33),
        (tensors(("F32", [1], 0, 4), ("F32", [1], 0, 4)), 4),
        (tensors(("F32", [1], 4, 8)), 8),
        (tensors(("F32", [1 << 62, 4, 0], 0, 0)), 0),
        (tensors(("F32", [0, 1 << 62, 4], 0, 0)), 0),
        (tensors(("F32", [1 << 64, 0], 0, 0)), 0),
        (tensors(("F32", [-1], 0, -4)), 0),
        (tensors(("F32", [1.0], 0, 4)), 4),  # type: ignore[list-item]
        (tensors(("F32", [True], 0, 4)), 4),
        (tensors(("F4", [3], 0, 1)), 1),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4], "more": 1}}, 4),
        ({"a": {"dtype": "F32", "shape": [1]}}, 4),
        ({"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 4]}}, 4),
        ({"a": [1]}, 0),
        ({"\ud800": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}, 4),
    ],
)
def test_the_library_agrees(tmp_path: Path, header: dict[str, Any], body: int) -> None:
    text = json.dumps(header).encode()
    assert holds(text, body) == opens(tmp_path, text, body)


def test_the_library_agrees_on_damage(tmp_path: Path) -> None:
    """2,000 headers with one to three bytes changed: neither lets anything pass that the other refuses."""
    rng = random.Random(1)
    text = json.dumps(VALID | {"__metadata__": {"format": "pt"}}).encode()
    signs = b'0123456789{}[]",: -.eFtnu\\\x00\xff'
    both = {True: 0, False: 0}
    for _ in range(2000):
        damaged = bytearray(text)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(1, len(damaged))] = rng.choice(signs)
        header = bytes(damaged)
        here, there = holds(header, 33), opens(tmp_path, header, 33)
        if here != there:
            with pytest.raises(ValueError, match="appears twice"):  # the one thing that the library lets pass
                check_header(header, 33)
            continue
        both[here] += 1
    assert both[True] > 20
    assert both[False] > 500


@pytest.mark.parametrize(
    "header", [b' {"a": 1}', b"", b"[]", b'{"__metadata__": {}, "__metadata__": {}}', b'{"a": NaN}']
)
def test_refused_though_some_readers_take_it(header: bytes) -> None:
    assert not holds(header, 0)
