"""A text as one model reads it: its own chat template, its own tokens, and where each of them ends in bytes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cogen.checkpoints.chat_templates import render_chat
from cogen.errors import CompatibilityError
from cogen.evals.settings import prefix_token_id
from cogen.fusion.distill.alignment.ends import by_bytes, by_offsets
from cogen.fusion.distill.alignment.token_bytes import begins_word, token_bytes
from cogen.fusion.distill.texts import Item, Message

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
        that ends inside a character has the byte inside of it where that is known (:mod:`.ends`).
    """

    ids: np.ndarray
    start: int
    stop: int
    ends: np.ndarray


class Encoder:
    """Reads texts as one model does.

    :param tokenizer: a fast tokenizer of transformers.
    :raises CompatibilityError: it is a slow one, which gives no offsets.
    """

    def __init__(self, tokenizer: Any) -> None:
        if not getattr(tokenizer, "is_fast", False):
            raise CompatibilityError(
                f"{type(tokenizer).__name__} is a slow tokenizer, which gives no character offsets",
                hint="use a model whose folder holds tokenizer.json",
            )
        self.tokenizer = tokenizer
        self.token_bytes = token_bytes(tokenizer)
        self.begins_word = begins_word(self.token_bytes)
        # A text may hold special tokens: these are spelled as they are.
        added = tokenizer.added_tokens_decoder
        self._spelled = [
            token if token is not None else added[id].content.encode() if id in added else b""
            for id, token in enumerate(self.token_bytes)
        ]
        self._sizes = np.array([len(token) for token in self._spelled], dtype=np.int64)

    @property
    def size(self) -> int:
        """Of the vocabulary: ids are below."""
        return len(self.token_bytes)

    def encode(self, items: Sequence[Item], max_length: int) -> list[Encoded]:
        """Every text in its order; what is longer than ``max_length`` tokens is cut at the end.

        :raises CompatibilityError: an exchange, and the tokenizer has no chat template, or one that refuses it.
        :raises EvalError: a document, and the tokenizer has no token to put before it.
        """
        if not items:
            return []
        answers = self.tokens([item.answer for item in items])
        heads = self._heads(items)
        close = self._closing() if any(item.messages for item in items) else []
        found = []
        for item, head, ids in zip(items, heads, answers, strict=True):
            left = max(0, max_length - len(head))
            kept = ids[:left]
            ends = self._ends(item.answer, ids)[: len(kept)]
            tail = close if item.messages and len(kept) == len(ids) and len(head) + len(ids) < max_length else []
            whole = np.array([*head[:max_length], *kept, *tail[: left - len(kept)]], dtype=np.int32)
            start = min(len(head), max_length)
            found.append(Encoded(whole, start, start + len(kept), ends))
        return found

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids of each text, without special tokens around it."""
        if not texts:
            return []
        read = self.tokenizer(
            list(texts),
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,  # the length that a tokenizer warns about is not that of its model
        )
        ids: list[list[int]] = read["input_ids"]
        return ids

    def _heads(self, items: Sequence[Item]) -> list[list[int]]:
        """What stands before each answer."""
        if any(item.messages for item in items) and not self.tokenizer.chat_template:
            raise CompatibilityError(
                f"{self._name} has no chat template, and some texts are exchanges",
                hint='use instruction-tuned models, or plain documents: {"text": "…"}',
            )
        plain = [self._prefix] if any(not item.messages for item in items) else []
        # The template writes the special tokens itself: a second beginning of text would be one too many.
        chats = iter(self.tokens([self._render(item.messages, True) for item in items if item.messages]))
        return [(next(chats) or [self._prefix]) if item.messages else plain for item in items]

    @functools.cached_property
    def _prefix(self) -> int:
        # Looked up once: a vocabulary takes longer to read than many a text.
        found: int = prefix_token_id(self.tokenizer)
        return found

    @property
    def _name(self) -> str:
        return self.tokenizer.name_or_path or "a tokenizer"

    def _render(self, messages: Sequence[Message], ask: bool) -> str:
        turns = [{"role": turn.role, "content": turn.content} for turn in messages]
        return render_chat(self.tokenizer, turns, ask=ask, owner=self._name)

    def _closing(self) -> list[int]:
        """The special token that the model's template puts behind an answer; else the end of text.

        Alone, without a space that stands before it: in the model's own text that is a part of another token.
        """
        rendered = self._render([Message("user", "?"), Message("assistant", _PROBE)], False)
        _, found, behind = rendered.rpartition(_PROBE)
        for id in self.tokens([behind])[0] if found and behind else []:
            if self.token_bytes[id] is None:
                return [id]
        end = self.tokenizer.eos_token_id
        return [] if end is None else [int(end)]

    def _ends(self, text: str, ids: Sequence[int]) -> np.ndarray:
        """Bytes behind each token: from the tokens' own bytes where these give the text, else from offsets."""
        tokens = [self._spelled[id] for id in ids]
        found = by_bytes(text.encode(), tokens, self._sizes[np.asarray(ids, dtype=np.int64)])
        return by_offsets(text, tokens, self._offsets(text)) if found is None else found

    def _offsets(self, text: str) -> np.ndarray:
        """First character of each token and the one behind its last, shape (n, 2), int64."""
        read = self._untrimmed(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        return np.array(read["offset_mapping"], dtype=np.int64).reshape(-1, 2)

    @functools.cached_property
    def _untrimmed(self) -> Any:
        """The tokenizer, but its offsets are whole: GPT-2's post-processor leaves out spaces at a token's ends."""
        last = self.tokenizer.backend_tokenizer.post_processor
        if last is None or b'"trim_offsets":true' not in last.__getstate__():
            return self.tokenizer
        whole = copy.deepcopy(self.tokenizer)
        whole.backend_tokenizer.post_processor = None
        return whole
