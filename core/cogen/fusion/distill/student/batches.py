"""Texts → padded batches of nearly equal cost, in an order that depends on the seed alone."""

from __future__ import annotations

import random
from collections.abc import Sequence

from cogen.errors import TrainError
from cogen.fusion.distill.settings import Distillation

#: Batches are cut from so many texts at a time, sorted by length: little padding, and still a random order.
_WINDOW = 64
#: A short run's teachers leave out what it never comes to, where that is this share of their tokens at least.
_WORTH = 0.25


def plan_batches(lengths: Sequence[int], learned: Sequence[int], tokens: int, size: int, seed: int) -> list[list[int]]:
    """Which texts stand in which batch.

    Texts are read in passes; the order of a pass depends on (seed, pass) alone.

    :param lengths: tokens of each text as the student reads it.
    :param learned: how many of them are learned; a text with none is left out.
    :param tokens: learned tokens in all: the first batch that reaches them is the last.
    :param size: padded tokens of a batch at most; a longer text has a batch to itself.
    :returns: indices of texts.
    :raises TrainError: there is nothing to learn.
    """
    usable = [index for index, count in enumerate(learned) if count > 0]
    if not usable:
        raise TrainError(
            "no text leaves anything to learn", hint="give other texts, or raise max_length: prompts may fill it"
        )
    chosen: list[list[int]] = []
    seen = passes = 0
    while True:
        rng = random.Random(f"{seed} {passes}")
        order = rng.sample(usable, len(usable))
        batches: list[list[int]] = []
        for at in range(0, len(order), _WINDOW):
            batches += _cut(sorted(order[at : at + _WINDOW], key=lambda index: (lengths[index], index)), lengths, size)
        rng.shuffle(batches)
        for batch in batches:
            chosen.append(batch)
            seen += sum(learned[index] for index in batch)
            if seen >= tokens:
                return chosen
        passes += 1


def plan_run(lengths: Sequence[int], learned: Sequence[int], settings: Distillation) -> list[list[int]]:
    """:func:`plan_batches` as a run has them: in whole steps, since one that lacks a batch would weigh it more."""
    size = max(16, settings.tokens_a_step // settings.accumulation)
    order = plan_batches(lengths, learned, settings.tokens, size, settings.seed)
    return order[: len(order) - len(order) % settings.accumulation] or order


def select_read(lengths: Sequence[int], learned: Sequence[int], settings: Distillation) -> list[int]:
    """Texts that a teacher has to read, ascending: those that the run comes to.

    All of them where that leaves out little: one reading then serves every seed, and runs of any length.

    :param lengths, learned: as in :func:`plan_batches`.
    """
    found = sorted({index for batch in plan_run(lengths, learned, settings) for index in batch})
    kept = sum(lengths[index] for index in found)
    return found if kept <= (1 - _WORTH) * sum(lengths) else list(range(len(lengths)))


def _cut(ordered: Sequence[int], lengths: Sequence[int], size: int) -> list[list[int]]:
    batches: list[list[int]] = [[]]
    for index in ordered:  # the longest so far comes last, so it decides the width
        if batches[-1] and lengths[index] * (len(batches[-1]) + 1) > size:
            batches.append([])
        batches[-1].append(index)
    return batches
