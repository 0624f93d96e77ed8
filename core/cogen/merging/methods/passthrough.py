"""One model as it is, or scaled: what layers are stacked with."""

from __future__ import annotations

from collections.abc import Sequence

from cogen.merging.kernels.combine import Coefficients, by_coefficients
from cogen.merging.method import each


def coefficients(weights: Sequence[float], *, scale: float | Sequence[float] = 1.0) -> Coefficients:
    """``s·E``; at the default scale 1 every bit of the expert. The same as mergekit's ``passthrough``."""
    return 0.0, each(scale, 1)


passthrough = by_coefficients(
    "passthrough",
    coefficients,
    base="unused",
    experts=(1, 1),
    per_expert=frozenset({"scale"}),
    weighted=False,
    source="https://github.com/arcee-ai/mergekit/blob/main/docs/merge_methods.md#passthrough-passthrough",
)
