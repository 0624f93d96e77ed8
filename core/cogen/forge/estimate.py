"""What a training run will cost, measured on this machine before it starts."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.evals.chat import LIMIT, QUICK, can_chat
from cogen.evals.generation import Sampling, generate
from cogen.forge import rehearsal

if TYPE_CHECKING:
    import torch

    from cogen.forge.build import PreparedTraining

#: Rows and steps of the trial generation that a rehearsal's time is scaled from.
_ROWS, _STEPS = 40, 4
#: Tokens of the forward pass that measuring is scaled from, and what lm-eval's own work adds to the passes.
_READ, _HARNESS = 512, 1.15
#: Seconds that lm-eval and its libraries take to load, once.
_IMPORT = 6.0


@dataclass(frozen=True)
class Estimate:
    """Tokens to see, optimiser steps, trained parameters, peak memory in bytes, seconds of everything that is left.

    ``parts`` are those seconds by what is done: router (mode anchored: general text is read), rehearsal (the base
    writes text), training, measuring (base and expert on the held-out text), asking (both on the chat suite).
    ``prepared`` are the seconds that fetching and converting the base and reading the texts took: they are over.
    """

    corpus_tokens: int
    tokens: int
    epochs: float
    steps: int
    trained_parameters: int
    memory_bytes: int
    seconds: float
    threads: int
    parts: dict[str, float] = field(default_factory=dict)
    prepared: float = 0.0


def estimate(model: Any, prepared: PreparedTraining, general: torch.Tensor | None = None) -> Estimate:
    """Time one forward and backward pass of one real batch, one pass in float32 and some generated tokens; scale up.

    :param model: in its training shape. Its weights keep their values, but are in float32 afterwards.
    :param general: in mode anchored, blocks of general text of the same length; a micro-batch reads one of them.
    """
    import psutil
    import torch

    training = prepared.recipe.training
    step = _training_step(model, prepared, general)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    # What the pass itself took is in the process's peak; AdamW adds two float32 moments and the gradient.
    memory = _peak(psutil.Process()) + 12 * trained
    parts = {"training": step * training.steps * training.gradient_accumulation}
    asks = can_chat(prepared.tokenizer)
    written = _writing(model, prepared) if asks or prepared.rehearsed_blocks else 0.0
    if prepared.rehearsed_blocks:
        parts = {"rehearsal": written * _rehearsal_tokens(prepared), **parts}
    read = _reading(model, prepared)
    if general is not None:
        # The base reads the general text once and about as much of the corpus.
        parts = {"router": 2 * read * general.numel(), **parts}
    parts["measuring"] = _IMPORT + 2 * _HARNESS * read * _heldout_tokens(prepared)
    if asks:
        parts["asking"] = 2 * written * QUICK * LIMIT
    corpus_tokens = sum(map(len, prepared.encoded))
    return Estimate(
        corpus_tokens=corpus_tokens,
        tokens=training.tokens,
        epochs=round(training.tokens * (1 - training.rehearsal) / max(1, corpus_tokens), 2),
        steps=training.steps,
        trained_parameters=trained,
        memory_bytes=memory,
        seconds=sum(parts.values()),
        threads=torch.get_num_threads(),
        parts=parts,
        prepared=prepared.seconds,
    )


def _training_step(model: Any, prepared: PreparedTraining, general: torch.Tensor | None) -> float:
    """Seconds of one micro-batch, forward and backward."""
    import torch

    training = prepared.recipe.training
    batch = prepared.blocks().ids[: training.batch_size]
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
    return seconds[1]


def _writing(model: Any, prepared: PreparedTraining) -> float:
    """Seconds of one generated token, from a few steps of one batch."""
    prompts = [next(filter(None, prepared.encoded))[:40] for _ in range(_ROWS)]
    model.eval()
    began = time.perf_counter()
    generate(model, prompts, Sampling(_STEPS, temperature=1.0, batch=_ROWS), frozenset())
    return (time.perf_counter() - began) / (_ROWS * _STEPS)


def _rehearsal_tokens(prepared: PreparedTraining) -> int:
    """Tokens that the base will write for the rehearsal at most; 0 if it has before."""
    if (prepared.run / "rehearsal.jsonl").is_file():
        return 0
    needed = prepared.rehearsed_blocks * prepared.recipe.training.sequence_length
    return rehearsal.planned_tokens(needed, prepared.recipe.card.languages)


def _reading(model: Any, prepared: PreparedTraining) -> float:
    """Seconds of one token that is only read, in float32 as the held-out text is measured."""
    import torch

    model.eval().float()
    ids = prepared.blocks().ids.reshape(1, -1)[:, :_READ].to(model.device)
    seconds = []
    with torch.inference_mode():
        for _ in range(2):
            began = time.perf_counter()
            model(input_ids=ids, use_cache=False)
            seconds.append(time.perf_counter() - began)
    return seconds[1] / ids.shape[1]


def _heldout_tokens(prepared: PreparedTraining) -> int:
    corpus = prepared.corpus
    private = corpus.private.test if corpus.private else []
    texts = [document.text for document in (*corpus.dev, *corpus.test, *private)]
    ids = prepared.tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
    return sum(map(len, ids))


def _peak(process: Any) -> int:
    """Peak resident memory in bytes where the system tells it, else what is resident now."""
    try:
        import resource
        import sys

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    except ImportError:
        return int(process.memory_info().rss)
