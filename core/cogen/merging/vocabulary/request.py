"""What a recipe says about the vocabulary of its composite. A model is its index in the list of checkpoints."""

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
    """The tokens of the composite, and what a model that lacks one of them takes for it.

    :param source: every model's tokens, the base's, or those of the model with this index.
    :param tokens: wishes for single tokens; one that the source lacks is added to it.
    :param transplant: how a model makes embeddings for tokens that it lacks out of its own ones. ``None``: it takes
        the base's row, else the only owner's, else the mean of the owners' rows (mergekit's documented rule).
    :param sparsity: with "omp", the most embeddings that are combined (arXiv:2506.06607 uses 64).
    """

    source: Literal["union", "base"] | int = "union"
    tokens: Mapping[str, TokenSource] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None
    transplant: Literal["mean", "subword", "omp"] | None = None
    sparsity: int = 64

    def check(self, models: int) -> None:
        """:raises UsageError: something in it does not exist, or says two things."""
        if isinstance(self.source, int):
            _model(self.source, models)
        elif self.source not in ("union", "base"):
            raise UsageError(
                f"there is no tokenizer source {self.source!r}", hint="known are union, base and a model of the recipe"
            )
        if self.transplant is not None and self.transplant not in TRANSPLANTS:
            raise UsageError(f"there is no transplant {self.transplant!r}", hint=f"known are {', '.join(TRANSPLANTS)}")
        if self.pad_to_multiple_of is not None and self.pad_to_multiple_of < 1:
            raise UsageError("the vocabulary cannot be padded to a multiple of less than 1", hint="e.g. 64")
        if self.sparsity < 1:
            raise UsageError("a sparse combination needs at least one embedding", hint="e.g. sparsity 64")
        for token, wish in self.tokens.items():
            if not token:
                raise UsageError("a token cannot be empty", hint="leave it out")
            if wish.force and wish.source is None:
                raise UsageError(f"the token {token!r} is forced to no source", hint="give it a source, or leave force")
            if isinstance(wish.source, ModelToken):
                _model(wish.source.model, models)
                if (wish.source.token is None) == (wish.source.id is None):
                    raise UsageError(f"the source of {token!r} needs a token or an id, not both", hint="give one")
            elif isinstance(wish.source, int):
                _model(wish.source, models)


def _model(index: int, models: int) -> None:
    if not 0 <= index < models:
        raise UsageError(f"there is no model number {index}", hint=f"there are {models}, from 0")
