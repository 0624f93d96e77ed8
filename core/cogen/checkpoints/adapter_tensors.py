"""Which tensor of a PEFT file is for what: factors, magnitudes, biases, and tensors that replace the base's."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import Any

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
    for module, own in factors.items():
        found.pairs[f"{module}.weight"] = _pair(config, module, own)
        if module in embeddings or config.get("fan_in_fan_out"):
            found.transposed.add(f"{module}.weight")
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


def _pair(config: dict[str, Any], module: str, own: dict[str, TensorInfo]) -> tuple[TensorInfo, TensorInfo, float]:
    shapes = [info.shape for _, info in sorted(own.items())]
    if set(own) != {"A", "B"} or [*map(len, shapes)] != [2, 2] or shapes[0][0] != shapes[1][1]:
        raise SourceError(f"the adapter's factors of {module} do not fit together", hint="publish the adapter again")
    return own["A"], own["B"], _scale(config, module, shapes[0][0])


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


def _scale(config: dict[str, Any], module: str, rank: int) -> float:
    """``alpha / r``, or ``alpha / sqrt(r)`` for rank-stabilised LoRA (arXiv:2312.03732), with peft's patterns.

    :param rank: rows of the factor A; the configuration has to say the same.
    """

    def pattern(option: str, default: Any) -> Any:
        for key, value in (config.get(option) or {}).items():
            if re.match(rf"(.*\.)?({key})$", module):
                return value
        return default

    alpha = pattern("alpha_pattern", config.get("lora_alpha"))
    if pattern("rank_pattern", config.get("r")) != rank or not isinstance(alpha, int | float):
        raise SourceError(
            f"the adapter's configuration does not fit its factors of {module}: r or lora_alpha",
            hint="publish the adapter again",
        )
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
