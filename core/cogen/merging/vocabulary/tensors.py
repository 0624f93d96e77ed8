"""Which tensors of a model have a row for every token, and where its configuration says how many there are.

There is no table of architectures. A vocabulary tensor is a matrix or a vector whose first dimension is the size of the
vocabulary. Names decide only where another size of the model has the same value, or where the configuration
disagrees with the embedding.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.errors import CompatibilityError

_LIKELY = re.compile(r"embed|^wte$|^lm_head$|^head$|^output$|^output_layer$|^word_embeddings$|^decoder$")
_UNLIKELY = re.compile(r"pos|type|patch|norm|vis|image|audio|rotary|per_layer|proj")
#: Numbers of a configuration that are not sizes of tensors.
_NO_SIZE = re.compile(r"vocab_size|token_id|token_index|max_length|max_new_tokens")


@dataclass(frozen=True)
class Layout:
    """The vocabulary tensors of a model: ``matrices`` are the embedding and, if it is stored, the output head."""

    rows: int
    matrices: tuple[str, ...]
    biases: tuple[str, ...]

    def stored(self, name: str) -> str | None:
        """``name``, or the only matrix where a tied model doesn't store a head of this name; None: it has neither."""
        if name in self.matrices or name in self.biases:
            return name
        return self.matrices[0] if len(self.matrices) == 1 and not name.endswith("bias") else None


def sizes(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], int]]:
    """Every ``vocab_size``: where it stands and its value; the outermost first, then that of a text model."""
    if isinstance(config.get("vocab_size"), int):
        yield path, config["vocab_size"]
    nested = [key for key, value in config.items() if isinstance(value, dict)]
    for key in sorted(nested, key=lambda key: (not re.search("text|language|llm", key), key)):
        yield from sizes(config[key], (*path, key))


def layout(checkpoint: Checkpoint) -> Layout:
    """The vocabulary tensors, from headers and configuration.

    :raises CompatibilityError: they cannot be distinguished from other tensors.
    """
    tensors, announced = checkpoint.tensors, [size for _, size in sizes(checkpoint.config)]
    rows = next((size for size in announced if any(_is_matrix(info, size) for info in tensors.values())), None)
    named = {info.shape[0] for name, info in tensors.items() if len(info.shape) == 2 and _looks(name)}
    inside = (name for name, info in tensors.items() if rows is not None and _is_matrix(info, rows))
    if rows not in named and len(named) == 1 and all(re.search(r"\.\d+\.", name) for name in inside):
        rows = named.pop()  # the embedding is padded, or the configuration is wrong
    if rows is None:
        raise _undecidable(checkpoint, "no tensor has a row for every token")
    matrices = sorted(name for name, info in tensors.items() if _is_matrix(info, rows))
    biases = sorted(name for name, info in tensors.items() if info.shape == (rows,))
    if _coincidence(checkpoint.config, rows, matrices, biases):
        matrices, biases = _by_name(checkpoint, rows, matrices, biases)
    return Layout(rows, tuple(matrices), tuple(biases))


def _is_matrix(info: TensorInfo, rows: int) -> bool:
    return len(info.shape) == 2 and info.shape[0] == rows


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _looks(name: str) -> bool:
    """Is it called like an embedding or an output head? In a numbered layer only "embed" is a safe word."""
    module = _module(name)
    word = module.rpartition(".")[2]
    if not _LIKELY.search(word) or _UNLIKELY.search(word):
        return False
    return "embed" in word or not re.search(r"\.\d+\.", name)


def _coincidence(config: Mapping[str, Any], rows: int, matrices: list[str], biases: list[str]) -> bool:
    """May another size have the value of the vocabulary's size?"""
    numbered = any(re.search(r"\.\d+\.", name) for name in (*matrices, *biases))
    return numbered or len(matrices) > 2 or len(biases) > 1 or rows in _sizes(config)


def _sizes(config: Mapping[str, Any]) -> Iterator[int]:
    for key, value in config.items():
        if isinstance(value, dict):
            yield from _sizes(value)
        elif isinstance(value, int) and not _NO_SIZE.search(key):
            yield value


def _by_name(checkpoint: Checkpoint, rows: int, matrices: list[str], biases: list[str]) -> tuple[list[str], list[str]]:
    found = [name for name in matrices if _looks(name)]
    if not found:
        raise _undecidable(
            checkpoint, f"{len(matrices)} matrices have {rows:,} rows and none is named like an embedding"
        )
    # Whatever else lies outside the layers could be a head of an unusual name, unless the model has its head already.
    doubtful = [n for n in matrices if n not in found and not re.search(r"\.\d+\.", n) and not _UNLIKELY.search(n)]
    if doubtful and len(found) == 1 and checkpoint.config.get("tie_word_embeddings") is not True:
        raise _undecidable(checkpoint, f"{doubtful[0]} may be an output head")
    return found, [n for n in biases if _module(n) in map(_module, found) or _looks(n)]


def _undecidable(checkpoint: Checkpoint, why: str) -> CompatibilityError:
    return CompatibilityError(
        f"the vocabulary of {checkpoint.folder.name} cannot be distinguished from its other tensors: {why}",
        hint="remove the tokenizer option; models with the same vocabulary do not need it",
    )
