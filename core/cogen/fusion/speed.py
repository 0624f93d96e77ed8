"""How long tokens through a model take on this machine: estimates, good to a factor of two."""

from __future__ import annotations

import functools
import time

from cogen.devices import device

#: Operations a parameter and token: a dense layer multiplies and adds once in a forward pass.
FORWARD = 2
#: Tokens that are read in the time in which one is written, its question included: each step of an answer reads all
#: weights for a small batch. Measured on a CPU with SmolLM2-135M in batches of 20: four for answers of 64 tokens.
WRITTEN = 4
#: What a model reaches of the speed of its largest products alone: norms, attention and optimiser take the rest.
_EFFICIENCY = 0.35


@functools.cache
def flops() -> float:
    """Operations a second of a bfloat16 matrix product on this machine, measured in a moment."""
    import torch

    place = device()
    a = torch.ones(512, 1024, dtype=torch.bfloat16, device=place)
    b = torch.ones(1024, 1024, dtype=torch.bfloat16, device=place)
    found = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(4):
            (a @ b).sum().item()
        found.append(4 * 2 * 512 * 1024 * 1024 / (time.perf_counter() - began))
    return max(found)


def seconds(parameters: int, tokens: int, each: int = FORWARD) -> float:
    """An estimate: good to a factor of two.

    :param each: operations a parameter and token.
    """
    return round(each * parameters * tokens / (flops() * _EFFICIENCY), 1)
