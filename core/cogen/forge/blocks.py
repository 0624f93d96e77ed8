"""Documents → token blocks of equal length, the way continual pre-training reads them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cogen.errors import TrainError
from cogen.forge.corpus import Document

if TYPE_CHECKING:
    import torch


def separator_id(tokenizer: Any) -> int:
    """The token between documents: ``<|endoftext|>`` if the vocabulary has it, else bos, else eos."""
    vocabulary = tokenizer.get_vocab()
    for token in ("<|endoftext|>", tokenizer.bos_token, tokenizer.eos_token):
        if token is not None and token in vocabulary:
            return int(vocabulary[token])
    raise TrainError(
        "the tokenizer has no token that could separate documents", hint="use a base with a bos or eos token"
    )


def encode(documents: Sequence[Document], tokenizer: Any) -> list[list[int]]:
    """Token ids of each document, led by the separator: the same prefix that the suites use."""
    lead = separator_id(tokenizer)
    encoded = tokenizer([d.text for d in documents], add_special_tokens=False)["input_ids"]
    return [[lead, *ids] for ids in encoded]


def pack(encoded: Sequence[Sequence[int]], length: int, count: int, seed: int) -> torch.Tensor:
    """``count`` blocks of ``length`` tokens, shape (count, length), int64.

    Documents are joined without padding. When the corpus ends before ``count`` blocks are full it is
    read again in a new order; the order of every pass depends on (seed, pass) alone.
    """
    import torch

    needed = length * count
    stream: list[int] = []
    epoch = 0
    while len(stream) < needed:
        order = list(range(len(encoded)))
        if epoch:
            random.Random(f"{seed} {epoch}").shuffle(order)
        before = len(stream)
        for index in order:
            stream.extend(encoded[index])
        if len(stream) == before:
            raise TrainError("the corpus holds no tokens", hint="check the recipe's sources")
        epoch += 1
    return torch.tensor(stream[:needed], dtype=torch.int64).reshape(count, length)
