"""JSON beside weights, as strangers write it: an object, and every number in it a number.

Python's reader takes ``NaN``, ``Infinity`` and ``1e999``, which are no JSON, and weights that were computed with them
are of no use to anybody.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.errors import SourceError
from cogen.untrusted.border import reason_of
from cogen.untrusted.json_text import parse_object

#: Whole numbers beyond are no sizes, and no other reader takes them.
_LARGEST = 1 << 63
#: Where transformers' own configurations say Infinity for "no limit" (Mamba 2 and its kin).
_UNLIMITED = ("time_step_limit",)
#: Whole numbers of a model's config.json that cannot be below zero.
_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "n_embd",
    "n_layer",
    "n_head",
)
#: Numbers of a model's config.json that cannot be below zero.
_SCALES = ("rms_norm_eps", "layer_norm_eps", "layer_norm_epsilon", "norm_eps", "rope_theta", "initializer_range")


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object.

    :raises SourceError: it is not there, is something else, or see :func:`read_object`.
    """
    try:
        return read_object(path)
    except (OSError, ValueError) as error:
        reason = "it is not there" if isinstance(error, FileNotFoundError) else reason_of(error)
        raise SourceError(
            f"{path.parent.name} has no readable {path.name}: {reason}",
            hint="publish the folder that save_pretrained writes",
        ) from error


def read_object(path: Path) -> dict[str, Any]:
    """As :func:`json_object`, for callers with words of their own for what cannot be read.

    :raises OSError: there is no such file. :raises ValueError: it does not hold an object.
    :raises SourceError: a number in it is NaN, infinite or far too large; of a config.json also a size that is none.
    """
    value = parse_object(path.read_bytes(), any_number=True)
    wrong = next(_no_numbers(value), None)
    if wrong is None and path.name == "config.json":
        wrong = next(_odd_sizes(value), None)
    if wrong is not None:
        raise SourceError(
            f"{path.name} of {path.parent.name} says {wrong}: nobody can use such weights",
            hint=f"correct {path.name}, or save the weights again with save_pretrained",
        )
    return value


def _no_numbers(value: Any, place: str = "") -> Iterator[str]:
    """What is said where a number is NaN, infinite or beyond 64 bits."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key not in _UNLIMITED:
                yield from _no_numbers(inner, f"{place}.{key}" if place else key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _no_numbers(inner, f"{place}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield f"{_short(place)} = {value}"
    elif isinstance(value, int) and abs(value) >= _LARGEST:
        yield f"{_short(place)} = a number of {value.bit_length()} bits"


def _odd_sizes(config: dict[str, Any]) -> Iterator[str]:
    nested = config.get("text_config")
    for table, place in ((config, ""), (nested if isinstance(nested, dict) else {}, "text_config.")):
        for name in _SIZES:
            value = table.get(name)
            odd = isinstance(value, bool | str) or (isinstance(value, float) and not value.is_integer())
            if odd or (isinstance(value, int | float) and value < 0):
                yield f"{place}{name} = {ascii(value)[:40]}"
        for name in _SCALES:
            value = table.get(name)
            if isinstance(value, bool | str) or (isinstance(value, int | float) and value < 0):
                yield f"{place}{name} = {ascii(value)[:40]}"


def _short(place: str) -> str:
    """The place in one line, whatever a stranger calls it."""
    return ascii(place[:100])[1:-1]
