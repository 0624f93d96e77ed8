"""A text as one model reads it: its own chat template, its own tokens, and where each of them ends in bytes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cogen.errors import CompatibilityError
from cogen.evals.settings import prefix_token_id
from cogen.fusion.distill.texts import Item
from cogen.fusion.distill.token_bytes import begins_word, token_bytes

#: Stands for an answer where a template is asked what it puts behind one.
_PROBE = "0a1b2c3d"


@dataclass(frozen=True)
class Encoded:
    """One text in tokens.

    The logits at ``start + i - 1`` predict the answer's token ``i``: something always stands before an answer.

    :param ids: the whole sequence, shape (n,), int32.
    :param start, stop: of the answer's tokens; behind ``stop`` is at most what closes a turn. Equal: nothing of the
        answer was read.
    :param ends: UTF-8 byte of the answer behind each of its tokens, shape (stop - start,), int32; never falls. A token
        that ends inside a character has the byte inside of it.
    """

    ids: np.ndarray
    start: int
    stop: int
    ends: np.ndarray


class Encoder:
    """Reads texts as one model does.

    :param tokenizer: a fast tokenizer of transformers.
    :raises CompatibilityError: it tells no offsets and is not of a family whose tokens' bytes are known.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise CompatibilityError(
                f"{type(tokenizer).__name__} is a slow tokenizer, which does not say where its tokens end",
                hint="use a model whose folder holds tokenizer.json",
            )
        self.tokenizer = tokenizer
        self.token_bytes = token_bytes(tokenizer)
        self.begins_word = begins_word(self.token_bytes)
        self._sizes = np.array([len(token or b"") for token in self.token_bytes], dtype=np.int64)

    @property
    def size(self) -> int:
        """Of the vocabulary: ids are below."""
        return len(self.token_bytes)

    def encode(self, items: Sequence[Item], max_length: int) -> list[Encoded]:
        """Every text in its order; what is longer than ``max_length`` tokens is cut at the end.

        :raises CompatibilityError: an exchange, and the tokenizer has no chat template.
        """
        if not items:
            return []
        answers = self._tokens([item.answer for item in items])
        heads = self._heads(items)
        close = self._closing() if any(item.messages for item in items) else []
        found = []
        for item, head, ids in zip(items, heads, answers, strict=True):
            room = max(0, max_length - len(head))
            kept = ids[:room]
            ends = self._ends(item.answer, ids)[: len(kept)]
            tail = close if item.messages and len(kept) == len(ids) and len(head) + len(ids) < max_length else []
            whole = np.array([*head[:max_length], *kept, *tail[: room - len(kept)]], dtype=np.int32)
            start = min(len(head), max_length)
            found.append(Encoded(whole, start, start + len(kept), ends))
        return found

    def _tokens(self, texts: Sequence[str]) -> list[list[int]]:
        ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
        return ids

    def _heads(self, items: Sequence[Item]) -> list[list[int]]:
        """What stands before each answer."""
        if any(item.messages for item in items) and not self.tokenizer.chat_template:
            raise CompatibilityError(
                f"{self.tokenizer.name_or_path or 'a tokenizer'} has no chat template, and some texts are exchanges",
                hint='use instruction-tuned models, or plain documents: {"text": "…"}',
            )
        plain = [prefix_token_id(self.tokenizer)] if any(not item.messages for item in items) else []
        # The template writes the special tokens itself: a second beginning of text would be one too many.
        chats = iter(self._tokens([self._rendered(item) for item in items if item.messages]))
        return [next(chats) if item.messages else plain for item in items]

    def _rendered(self, item: Item) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in item.messages]
        text: str = self.tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return text

    def _closing(self) -> list[int]:
        """What the model's template puts behind an answer, up to the first special token; else the end of text."""
        turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}]
        behind = self.tokenizer.apply_chat_template(turns, tokenize=False).rpartition(_PROBE)[2]
        ids = self._tokens([behind])[0] if behind else []
        for place, id in enumerate(ids):
            if self.token_bytes[id] is None:
                return ids[: place + 1]
        end = self.tokenizer.eos_token_id
        return [] if end is None else [int(end)]

    def _ends(self, text: str, ids: Sequence[int]) -> np.ndarray:
        """Bytes behind each token: from the tokens' own bytes where these give the text, else from offsets."""
        wanted = text.encode()
        joined = b"".join([self.token_bytes[id] or b"" for id in ids])
        # SentencePiece and WordPiece put a space before a text.
        extra = len(joined) - len(wanted)
        if extra in (0, 1) and joined[extra:] == wanted and joined[:extra] in (b"", b" "):
            ends = np.cumsum(self._sizes[np.asarray(ids, dtype=np.int64)]) - extra
            return np.maximum(ends, 0).astype(np.int32)
        return self._ends_by_offsets(text, wanted)

    def _ends_by_offsets(self, text: str, wanted: bytes) -> np.ndarray:
        """Of a tokenizer that changes texts (case, accents, spaces): by its character offsets.

        Tokens that share a character: all but the last of them end where it begins.
        """
        pairs = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)["offset_mapping"]
        if not pairs:
            return np.zeros(0, dtype=np.int32)
        offsets = np.array(pairs, dtype=np.int64)
        widths = np.frombuffer(wanted, dtype=np.uint8)
        # Bytes that begin a character: all but 10xxxxxx.
        at = np.append(np.flatnonzero((widths & 0xC0) != 0x80), len(wanted))
        ends = offsets[:, 1].copy()
        ends[:-1] = np.where(offsets[1:, 0] < ends[:-1], np.minimum(offsets[1:, 0], ends[:-1]), ends[:-1])
        return np.maximum.accumulate(at[ends]).astype(np.int32)
