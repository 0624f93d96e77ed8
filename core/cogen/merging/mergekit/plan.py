"""From a recipe to a plan in which nothing is left to refuse; headers, configurations and tokenizers are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.sources import Talk, silent
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.engine import FLOATS
from cogen.merging.mergekit.companions import compare_tokenizers, vocabulary_wish
from cogen.merging.mergekit.config import Origins, output_config
from cogen.merging.mergekit.layers import place_of
from cogen.merging.mergekit.layout import PlannedTensor, make_slots
from cogen.merging.mergekit.methods import MergekitMethod, find_peer
from cogen.merging.mergekit.models import Model, open_models
from cogen.merging.mergekit.recipe import MergekitRecipe
from cogen.merging.mergekit.sections import make_sections, references
from cogen.merging.mergekit.steps import TensorStep, make_works
from cogen.merging.mergekit.tensors import Tensors
from cogen.merging.vocabulary import Vocabulary, plan_vocabulary

#: What merged weights can be stored as.
DTYPES = ("bfloat16", "float16", "float32", "float64")
#: Settings by which the same weights compute something else.
_MEANING = (
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "hidden_act",
    "hidden_activation",
    "rms_norm_eps",
    "layer_norm_eps",
    "rope_theta",
    "rope_scaling",
    "rope_parameters",
    "partial_rotary_factor",
    "sliding_window",
)


@dataclass(frozen=True)
class MergePlan:
    """``donor``: number of the model whose configuration and tokenizer the result has; ``used``: those merged."""

    recipe: MergekitRecipe
    peer: MergekitMethod
    seed: int
    models: tuple[Model, ...]
    used: tuple[int, ...]
    donor: int
    works: tuple[TensorStep, ...]
    config: dict[str, Any]
    vocabulary: Vocabulary | None
    notes: tuple[str, ...]


def make_merge_plan(recipe: MergekitRecipe, files: OpenFiles, *, seed: int = 0, talk: Talk = silent) -> MergePlan:
    """:raises UsageError: the recipe asks for what its method, or we, can't do.
    :raises CompatibilityError: the models cannot be merged in this way.
    :raises SourceError: a model is neither here nor to be fetched.
    """
    peer = find_peer(recipe.merge_method)
    dtype, out_dtype = _dtype(recipe.dtype, "dtype"), _dtype(recipe.out_dtype, "out_dtype")
    opened = open_models(references(recipe), talk)
    sections, notes = make_sections(recipe, peer, opened)
    used = sorted({source.model for section in sections for source in section.sources})
    donor = 0 if recipe.base_model is None else opened[recipe.base_model]
    wish = vocabulary_wish(recipe, opened, talk)
    models = tuple(opened.all)
    _one_architecture(models, sorted({donor, *used}))
    vocabulary = None
    if wish is not None:
        base = None if recipe.base_model is None else donor
        vocabulary = plan_vocabulary([model.checkpoint for model in models], wish, files, base, used)
        notes += vocabulary.notes
    tensors = Tensors(models, used, vocabulary)
    slots = make_slots(tensors, sections)
    works = make_works(peer, slots, tensors, dtype=out_dtype or dtype, seed=seed)
    if donor not in used:
        _check_donor(models[donor], works, tensors, whole=sections[0].length is None)
    if vocabulary is None:
        notes += compare_tokenizers(models, _token_models(slots, tensors), donor)
    config = output_config(
        models,
        donor,
        dtype=_stored(works),
        untied=any(work.name in tensors.heads for work in works),
        origins=_origins(slots) if sections[0].length is not None else None,
        changes=vocabulary.config_changes if vocabulary else None,
    )
    notes += [*tensors.notes, *_differences(models, used, donor)]
    return MergePlan(
        recipe, peer, seed, models, tuple(used), donor, tuple(works), config, vocabulary, tuple(dict.fromkeys(notes))
    )


def _dtype(name: str | None, key: str) -> str | None:
    found = None if name is None else name.removeprefix("torch.")
    if found is not None and found not in DTYPES:
        raise UsageError(f"{key} {name!r} is not known", hint=f"known are {', '.join(DTYPES)}")
    return found


def _one_architecture(models: Sequence[Model], numbers: Sequence[int]) -> None:
    first = models[numbers[0]]
    for number in numbers[1:]:
        one, other = first.checkpoint.config.get("model_type"), models[number].checkpoint.config.get("model_type")
        if one != other:
            raise CompatibilityError(
                f"{first.title} is a {one} model and {models[number].title} a {other} model",
                hint="the same weights compute other things in another architecture: leave one out",
            )


def _check_donor(donor: Model, works: Sequence[TensorStep], tensors: Tensors, *, whole: bool) -> None:
    """Refuse a configuration, of a model that is not merged, that says something else than the tensors."""
    for work in works:
        (entry, *_) = work.experts
        by_token = tensors.vocabulary is not None and tensors.vocabulary.is_vocabulary_tensor(entry.model, entry.name)
        if by_token or work.name in tensors.heads:
            continue
        info = donor.checkpoint.tensors.get(work.name)
        if (info is None and whole) or (info is not None and info.shape != work.shape):
            raise CompatibilityError(
                f"the configuration of {donor.title} doesn't fit the models that are merged: its {work.name} is "
                f"{'missing' if info is None else 'of another shape'}",
                hint="name one of them as base_model",
            )


def _token_models(slots: Sequence[PlannedTensor], tensors: Tensors) -> list[int]:
    """The models of which rows of the vocabulary go into the result."""
    entries = [entry for slot in slots for entry in slot.inputs]
    return sorted({entry.model for entry in entries if entry.stored in tensors.matrices(entry.model)})


def _stored(works: Sequence[TensorStep]) -> str | None:
    """The floating-point type of the result; of several the one with most of the numbers."""
    sizes: dict[str, int] = {}
    for work in works:
        if work.dtype in FLOATS:
            count = 1
            for extent in work.shape:
                count *= extent
            sizes[work.dtype] = sizes.get(work.dtype, 0) + count
    return max(sorted(sizes), key=lambda dtype: sizes[dtype], default=None)


def _origins(slots: Sequence[PlannedTensor]) -> Origins:
    """For each layer of the result the layers that it was made of."""
    found: dict[int, list[tuple[int, int]]] = {}
    for slot in slots:
        if here := place_of(slot.name):
            there = [(entry.model, place.layer) for entry in slot.inputs if (place := place_of(entry.name))]
            found.setdefault(here.layer, there)
    return [found[layer] for layer in sorted(found)]


def _differences(models: Sequence[Model], used: Sequence[int], donor: int) -> list[str]:
    """Settings of the models that the result doesn't have."""
    notes = []
    own = models[donor].checkpoint.config
    for number in used:
        theirs = models[number].checkpoint.config
        keys = [key for key in _MEANING if key in own and key in theirs and own[key] != theirs[key]]
        if keys:
            listed = ", ".join(f"{key} {theirs[key]!r}" for key in keys)
            notes.append(f"{models[number].title} has {listed}; the result has what {models[donor].title} has")
    return notes
