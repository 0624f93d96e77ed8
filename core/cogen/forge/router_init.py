"""What the router of an anchored expert begins with: rows, the size of their steps, and general text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.evals import calibration_texts
from cogen.forge.blocks import encode, pack
from cogen.forge.corpus import Document
from cogen.forge.recipe import TrainingRecipe
from cogen.routing.anchors import Anchor
from cogen.routing.rows import discriminant_rows, step_sizes

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Start:
    """``rows`` and ``scale`` have shape (layers, hidden), float32.

    ``general`` holds a block of general text for every micro-batch of the run: token ids, shape
    (steps · accumulation, sequence_length), int64.
    """

    rows: torch.Tensor
    scale: torch.Tensor
    general: torch.Tensor


def begin(anchor: Anchor, texts: Sequence[str], general: torch.Tensor, *, private: bool = False) -> Start:
    """Start at the linear discriminant of the domain's text against general text, in the states of the untrained base.

    :param texts: some of the training text; only the mean of its states is used.
    :param private: nothing that is made of ``texts`` is cached.
    """
    moments = anchor.general
    return Start(
        discriminant_rows(moments, anchor.mean(texts, cached=not private)).float(), step_sizes(moments).float(), general
    )


def general_blocks(tokenizer: Any, training: TrainingRecipe) -> torch.Tensor:
    """The fixed general text as in :class:`Start`: one block a micro-batch, in an order that the seed alone decides."""
    documents = [Document(text, "general", "general", "unknown") for text in calibration_texts()]
    count = training.steps * training.gradient_accumulation
    return pack(encode(documents, tokenizer), training.sequence_length, count, training.seed)


def some_texts(documents: Sequence[Document], limit: int) -> list[str]:
    """The first documents that have at most ``limit`` bytes together, and at least one."""
    found: list[str] = []
    size = 0
    for document in documents:
        size += document.bytes
        if found and size > limit:
            break
        found.append(document.text)
    return found
