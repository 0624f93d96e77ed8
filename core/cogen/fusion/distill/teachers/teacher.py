"""What scores texts: here a model in memory; one behind a network would have the same four members."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cogen.checkpoints.digests import tokenizer_digest
from cogen.fusion.distill.alignment.encode import Encoded, Encoder
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.fusion.distill.teachers.statistics import measure
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

#: Padded tokens of a forward pass, and rows of logits that exist at once.
TOKENS, ROWS = 2048, 128
#: Times as many tokens go through a model on a GPU at once.
ON_A_GPU = 8
#: Configurations with one of these do something to logits behind the output head. Little where logits are small, so
#: :func:`_head_is_all` would not always see it.
_CHANGES_LOGITS = (
    "final_logit_softcapping",
    "output_logit_soft_cap",
    "logit_scale",
    "logits_scaling",
    "lm_head_multiplier",
)


class Teacher(Protocol):
    """``digest`` changes with anything that changes its predictions; the tokenizer's also with its chat template."""

    @property
    def digest(self) -> str: ...

    @property
    def tokenizer_digest(self) -> str: ...

    @property
    def encoder(self) -> Encoder: ...

    def score(self, texts: Sequence[Encoded], needs: TeacherStatistics) -> Iterator[dict[str, np.ndarray]]:
        """Its statistics of each text, in order: m + 1 rows for an answer of m tokens, the last for what follows it.

        ``logprob`` has m rows. An answer of no tokens has none at all.
        """

    def release(self) -> None:
        """Let go of what it holds in memory."""


class LocalTeacher:
    """A model with local weights, loaded when it is first needed.

    :param load: a transformers causal language model in eval mode.
    :param digest: of its weights and configuration.
    """

    def __init__(self, load: Callable[[], Any], tokenizer: Any, digest: str) -> None:
        self._load, self.digest = load, digest
        self._model: Any = None
        self._short: bool | None = None
        self.encoder = Encoder(tokenizer)
        template = tokenizer.chat_template or ""
        self.tokenizer_digest = canonical_digest([tokenizer_digest(tokenizer), template])

    def score(self, texts: Sequence[Encoded], needs: TeacherStatistics) -> Iterator[dict[str, np.ndarray]]:
        """See :class:`Teacher`. Texts of like length go through the model together."""
        import torch

        found: list[dict[str, np.ndarray]] = [{} for _ in texts]
        read = [index for index, text in enumerate(texts) if text.stop > text.start]
        if read and self._model is None:
            self._model = self._load()
        order = sorted(read, key=lambda index: (len(texts[index].ids), index))
        words = torch.from_numpy(self.encoder.begins_word)
        batch: list[int] = []
        tokens = TOKENS * (ON_A_GPU if read and self._model.device.type == "cuda" else 1)
        with torch.inference_mode():
            for index in [*order, -1]:
                if batch and (index < 0 or len(texts[index].ids) * (len(batch) + 1) > tokens):
                    for place, statistics in zip(
                        batch, self._batch([texts[i] for i in batch], needs, words), strict=True
                    ):
                        found[place] = statistics
                    batch = []
                batch.append(index)
        yield from found

    def release(self) -> None:
        if self._model is not None:
            self._model = self._short = None
            gc.collect()  # modules of torch refer to each other in circles

    def _batch(
        self, texts: Sequence[Encoded], needs: TeacherStatistics, words: torch.Tensor
    ) -> list[dict[str, np.ndarray]]:
        import torch

        width = max(len(text.ids) for text in texts)
        ids = torch.zeros(len(texts), width, dtype=torch.int64)
        mask = torch.zeros(len(texts), width, dtype=torch.int64)
        for row, text in enumerate(texts):
            ids[row, : len(text.ids)] = torch.from_numpy(text.ids)
            mask[row, : len(text.ids)] = 1
        logits = self._logits(ids, mask)
        found = []
        for row, text in enumerate(texts):
            rows = range(text.start - 1, text.stop)
            # Behind the last token nothing stands; its row has any target.
            targets = torch.from_numpy(np.append(text.ids[text.start : text.stop], 0).astype(np.int64))
            parts = [
                measure(
                    logits(row, part.start, part.stop).cpu(),
                    targets[at : at + len(part)],
                    words,
                    needs,
                    self.encoder.size,
                )
                for at, part in ((at, rows[at : at + ROWS]) for at in range(0, len(rows), ROWS))
            ]
            statistics = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            if "logprob" in statistics:
                statistics["logprob"] = statistics["logprob"][:-1]
            found.append(statistics)
        return found

    def _logits(self, ids: torch.Tensor, mask: torch.Tensor) -> Callable[[int, int, int], torch.Tensor]:
        """(text, first row, behind the last row) → logits, shape (rows, V)."""
        model = self._model
        ids, mask = ids.to(model.device), mask.to(model.device)
        if self._short is None:
            self._short = _head_is_all(model, ids[:1, :16])
        if not self._short:
            whole = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
            return lambda row, first, last: whole[row, first:last]
        states = model.get_decoder()(input_ids=ids, attention_mask=mask, use_cache=False).last_hidden_state
        head = model.get_output_embeddings()
        return lambda row, first, last: head(states[row, first:last])


def _head_is_all(model: Any, ids: torch.Tensor) -> bool:
    """Are the logits what the output head makes of the decoder's states? Then only rows that are asked for are made.

    BERT and its kin transform the states first, ModernBERT's decoder calls its head the decoder, and some scale logits
    or bend them. transformers does not expose this, so both ways are tried on a few tokens.
    """
    config = model.config.get_text_config()
    if any(getattr(config, name, None) not in (None, 1, 1.0) for name in _CHANGES_LOGITS):
        return False
    try:
        states = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
        short = model.get_output_embeddings()(states).float()
    except (AttributeError, TypeError, NotImplementedError, RuntimeError):
        return False
    whole = model(input_ids=ids, use_cache=False).logits.float()
    # Rounding of bfloat16 differs by a few thousandths; a head that is not all, by as much as the logits themselves.
    return short.shape == whole.shape and bool((short - whole).abs().max() <= 0.01 * whole.abs().max())
