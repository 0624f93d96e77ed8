"""What the ``quantization_config`` of compressed-tensors says, as far as its weights of eight bits go."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.scaled import CODES
from cogen.errors import CompatibilityError

#: Formats in which every weight is a code of eight bits; the others pack several into one number.
_FORMATS = ("float-quantized", "int-quantized", "naive-quantized")
_HINT = "name the model that it was quantized from, or decompress it with llm-compressor and save it in bfloat16"


@dataclass(frozen=True)
class Schemes:
    """How scales belong to codes.

    :param blocks: (rows, columns) that have one scale; a scale for a tensor or for a row is always known.
    :param suffix: what is behind the name of the codes in that of the scales.
    :param codes: types of the codes.
    :param exponents: are scales that are stored as bytes powers of two?
    """

    blocks: tuple[tuple[int, int], ...]
    suffix: str
    codes: tuple[str, ...]
    exponents: bool = False

    def block_of(self, shape: Sequence[int], scales: Sequence[int]) -> tuple[int, int] | None:
        """(rows, columns) of a tensor that have one scale; ``None``: the scales do not fit."""
        if not shape or not math.prod(shape):
            return None
        rows, columns = (shape[-2] if len(shape) > 1 else 1), shape[-1]
        if math.prod(scales) == 1:
            return rows, columns
        found = set()
        for block in (*self.blocks, (1, columns)):
            each = min(block[0], rows), min(block[1], columns)
            grid = (*shape[:-2], -(-rows // each[0]), -(-columns // each[1]))
            if len(shape) == 1:
                grid = grid[-1:]
            if tuple(scales) == grid or (len(shape) == 2 and grid[-1] == 1 and tuple(scales) == grid[:-1]):
                found.add(each)
        # Two groups of layers may have blocks of different sizes, and the same number of them in a tensor.
        return found.pop() if len(found) == 1 else None


def compressed_schemes(folder: Path, settings: Mapping[str, Any]) -> Schemes:
    """:raises CompatibilityError: its weights are packed, sparse, rotated, or of other widths."""
    kind = settings.get("format")
    groups = settings.get("config_groups")
    blocks: list[tuple[int, int]] = []
    for weights, own in _weights(groups, kind):
        what = f"{weights.get('num_bits')} bits ({weights.get('type')}, format {own})"
        if own not in _FORMATS or weights.get("num_bits") != 8 or weights.get("type") not in ("int", "float"):
            raise _refused(folder, ascii(what[:80])[1:-1])
        if weights.get("actorder") not in (None, False, "weight", "static"):
            raise _refused(folder, f"columns in an order of their own (actorder {ascii(weights['actorder'])[:20]})")
        strategy, structure = weights.get("strategy"), weights.get("block_structure")
        if strategy == "block" and isinstance(structure, list) and len(structure) == 2:
            blocks.append((int(structure[0]), int(structure[1])))
        elif strategy == "group" and isinstance(weights.get("group_size"), int):
            blocks.append((1, int(weights["group_size"])))
        elif strategy not in ("tensor", "channel"):
            raise _refused(folder, f"strategy {ascii(strategy)[:40]}")
    if settings.get("transform_config"):
        raise _refused(folder, "rotated weights (transform_config)")
    sparse = settings.get("sparsity_config")
    if isinstance(sparse, Mapping) and sparse.get("format", "dense") != "dense":
        raise _refused(folder, f"sparse weights, {ascii(sparse.get('format'))[:40]}")
    if not all(size > 0 for block in blocks for size in block):
        raise _refused(folder, "blocks without a size")
    return Schemes(tuple(dict.fromkeys(blocks)), suffix="_scale", codes=CODES)


def _weights(groups: Any, kind: Any) -> Iterator[tuple[Mapping[str, Any], Any]]:
    """Settings of the weights of every group, and its format."""
    for group in groups.values() if isinstance(groups, Mapping) else ():
        weights = group.get("weights") if isinstance(group, Mapping) else None
        if isinstance(weights, Mapping):
            yield weights, group.get("format") or kind


def _refused(folder: Path, what: str) -> CompatibilityError:
    return CompatibilityError(
        f"{folder.name} is quantized (compressed-tensors: {what}): its codes cannot be used as weights", hint=_HINT
    )
