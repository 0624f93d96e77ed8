"""Documents and conversations → token blocks of equal length, the way a training reads them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.errors import TrainError
from cogen.forge.chats import LabeledTokens
from cogen.forge.corpus import Document

if TYPE_CHECKING:
    import torch

#: Label of a token that is not learned as a target, as transformers' losses have it.
IGNORED = -100
#: Blocks that :func:`pack_whole` keeps open at a time.
_OPEN = 32


@dataclass(frozen=True)
class Blocks:
    """What a run reads, in order; all of shape (steps · batch · accumulation, sequence_length), int64.

    :param labels: targets, -100 where none is learned; ``None``: every token is.
    :param positions: begin again at 0 with every conversation, which keeps attention within it; ``None``: 0, 1, 2 ….
    :param rehearsed: which blocks the base wrote, shape (blocks,), bool; ``None``: none.
    """

    ids: torch.Tensor
    labels: torch.Tensor | None = None
    positions: torch.Tensor | None = None
    rehearsed: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.ids)

    def rows(self) -> list[dict[str, torch.Tensor]]:
        """One item a block, as the Trainer takes them."""
        found = [{"input_ids": ids, "labels": ids} for ids in self.ids]
        for name, values in (("labels", self.labels), ("position_ids", self.positions)):
            if values is not None:
                for item, row in zip(found, values, strict=True):
                    item[name] = row
        return found


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


def with_ends(encoded: Sequence[Sequence[int]], tokenizer: Any) -> list[LabeledTokens]:
    """Documents as :func:`encode` gives them, with the tokenizer's end of text behind each, learned.

    The separator in front is not learned: nothing leads to it. Where it is the end of text itself, the one that leads
    the next document ends this one, so that one stays learned and none is added.

    :raises TrainError: the tokenizer has no end-of-text token.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise TrainError(
            "the base's tokenizer has no end-of-text token that a document could end with",
            hint="use another base, or document_ends = false",
        )
    if end == separator_id(tokenizer):
        return [LabeledTokens(list(ids), list(ids)) for ids in encoded]
    return [LabeledTokens([*ids, int(end)], [IGNORED, *ids[1:], int(end)]) for ids in encoded]


def pack_tokens(encoded: Sequence[LabeledTokens], length: int, count: int, seed: int) -> Blocks:
    """:func:`pack` of ids and labels alike."""
    ids = pack([tokens.ids for tokens in encoded], length, count, seed)
    return Blocks(ids, pack([tokens.labels for tokens in encoded], length, count, seed))


def pack_whole(encoded: Sequence[LabeledTokens], length: int, count: int, seed: int, filler: int) -> Blocks:
    """``count`` blocks of whole sequences, none of which is longer than ``length``.

    A sequence goes into the first of the open blocks that has room; what stays empty is filled with ``filler`` and not
    learned. The order of every pass depends on (seed, pass) alone, as in :func:`pack`.
    """
    import torch

    if not encoded:
        raise TrainError("no conversation is left to learn from", hint="raise sequence_length, or add sources")
    done: list[list[LabeledTokens]] = []
    opened: list[tuple[int, list[LabeledTokens]]] = []
    epoch = 0
    while len(done) + len(opened) <= count:  # one more than is needed: those before it are as full as they get
        order = list(range(len(encoded)))
        if epoch:
            random.Random(f"{seed} {epoch}").shuffle(order)
        for index in order:
            tokens = encoded[index]
            size = len(tokens.ids)
            place = next((i for i, (taken, _) in enumerate(opened) if taken + size <= length), None)
            if place is None:
                if len(opened) == _OPEN:  # the oldest is full enough
                    done.append(opened.pop(0)[1])
                opened.append((size, [tokens]))
            else:
                taken, inside = opened[place]
                opened[place] = (taken + size, [*inside, tokens])
        epoch += 1
    done += [inside for _, inside in opened]
    ids = torch.full((count, length), filler, dtype=torch.int64)
    labels = torch.full((count, length), IGNORED, dtype=torch.int64)
    positions = torch.zeros((count, length), dtype=torch.int64)
    for row, inside in enumerate(done[:count]):
        start = 0
        for tokens in inside:
            stop = start + len(tokens.ids)
            ids[row, start:stop] = torch.tensor(tokens.ids)
            labels[row, start:stop] = torch.tensor(tokens.labels)
            positions[row, start:stop] = torch.arange(stop - start)
            start = stop
        positions[row, start:] = torch.arange(length - start)
    return Blocks(ids, labels, positions)


def interleave(own: Blocks, rehearsed: Blocks) -> Blocks:
    """Both, with the rehearsed blocks spread evenly over the run; the order within each stays."""
    import torch

    total, share = len(own) + len(rehearsed), len(rehearsed)
    taken = torch.tensor([(i + 1) * share // total > i * share // total for i in range(total)], dtype=torch.bool)

    def merged(name: str) -> torch.Tensor:
        found = torch.empty((total, own.ids.shape[1]), dtype=torch.int64)
        found[~taken], found[taken] = _filled(own, name), _filled(rehearsed, name)
        return found

    return Blocks(merged("ids"), merged("labels"), merged("positions"), taken)


def _filled(blocks: Blocks, name: str) -> torch.Tensor:
    import torch

    found: torch.Tensor | None = getattr(blocks, name)
    if found is not None:
        return found
    return blocks.ids if name == "labels" else torch.arange(blocks.ids.shape[1]).expand_as(blocks.ids)


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
