"""The tensors of the models of a recipe, and what stands for those that one of them has no need to store."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass

from cogen.errors import CogenError, CompatibilityError
from cogen.merging.mergekit.layers import is_computed, place_of
from cogen.merging.mergekit.models import Model
from cogen.merging.vocabulary import Vocabulary
from cogen.merging.vocabulary.tensors import layout

_HEAD = re.compile(r"(^|\.)(lm_head|head|embed_out|output|output_layer|ff_out|decoder)\.weight$")


@dataclass(frozen=True)
class Input:
    """A tensor of a model. ``stored`` differs from ``name`` where a tied model's embedding stands for its head."""

    model: int
    name: str
    stored: str


class Tensors:
    """Names of tensors, by model.

    :param used: the numbers of the models that are merged; others only lend a configuration or tokens.
    """

    def __init__(self, models: Sequence[Model], used: Sequence[int], vocabulary: Vocabulary | None) -> None:
        self.models, self.used, self.vocabulary = models, tuple(used), vocabulary
        #: One sentence for everything that was left out.
        self.notes: list[str] = []
        self._matrices = {model: _matrices(models[model]) for model in self.used}

    @functools.cached_property
    def heads(self) -> frozenset[str]:
        """Output heads of the result: those that a model stores, unless all models say that theirs is the embedding."""
        found = {name for matrices in self._matrices.values() for name in matrices if _HEAD.search(name)}
        if found and all(_is_tied(self.models[model]) is True for model in self.used):
            self.notes.append(f"{min(found)} was left out: all models are tied, the embedding is their output head")
            return frozenset()
        return frozenset(found)

    def matrices(self, model: int) -> tuple[str, ...]:
        """Embedding and output head, where they can be recognized."""
        return self._matrices.get(model, ())

    def names(self, model: int) -> set[str]:
        """What the model gives to the result, with a head where others store one, without one where all are tied."""
        own = set(self.models[model].checkpoint.tensors)
        dropped = {name for name in self._matrices.get(model, ()) if _HEAD.search(name)} - self.heads
        added = () if self.vocabulary is None else self.vocabulary.names
        return (own | {name for name in added if not _HEAD.search(name)} | self.heads) - dropped

    @functools.cache  # noqa: B019 - lives as long as one merge
    def layers(self, model: int) -> dict[int, set[str]]:
        """Layer → what its tensors are called behind the number."""
        found: dict[int, set[str]] = {}
        for name in self.models[model].checkpoint.tensors:
            if place := place_of(name):
                found.setdefault(place.layer, set()).add(place.rest)
        return found

    def gather(self, owners: Sequence[tuple[int, str]]) -> tuple[Input, ...] | None:
        """One tensor of several models (model, name there); ``None``: it is left out.

        :raises CompatibilityError: a model lacks it.
        """
        stored = [(model, name, self._stored_name(model, name)) for model, name in owners]
        found = [Input(model, name, where) for model, name, where in stored if where is not None]
        if len(found) == len(stored):
            return tuple(found)
        shapes = [self.models[entry.model].checkpoint.tensors[entry.stored].shape for entry in found]
        if all(is_computed(entry.name, shape) for entry, shape in zip(found, shapes, strict=True)):
            note = "buffers that only some models store were left out: every model computes them when it is loaded"
            self.notes += [note] if note not in self.notes else []
            return None
        model, name = next((model, name) for model, name, where in stored if where is None)
        other = f", which {self.models[found[0].model].title} has" if found else ""
        raise CompatibilityError(
            f"{self.models[model].title} has no tensor {name}{other}",
            hint="remove one of the two: merged models need the same tensors",
        )

    def _stored_name(self, model: int, name: str) -> str | None:
        """Where the model has it, or what stands for it."""
        if name in self.models[model].checkpoint.tensors:
            return name
        if self.vocabulary is not None and name in self.vocabulary.names:
            return self.vocabulary.stored_name(model, name)
        # Where the configuration says nothing its class decides, and a model without a head must be tied.
        if name in self.heads and _is_tied(self.models[model]) is not False and len(self._matrices[model]) == 1:
            return self._matrices[model][0]
        return None


def _matrices(model: Model) -> tuple[str, ...]:
    """Embedding and output head, where they can be recognized; a missing tensor is reported by name later."""
    try:
        return layout(model.checkpoint).matrices
    except CogenError:
        return ()


def _is_tied(model: Model) -> bool | None:
    """``tie_word_embeddings`` of the configuration; ``None`` where it is missing."""
    config = model.checkpoint.config
    places = [config, *(value for value in config.values() if isinstance(value, dict))]
    values = [place["tie_word_embeddings"] for place in places if "tie_word_embeddings" in place]
    return None if not values else False if False in values else bool(values[0])
