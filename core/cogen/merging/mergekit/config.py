"""``config.json`` of the result: the donor's, adapted to the tensors."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cogen.errors import CompatibilityError
from cogen.merging.mergekit.layers import only_stack, stacks
from cogen.merging.mergekit.models import Model
from cogen.merging.vocabulary import apply_changes
from cogen.merging.vocabulary.configs import untied_changes

#: For each layer of the result the layers that it is made of: (model, layer there).
Origins = Sequence[Sequence[tuple[int, int]]]

_COUNTS = ("num_hidden_layers", "n_layer", "n_layers", "num_layers")
_TYPES = ("dtype", "torch_dtype")
#: Lists of layers by number, of any length.
_NUMBERS = re.compile(r"_only_layers$|^moe_layers$|_indices$|_idxs?$|_layer_ids$|^cross_attention_layers$")
#: A number p by which a layer's kind is found out, as ``layer % p``, where no list says it.
_PERIODS = (
    "sliding_window_pattern",
    "full_attention_interval",
    "global_attn_every_n_layers",
    "attn_layer_period",
    "expert_layer_period",
    "decoder_sparse_step",
    "interleave_moe_layer_step",
    "moe_layer_freq",
    "no_rope_layer_interval",
    "cross_attention_frequency",
    "layer_group_size",
    "rescale_every",
)
#: A number k that makes the first k layers another kind.
_FIRST = ("first_k_dense_replace", "num_dense_layers", "max_window_layers", "moe_layer_start_index")
#: Settings by which every layer's place counts.
_PLACES = ("num_kv_shared_layers", "moe_layer_end_index", "scale_attn_by_inverse_layer_idx")
#: Of those above, the ones about attention: without effect where ``layer_types`` lists the layers.
_ATTENTION = ("sliding_window_pattern", "full_attention_interval", "global_attn_every_n_layers", "max_window_layers")


def output_config(
    models: Sequence[Model],
    donor: int,
    *,
    dtype: str | None = None,
    untied: bool = False,
    origins: Origins | None = None,
    changes: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The donor's configuration with what the merge changes.

    :param dtype: of the tensors; ``None``: they have several, and the donor's stays.
    :param untied: the output head is a tensor of its own.
    :param origins: of the layers, where slices were put together.
    :param changes: of the vocabulary.
    :raises CompatibilityError: what the configuration says of its layers does not hold for the new ones.
    """
    config = apply_changes(copy.deepcopy(models[donor].checkpoint.config), changes or {})
    if origins is not None:
        config = _renumber_layers(config, models, donor, origins)
    if untied:
        config = apply_changes(config, untied_changes(config))
    if dtype is not None:
        _set_dtype(config, dtype)
        if not any(key in config for key in _TYPES):
            config["dtype"] = dtype
    return config


def _set_dtype(config: dict[str, Any], dtype: str) -> None:
    for key, value in config.items():
        if isinstance(value, dict):
            _set_dtype(value, dtype)
        elif key in _TYPES:
            config[key] = dtype


def _renumber_layers(config: dict[str, Any], models: Sequence[Model], donor: int, origins: Origins) -> dict[str, Any]:
    path = _place(models[donor])
    depths = [_depth(model) for model in models]
    inner, theirs = _at(config, path), [_at(model.checkpoint.config, path) for model in models]
    count = depths[donor]
    for key in [key for key, value in inner.items() if key in _COUNTS and value == count]:
        inner[key] = len(origins)
    for key, value in list(inner.items()):
        if isinstance(value, list) and _NUMBERS.search(key) and all(type(item) is int for item in value):
            listed = [their.get(key) or () for their in theirs]
            inside = _common_values(models, origins, key, lambda model, layer, listed=listed: layer in listed[model])
            inner[key] = [layer for layer, found in enumerate(inside) if found]
        elif _by_layer(key, value, count):
            each = {model: theirs[model].get(key) for layers in origins for model, _ in layers}
            for model, own in each.items():
                if not _by_layer(key, own, depths[model]):
                    raise _error(models[model], key, "is not a list with one value per layer")
            found = _common_values(models, origins, key, lambda model, layer, each=each: each[model][layer])
            inner[key] = "".join(found) if isinstance(value, str) else found
        elif isinstance(value, list) and "layer" in key and value:
            raise _error(models[donor], key, "lists layers in an unknown way")
    for model in sorted({model for layers in origins for model, _ in layers}):
        moved = [(new, old) for new, layers in enumerate(origins) for number, old in layers if number == model]
        _check_unmoved(models[model], theirs[model], moved, len(origins), depths[model])
    return config


def _by_layer(key: str, value: Any, count: int) -> bool:
    """Is it one value a layer? ``hybrid_override_pattern`` is a text with one letter a layer."""
    if isinstance(value, str):
        return key.endswith("_pattern") and len(value) == count
    return isinstance(value, list) and len(value) == count and not re.search(r"token_id|^architectures$", key)


def _common_values(models: Sequence[Model], origins: Origins, key: str, value: Any) -> list[Any]:
    """For each new layer what its sources say, which has to be one thing."""
    found = []
    for layers in origins:
        first, *others = layers
        for other in others:
            if value(*other) != value(*first):
                raise CompatibilityError(
                    f"layer {first[1]} of {models[first[0]].title} and layer {other[1]} of {models[other[0]].title} "
                    f"differ in {key}",
                    hint="combine layers of one kind",
                )
        found.append(value(*first))
    return found


def _check_unmoved(
    model: Model, config: Mapping[str, Any], moved: Sequence[tuple[int, int]], total: int, depth: int
) -> None:
    """Check that no layer (new number, old number) changes its kind with its number."""
    listed = "layer_types" in config
    for key in (*_PERIODS, *_FIRST, *_PLACES):
        value = config.get(key)
        if not isinstance(value, int) or not value or (listed and key in _ATTENTION):
            continue
        if key == "max_window_layers" and not config.get("use_sliding_window"):
            continue
        for new, old in moved:
            if key in _PERIODS:
                same = new % value == old % value
            elif key in _FIRST:
                same = (new < value) == (old < value)
            else:
                same = new == old and total == depth
            if not same:
                raise _error(model, key, f"changes the kind of layer {old} when it becomes layer {new}")


def _error(model: Model, key: str, why: str) -> CompatibilityError:
    return CompatibilityError(f"{key} in the configuration of {model.title} {why}", hint="choose other slices")


def _place(model: Model) -> tuple[str, ...]:
    """Where the configuration counts the layers: at the top, or in that of the text model.

    :raises CompatibilityError: nowhere, or it counts others than there are.
    """
    _, count = only_stack(model)
    config = model.checkpoint.config
    nested = [(key,) for key, value in config.items() if isinstance(value, dict)]
    for path in [(), *sorted(nested, key=lambda path: "text" not in path[0])]:
        if any(_at(config, path).get(key) == count for key in _COUNTS):
            return path
    raise CompatibilityError(
        f"the configuration of {model.title} does not count {count} layers",
        hint="merge whole models, with models instead of slices",
    )


def _depth(model: Model) -> int:
    """The number of its layers; 0 for a model that only lends something else."""
    return max(stacks(model.checkpoint.tensors).values(), default=0)


def _at(config: Mapping[str, Any], path: Sequence[str]) -> dict[str, Any]:
    found: Any = config
    for key in path:
        found = found.get(key) or {}
    return found if isinstance(found, dict) else {}
