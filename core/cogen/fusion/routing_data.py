"""What says which text is an expert's: samples, statistics in their place, or text that the expert writes itself.

Each need takes the first of these that an expert has. The last one every expert has, so nobody is left out of a mixture
because their text stays at home; only its cost differs, which the plan shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from cogen.checkpoints.load import load_expert, own_loaders
from cogen.evals import model_digest
from cogen.fusion.generated import TEXTS, Writer, generated_texts, generation_tokens
from cogen.fusion.samples import sample_embedding, sample_texts
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

    from cogen.checkpoints.model import Checkpoint
    from cogen.host import Expert, Host
    from cogen.routing.anchors import Anchor
    from cogen.routing.embedder import Embedder

#: What is needed: text itself, a mean state of the base, a mean sentence embedding, or frequencies of tokens.
Need = Literal["text", "states", "embedding", "tokens"]
#: Where it comes from. "counts": from token counts; "generated": from text that the expert writes.
Origin = Literal["samples", "states", "embedding", "counts", "generated"]
_WORDS: dict[Origin, str] = {
    "states": "the mean states that it ships",
    "embedding": "the mean embedding that it ships",
    "counts": "the token counts that it ships",
    "generated": f"{TEXTS} texts that it writes itself here",
}
_PURPOSE: dict[Need, str] = {
    "text": "calibration and training",
    "states": "its router row",
    "embedding": "its place among the texts",
    "tokens": "the evidence of its tokens",
}


@dataclass
class ExpertWriter:
    """An expert with its weights opened; see :class:`~cogen.fusion.generated.Writer`."""

    id: str
    tokenizer: Any
    tokenizer_digest: str
    load: Callable[[str], Any]
    _digest: Callable[[], str]

    @cached_property
    def digest(self) -> str:
        """Reads all of the weights."""
        return self._digest()


def writer_of(host: Host, expert: Expert, checkpoint: Checkpoint, tokenizer: Any, digest: str) -> ExpertWriter:
    """:param tokenizer: the expert's, of this ``digest``."""
    return ExpertWriter(
        expert.id,
        tokenizer,
        digest,
        lambda dtype: load_expert(host, expert.spec, checkpoint, dtype, deciding=True),
        lambda: model_digest(checkpoint, own_loaders(host)),
    )


def origin_of(expert: Expert, need: Need, embedder: str = "") -> Origin:
    """Where an expert's data come from, by its manifest.

    :param embedder: source of the embedding model, for the need "embedding": an embedding by another one says nothing.
    """
    samples, statistics = expert.spec.samples, expert.spec.statistics
    if samples is not None and (samples.path is not None or need == "embedding"):
        return "samples"
    if need != "text" and statistics is not None:
        if need == "states" and statistics.states is not None:
            return "states"
        if need == "embedding" and statistics.embedding is not None and statistics.embedder == embedder:
            return "embedding"
        if statistics.token_counts is not None:
            return "counts"
    return "generated"


Needs = Sequence[tuple[Need, str]]


def data_notes(experts: Sequence[Expert], needs: Needs) -> list[str]:
    """For the plan: what takes the place of samples, one line for each expert that ships none and each source.

    :param needs: what is needed, each with the source of the embedding model that it is for, or "".
    """
    found = []
    for expert in experts:
        for origin, purposes in _origins(expert, needs).items():
            if origin == "samples":
                continue
            cost = f" (about {generation_tokens():,} tokens through it)" if origin == "generated" else ""
            found.append(
                f"{expert.id} ships no sample text: {' and '.join(purposes)} from {_WORDS[origin]}{cost}; "
                "no text leaves its publisher"
            )
    return found


def extra_tokens(experts: Sequence[Expert], needs: Needs) -> int:
    """Tokens of the texts that have to be written, and of those that are made from counts."""
    from cogen.routing.token_counts import TOKENS

    # Frequencies of tokens are counts already: no text is made from them.
    drawn = 2 * TOKENS if any(need != "tokens" for need, _ in needs) else 0
    cost = {"generated": generation_tokens(), "counts": drawn}
    return sum(cost.get(origin, 0) for expert in experts for origin in _origins(expert, needs))


def _origins(expert: Expert, needs: Needs) -> dict[Origin, list[str]]:
    """Each source that is used, once, and what for."""
    found: dict[Origin, list[str]] = {}
    for need, embedder in needs:
        found.setdefault(origin_of(expert, need, embedder), []).append(_PURPOSE[need])
    return found


def texts_of(expert: Expert, writer: Callable[[], Writer], reporter: Reporter = SILENT) -> list[str]:
    """An expert's samples; without them, what it writes.

    :param writer: opens the expert's model; called only where it is needed.
    """
    if origin_of(expert, "text") == "samples":
        return sample_texts(expert)
    return generated_texts(writer(), reporter)


def mean_state_of(
    expert: Expert, anchor: Anchor, writer: Callable[[], Writer], reporter: Reporter = SILENT
) -> torch.Tensor:
    """Mean state of the base on an expert's text, shape (layers, hidden), float64: taken, or estimated.

    :param anchor: of the base. :raises CompatibilityError: what the expert ships is of another shape.
    """
    from cogen.routing.statistics import read_states, read_token_counts
    from cogen.routing.token_counts import state_from_counts

    origin = origin_of(expert, "states")
    if origin == "states":
        general = anchor.general.mean
        return read_states(expert, (general.shape[0], general.shape[1]))
    if origin == "counts":
        return state_from_counts(anchor, read_token_counts(expert))
    return anchor.mean(texts_of(expert, writer, reporter))


def token_frequencies(
    expert: Expert,
    tokenizer: Any,
    general: torch.Tensor,
    writer: Callable[[], Writer],
    reporter: Reporter = SILENT,
) -> torch.Tensor:
    """How often each token occurs in an expert's text, shape (rows of the embedding,), float64: counted, or shipped.

    :param tokenizer: the base's, which is the expert's; ``general``: counts of the general text, of the same shape.
    :raises CompatibilityError: what the expert ships is wrong.
    """
    from cogen.routing.evidence import count_tokens, shipped_counts
    from cogen.routing.statistics import read_token_counts

    if origin_of(expert, "tokens") == "counts":
        return shipped_counts(read_token_counts(expert, len(general)), general)
    return count_tokens(tokenizer, texts_of(expert, writer, reporter), len(general))


def embedding_of(
    expert: Expert, embedder: Embedder, writer: Callable[[], Writer], reporter: Reporter = SILENT
) -> torch.Tensor:
    """Mean sentence embedding of an expert's text, shape (dimensions,), float32: taken, or estimated.

    :raises CompatibilityError: what the expert ships is of another shape.
    """
    from cogen.routing.statistics import read_embedding, read_token_counts
    from cogen.routing.token_counts import embedding_from_counts

    origin = origin_of(expert, "embedding", embedder.source)
    if origin == "embedding":
        return read_embedding(expert, embedder.encode(["one text"]).shape[1]).float()
    if origin == "counts":
        return embedding_from_counts(embedder, writer().tokenizer, read_token_counts(expert))
    if origin == "generated":
        return embedder.encode(generated_texts(writer(), reporter)).double().mean(0).float()
    return sample_embedding(expert, embedder)
