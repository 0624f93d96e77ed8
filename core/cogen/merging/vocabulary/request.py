"""The vocabulary that a merged model is to have. Models are indices into the list of checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from cogen.errors import UsageError

TRANSPLANTS = ("mean", "subword", "omp")


@dataclass(frozen=True)
class ModelToken:
    """The embedding of another token: exactly one of ``token`` and ``id``."""

    model: int
    token: str | None = None
    id: int | None = None


@dataclass(frozen=True)
class TokenSource:
    """Where the embedding of one token comes from in the models that lack it; with ``force`` in all of them."""

    source: int | ModelToken | Literal["zero"] | None = None
    force: bool = False


@dataclass(frozen=True)
class VocabularyConfig:
    """The tokens of the merged model, and the embeddings that a model gets for tokens that it lacks.

    :param source: the union of all models' tokens, the base's, or those of the model with this index.
    :param tokens: sources of single tokens; tokens that the tokenizer lacks are added to it.
    :param transplant: how a model computes embeddings of missing tokens from its own. ``None``: it takes the base's
        row, else the only owner's, else the mean of the owners' rows (mergekit's documented rule).
    :param sparsity: with "omp", the maximum number of embeddings to combine (arXiv:2506.06607 uses 64).
    """

    source: Literal["union", "base"] | int = "union"
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    transplant: Literal["mean", "subword", "omp"] | None = None
    sparsity: int = 64

    def check(self, models: int) -> None:
        """:raises UsageError: a model, token or option that does not exist, or a contradiction."""
        if isinstance(self.source, int):
            _model(self.source, models)
        elif self.source not in ("union", "base"):
            raise UsageError(
                f"unknown tokenizer source {self.source!r}", hint="one of union, base, or a model of the recipe"
            )
        if self.transplant is not None and self.transplant not in TRANSPLANTS:
            raise UsageError(f"unknown transplant {self.transplant!r}", hint=f"one of {', '.join(TRANSPLANTS)}")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise UsageError("pad_to_multiple_of must be at least 1", hint="for example 64")
        if self.sparsity < 1:
            raise UsageError("sparsity must be at least 1", hint="the default is 64")
        for token, source in self.tokens.items():
            if not token:
                raise UsageError("a token must not be empty", hint="remove it")
            if source.force and source.source is None:
                raise UsageError(
                    f"the token {token!r} has force without a source", hint="give it a source, or remove force"
                )
            if isinstance(source.source, ModelToken):
                _model(source.source.model, models)
                if (source.source.token is None) == (source.source.id is None):
                    raise UsageError(f"the source of {token!r} needs either a token or an id", hint="give one of them")
            elif isinstance(source.source, int):
                _model(source.source, models)


def _model(index: int, models: int) -> None:
    if not 0 <= index < models:
        raise UsageError(f"there is no model {index}", hint=f"models are numbered 0 to {models - 1}")
