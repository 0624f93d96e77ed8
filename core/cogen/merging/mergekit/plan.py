"""A recipe checked and planned tensor by tensor; only headers, configurations and tokenizers are read."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.files import OpenFiles
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.configurations import COUNTS, check_same_function
from cogen.merging.engine import FLOATS
from cogen.merging.mergekit.config import Origins, output_config
from cogen.merging.mergekit.layers import place_of
from cogen.merging.mergekit.layout import PlannedTensor, plan_tensors
from cogen.merging.mergekit.methods import FindMethod, MergekitMethod, find_mergekit_method
from cogen.merging.mergekit.models import Model, open_models
from cogen.merging.mergekit.recipe import MergekitRecipe
from cogen.merging.mergekit.sections import make_sections, references
from cogen.merging.mergekit.side_files import compare_tokenizers, vocabulary_config
from cogen.merging.mergekit.steps import TensorStep, plan_steps
from cogen.merging.mergekit.tensors import Tensors
from cogen.merging.vocabulary import Vocabulary, plan_vocabulary
from cogen.reporter import SILENT, Reporter

#: What merged weights can be stored as.
DTYPES = ("bfloat16", "float16", "float32", "float64")
#: Settings that say something of each layer: :mod:`cogen.merging.mergekit.config` puts them together.
_BY_LAYER = ("layer_types", "max_window_layers", "no_rope_layers", "mlp_only_layers", "layers_block_type")


@dataclass(frozen=True)
class MergePlan:
    """``donor``: number of the model whose configuration and tokenizer the result has; ``used``: those merged."""

    recipe: MergekitRecipe
    recipe_method: MergekitMethod
    seed: int
    models: tuple[Model, ...]
    used: tuple[int, ...]
    donor: int
    steps: tuple[TensorStep, ...]
    config: dict[str, Any]
    vocabulary: Vocabulary | None
    notes: tuple[str, ...]


def make_merge_plan(
    recipe: MergekitRecipe,
    files: OpenFiles,
    *,
    seed: int = 0,
    find: FindMethod | None = None,
    reporter: Reporter = SILENT,
) -> MergePlan:
    """Check a recipe and plan every tensor of its result.

    :param files: of the engine that will carry the plan out.
    :param seed: of methods that drop differences at random.
    :param find: looks up methods that are neither mergekit's nor CoGen's.
    :raises UsageError: a method, parameter or option that is unknown, misplaced or not supported.
    :raises CompatibilityError: the models cannot be merged in this way.
    :raises SourceError: a model is not available locally and cannot be fetched.
    """
    recipe_method = find_mergekit_method(recipe.merge_method, find)
    dtype, out_dtype = _dtype(recipe.dtype, "dtype"), _dtype(recipe.out_dtype, "out_dtype")
    opened = open_models(references(recipe), reporter)
    sections, notes = make_sections(recipe, recipe_method, opened)
    used = sorted({source.model for section in sections for source in section.sources})
    donor = 0 if recipe.base_model is None else opened[recipe.base_model]
    vocabulary_request = vocabulary_config(recipe, opened, reporter)
    models = tuple(opened.all)
    _check_architecture(models, sorted({donor, *used}))
    vocabulary = None
    if vocabulary_request is not None:
        base = None if recipe.base_model is None else donor
        vocabulary = plan_vocabulary([model.checkpoint for model in models], vocabulary_request, files, base, used)
        notes += vocabulary.notes
    tensors = Tensors(models, used, vocabulary)
    planned = plan_tensors(tensors, sections)
    steps = plan_steps(recipe_method, planned, tensors, dtype=out_dtype or dtype, seed=seed)
    if donor not in used:
        _check_donor(models[donor], steps, tensors, whole=sections[0].length is None)
    if vocabulary is None:
        notes += compare_tokenizers(models, _token_models(planned, tensors), donor)
    config = output_config(
        models,
        donor,
        dtype=_result_dtype(steps),
        untied=any(step.name in tensors.heads for step in steps),
        origins=_origins(planned) if sections[0].length is not None else None,
        changes=vocabulary.config_changes if vocabulary else None,
    )
    _check_function(models, used, donor, sliced=sections[0].length is not None)
    notes += tensors.notes
    return MergePlan(
        recipe,
        recipe_method,
        seed,
        models,
        tuple(used),
        donor,
        tuple(steps),
        config,
        vocabulary,
        tuple(dict.fromkeys(notes)),
    )


def _dtype(name: str | None, key: str) -> str | None:
    found = None if name is None else name.removeprefix("torch.")
    if found is not None and found not in DTYPES:
        raise UsageError(f"unknown {key} {name!r}", hint=f"one of {', '.join(DTYPES)}")
    return found


def _check_architecture(models: Sequence[Model], numbers: Sequence[int]) -> None:
    first = models[numbers[0]]
    for number in numbers[1:]:
        one, other = first.checkpoint.config.get("model_type"), models[number].checkpoint.config.get("model_type")
        if one != other:
            raise CompatibilityError(
                f"{first.title} is a {one} model and {models[number].title} a {other} model",
                hint="merge models of one architecture",
            )


def _check_donor(donor: Model, steps: Sequence[TensorStep], tensors: Tensors, *, whole: bool) -> None:
    """Check that the configuration of a model that is not merged fits the tensors of the result."""
    for step in steps:
        (entry, *_) = step.experts
        by_token = tensors.vocabulary is not None and tensors.vocabulary.is_vocabulary_tensor(entry.model, entry.name)
        if by_token or step.name in tensors.heads:
            continue
        info = donor.checkpoint.tensors.get(step.name)
        if (info is None and whole) or (info is not None and info.shape != step.shape):
            raise CompatibilityError(
                f"the configuration of {donor.title} does not fit the merged models: its {step.name} is "
                f"{'missing' if info is None else 'of another shape'}",
                hint="use one of the merged models as base_model",
            )


def _token_models(planned: Sequence[PlannedTensor], tensors: Tensors) -> list[int]:
    """The models of which rows of the vocabulary go into the result."""
    entries = [entry for tensor in planned for entry in tensor.inputs]
    return sorted({entry.model for entry in entries if entry.stored in tensors.matrices(entry.model)})


def _result_dtype(steps: Sequence[TensorStep]) -> str | None:
    """The floating-point type of the result; of several the one with most of the numbers."""
    sizes: dict[str, int] = {}
    for step in steps:
        if step.dtype in FLOATS:
            sizes[step.dtype] = sizes.get(step.dtype, 0) + math.prod(step.shape)
    return max(sorted(sizes), key=lambda dtype: sizes[dtype], default=None)


def _origins(planned: Sequence[PlannedTensor]) -> Origins:
    """For each layer of the result the layers that it was made of."""
    found: dict[int, list[tuple[int, int]]] = {}
    for tensor in planned:
        if here := place_of(tensor.name):
            there = [(entry.model, place.layer) for entry in tensor.inputs if (place := place_of(entry.name))]
            found.setdefault(here.layer, there)
    return [found[layer] for layer in sorted(found)]


def _check_function(models: Sequence[Model], used: Sequence[int], donor: int, *, sliced: bool) -> None:
    """The result computes by the donor's configuration: the others' weights must mean the same there.

    Which of the two a tied head is, tensors say.

    :raises CompatibilityError: naming fields and values.
    """
    own = models[donor]
    for number in used:
        if number != donor:
            theirs = models[number]
            others = theirs.checkpoint.names() != own.checkpoint.names()
            ignored = ("tie_word_embeddings", *(_BY_LAYER if sliced else ()), *(COUNTS if sliced or others else ()))
            check_same_function(
                own.checkpoint.config, theirs.checkpoint.config, own.title, theirs.title, ignored=ignored
            )
