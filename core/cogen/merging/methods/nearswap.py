"""NearSwap: a model takes over another's values where the two are near (alchemonaut, QuartetAnemoi-70B)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import UsageError
from cogen.merging.kernels.bits import choose, equal
from cogen.merging.method import method

if TYPE_CHECKING:
    import torch

    from cogen.merging.block import Block


@method(
    base="unused",
    experts=(2, 2),
    ordered=True,
    space={"t": (0.0, 0.01)},
    weighted=False,
    source="https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
)
def nearswap(block: Block, weights: Sequence[float], state: None, *, t: float) -> torch.Tensor:
    """``w·b + (1 - w)·a`` with ``w = min(t/|b - a|, 1)`` for every value a of the first expert and b of the second.

    Written out: b where the two differ by at most t, otherwise ``a ± t``, one step of length t from a towards b. That
    is how it is computed: there is no division, and an infinite b cannot make NaN of a. t has the unit of the weights;
    t = 0 gives a, a large t gives b. mergekit's ``nearswap``, without its lower bound of 1e-6 on ``|b - a|``, which its
    documentation lacks and which keeps a t below 1e-6 from ever reaching b. Weights play no part.

    :raises UsageError: t is negative.
    """
    if not t >= 0.0:
        raise UsageError(
            f"nearswap: t must not be negative (got {t:g})", hint="t is a distance in the unit of the weights"
        )
    a, b = block.experts
    whole = b - a
    step = whole.clamp(-t, t)
    moved = choose(equal(step, whole), b, a + step)
    # Without a step not even 0.0 is added, which would lose a sign; between equal infinities the step is NaN.
    return choose(equal(step, 0.0) | equal(a, b), a, moved)
