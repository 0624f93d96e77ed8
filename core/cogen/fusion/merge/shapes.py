"""Which tensors a composite has, of which type and shape, and which of them are merged: from headers alone."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import DTYPES
from cogen.merging.engine import FLOATS
from cogen.merging.vocabulary import Vocabulary

_WIDTHS = dict(DTYPES.values())


def extents(base: Checkpoint, vocabulary: Vocabulary | None) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Type and shape of every tensor of the composite, by name."""
    found = {name: (info.dtype, info.shape) for name, info in base.tensors.items()}
    if vocabulary is not None:
        for name in vocabulary.names:
            info = base.tensors[vocabulary.stored_name(0, name)]
            found[name] = info.dtype, (vocabulary.size, *info.shape[1:])
    return dict(sorted(found.items()))


def nbytes(dtype: str, shape: Sequence[int]) -> int:
    """Of one tensor."""
    return _WIDTHS[dtype] * math.prod(shape)


def changed_names(base: Checkpoint, experts: Iterable[Checkpoint], vocabulary: Vocabulary | None = None) -> list[str]:
    """Floating-point tensors that at least one expert, or the vocabulary, may have changed, sorted by name; the
    others are the base's bytes."""
    listed = list(experts)

    def may_change(name: str) -> bool:
        if vocabulary is not None and vocabulary.is_vocabulary_tensor(0, name) and not kept(vocabulary, name):
            return True
        return any(expert.changed(name) for expert in listed)

    found = extents(base, vocabulary)
    return [name for name, (dtype, _) in found.items() if dtype in FLOATS and may_change(name)]


def kept(vocabulary: Vocabulary, name: str) -> bool:
    """Is this vocabulary tensor, row by row, the one that every model stores under this name?"""
    return all(
        rules.leaves_alone(model)
        and vocabulary.stored_name(model, name) == name
        and vocabulary.checkpoints[model].tensors[name].shape[0] == vocabulary.size
        for model, rules in vocabulary.rules.items()
    )
