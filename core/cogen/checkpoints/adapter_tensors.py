"""Which tensor of a PEFT file is for what: factors, magnitudes, biases, and tensors that replace the base's."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from cogen.checkpoints.patterns import Patterns, Unsupported
from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.errors import CompatibilityError, SourceError

_PREFIX = "base_model.model."
#: What follows the name of a module, in the order in which it is tried.
_FACTOR = re.compile(r"(.+)\.lora_([AB])\.weight")
_EMBEDDING = re.compile(r"(.+)\.lora_embedding_([AB])")
_MAGNITUDE = re.compile(r"(.+)\.lora_magnitude_vector(?:\.weight)?")
_BIAS = re.compile(r"(.+)\.lora_B\.bias")
_ROWS = re.compile(r"(.+)\.token_adapter\.trainable_tokens_delta")
_WHOLE = re.compile(r"(.+?)(?:\.base_layer|\.modules_to_save)?\.(weight|bias)")


@dataclass
class AdapterTensors:
    """As :class:`cogen.checkpoints.adapter.LoraAdapter` holds them."""

    pairs: dict[str, tuple[TensorInfo, TensorInfo, float]] = field(default_factory=dict)
    transposed: set[str] = field(default_factory=set)
    embeddings: set[str] = field(default_factory=set)
    magnitudes: dict[str, TensorInfo] = field(default_factory=dict)
    added: dict[str, tuple[TensorInfo, float]] = field(default_factory=dict)
    replaced: dict[str, TensorInfo] = field(default_factory=dict)
    rows: dict[str, tuple[tuple[int, ...], TensorInfo]] = field(default_factory=dict)
    copies: dict[str, TensorInfo] = field(default_factory=dict)


def sort_tensors(config: dict[str, Any], tensors: dict[str, TensorInfo]) -> AdapterTensors:
    """
    :raises CompatibilityError: a tensor that is nothing of these.
    :raises SourceError: factors that do not fit together, or that the configuration does not fit.
    """
    found = AdapterTensors()
    factors: dict[str, dict[str, TensorInfo]] = {}
    embeddings: set[str] = set()
    whole: dict[str, TensorInfo] = {}
    biases: dict[str, TensorInfo] = {}
    for key, info in tensors.items():
        name = key.removeprefix(_PREFIX)
        if not key.startswith(_PREFIX):
            raise _foreign(key)
        if match := _FACTOR.fullmatch(name) or _EMBEDDING.fullmatch(name):
            if match[2] in factors.setdefault(match[1], {}):
                raise SourceError(f"the adapter has two factors for {match[1]}", hint="publish the adapter again")
            factors[match[1]][match[2]] = info
            if match.re is _EMBEDDING:
                embeddings.add(match[1])
        elif match := _MAGNITUDE.fullmatch(name):
            found.magnitudes[f"{match[1]}.weight"] = info
        elif match := _BIAS.fullmatch(name):
            biases[match[1]] = info
        elif match := _ROWS.fullmatch(name):
            found.rows[f"{match[1]}.weight"] = _indices(config, match[1], info), info
        elif "lora_" not in name and (match := _WHOLE.fullmatch(name)):
            whole[f"{match[1]}.{match[2]}"] = info
        else:
            raise _foreign(key)
    scales = _Scales(config)
    for module, own in factors.items():
        found.pairs[f"{module}.weight"] = _pair(scales, module, own)
        if module in embeddings or config.get("fan_in_fan_out"):
            found.transposed.add(f"{module}.weight")
        if module in embeddings:
            found.embeddings.add(f"{module}.weight")
    for module, info in biases.items():
        if f"{module}.weight" not in found.pairs:
            raise SourceError(f"the adapter has a bias of {module} and no factors", hint="publish the adapter again")
        found.added[f"{module}.bias"] = info, found.pairs[f"{module}.weight"][2]
    # Where an adapter is on an embedding, peft writes the tensor of the base below it into the file as well.
    found.copies = {name: info for name, info in whole.items() if _is_copy(name, info, found)}
    found.replaced = {name: info for name, info in whole.items() if name not in found.copies}
    for name, info in found.magnitudes.items():
        out = found.pairs[name][1].shape[0] if name in found.pairs else -1
        if math.prod(info.shape) != out:
            raise SourceError(f"DoRA's magnitude of {name} does not fit its factors", hint="publish the adapter again")
    return found


def _is_copy(name: str, info: TensorInfo, found: AdapterTensors) -> bool:
    if name not in found.pairs:
        return False
    a, b, _ = found.pairs[name]
    shape = b.shape[0], a.shape[1]
    if info.shape != (shape[::-1] if name in found.transposed else shape):
        raise CompatibilityError(
            f"the adapter holds {name} in another shape than its factors: its vocabulary was extended",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )
    return True


def _foreign(key: str) -> CompatibilityError:
    return CompatibilityError(
        f"the adapter holds a tensor that is not a LoRA factor: {key}",
        hint="merge it into its base with peft and publish it as relation 'full'",
    )


def _pair(scales: _Scales, module: str, own: dict[str, TensorInfo]) -> tuple[TensorInfo, TensorInfo, float]:
    shapes = [info.shape for _, info in sorted(own.items())]
    if set(own) != {"A", "B"} or [*map(len, shapes)] != [2, 2] or shapes[0][0] != shapes[1][1]:
        raise SourceError(f"the adapter's factors of {module} do not fit together", hint="publish the adapter again")
    return own["A"], own["B"], scales.of(module, shapes[0][0])


def _indices(config: dict[str, Any], module: str, info: TensorInfo) -> tuple[int, ...]:
    """Rows of an embedding that were trained: a list for the input embedding, or a table by module."""
    given = config.get("trainable_token_indices")
    if isinstance(given, dict):
        given = next((own for name, own in given.items() if module == name or module.endswith(f".{name}")), None)
    if (
        not isinstance(given, list)
        or not all(isinstance(index, int) and not isinstance(index, bool) and index >= 0 for index in given)
        or len(set(given)) != len(given)
        or len(info.shape) != 2
        or info.shape[0] != len(given)
        or not given
    ):
        raise SourceError(
            f"trainable_token_indices does not fit the adapter's rows of {module}", hint="publish the adapter again"
        )
    return tuple(given)


class _Scales:
    """The scale of each module: ``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised LoRA (arXiv:2312.03732), with
    peft's patterns.

    :raises SourceError: a pattern that cannot be matched, named.
    """

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._patterns = {}
        for option in ("rank_pattern", "alpha_pattern"):
            with _named(option):
                self._patterns[option] = Patterns(config.get(option) or {})

    def of(self, module: str, rank: int) -> float:
        """:param rank: rows of the factor A; the configuration has to say the same."""
        alpha = self._value("alpha_pattern", module, "lora_alpha")
        if self._value("rank_pattern", module, "r") != rank or not rank or alpha is None:
            raise SourceError(
                f"the adapter's configuration does not fit its factors of {module}: r or lora_alpha",
                hint="publish the adapter again",
            )
        scale: float = alpha / (math.sqrt(rank) if self._config.get("use_rslora") else rank)
        return scale

    def _value(self, option: str, module: str, default: str) -> Any:
        with _named(option):
            pattern = self._patterns[option].first(module)
        return self._config.get(default) if pattern is None else self._config[option][pattern]


@contextmanager
def _named(option: str) -> Iterator[None]:
    try:
        yield
    except Unsupported as error:
        shown = f" {error.pattern[:60]!a}" if error.pattern else ""
        raise SourceError(
            f"{option} of the adapter has a pattern that CoGen does not match:{shown} {error}",
            hint="write the names of the modules in its place, or merge the adapter with peft and publish it as 'full'",
        ) from error
