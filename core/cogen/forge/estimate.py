"""What a training run will cost, measured on this machine before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.forge.recipe import TrainingRecipe

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Estimate:
    """Tokens to see, optimiser steps, trained parameters, peak memory in bytes, seconds."""

    corpus_tokens: int
    tokens: int
    epochs: float
    steps: int
    trained_parameters: int
    memory_bytes: int
    seconds: float
    threads: int


def estimate(
    model: Any, blocks: torch.Tensor, training: TrainingRecipe, corpus_tokens: int, general: torch.Tensor | None = None
) -> Estimate:
    """Time one forward and backward pass of one real batch and scale it up.

    :param model: already in its training shape; its weights are not changed.
    :param blocks: token ids, shape (blocks, sequence_length).
    :param general: in mode anchored, blocks of general text of the same length; a micro-batch reads one of them.
    """
    import psutil
    import torch

    batch = blocks[: training.batch_size]
    model.train()
    seconds = []
    for _ in range(2):  # the first pass warms up and is not counted
        began = time.perf_counter()
        with torch.autocast("cuda" if torch.cuda.is_available() else "cpu", dtype=torch.bfloat16):
            loss = model(input_ids=batch.to(model.device), labels=batch.to(model.device)).loss
            if general is not None:
                from cogen.forge.anchored import router_loss

                loss = loss + router_loss(model, general[:1].to(model.device))
            loss.backward()
        seconds.append(time.perf_counter() - began)
        model.zero_grad(set_to_none=True)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # What the pass itself took is in the process's peak; AdamW adds two float32 moments and the gradient.
    memory = _peak(psutil.Process()) + 12 * trained
    return Estimate(
        corpus_tokens=corpus_tokens,
        tokens=training.tokens,
        epochs=round(training.tokens / max(1, corpus_tokens), 2),
        steps=training.steps,
        trained_parameters=trained,
        memory_bytes=memory,
        seconds=seconds[1] * training.steps * training.gradient_accumulation,
        threads=torch.get_num_threads(),
    )


def _peak(process: Any) -> int:
    """Peak resident memory in bytes where the system tells it, else what is resident now."""
    try:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except ImportError:
        return int(process.memory_info().rss)
