"""What a GGUF file says of a model's function, and transformers does not read: translated exactly, or refused by name.

transformers makes a configuration of about ten keys of a file, leaves the others out, and leaves out tensors that the
resulting model has no place for. Each such key and tensor may change what the model computes: here every one of them is
accounted for. What the keys mean to llama.cpp: https://github.com/ggml-org/llama.cpp (src/llama-model.cpp, and
convert_hf_to_gguf.py, which writes them).
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cogen.checkpoints.gguf_header import GgufError, GgufHeader, TextCount
from cogen.checkpoints.rope_factors import FREQUENCIES, llama3_scaling

#: Keys behind the architecture's name that do not change the function of a decoder, or only with a value below.
_HARMLESS = frozenset(
    {
        "rope.scaling.finetuned",
        "attention.causal",
        "use_parallel_residual",
        "tensor_data_layout",
        "leading_dense_block_count",
    }
)
#: Keys that are read here, by architecture; "" for all.
_READ = frozenset(
    {
        "attention.key_length",
        "attention.value_length",
        "rope.dimension_count",
        "rope.scaling.type",
        "rope.scaling.factor",
        "rope.scale_linear",
        "rope.scaling.original_context_length",
    }
)
#: Architectures whose keys and tensors are known here one by one; llama.cpp calls Mistral's "llama", too.
KNOWN = ("llama", "qwen2", "qwen3", "gemma3")
_BLOCK = re.compile(r"blk\.(\d+)\.")
_BIASES = ("attn_q.bias", "attn_k.bias", "attn_v.bias", "attn_output.bias")
#: Blocks of Gemma 3 with 27 billion parameters, whose scores llama.cpp scales by width rather than by head.
_GEMMA_27B = 62


def config_changes(header: GgufHeader) -> dict[str, Any]:
    """Fields of the configuration that transformers would make otherwise of this file.

    :raises GgufError: sizes that its tensors do not have, or a key that changes the function in a way that is not read.
    """
    arch = header.architecture
    if not arch:
        raise GgufError("it names no general.architecture")
    mapped = _keys_of_transformers(arch)
    own = {key.removeprefix(f"{arch}."): value for key, value in header.values.items() if key.startswith(f"{arch}.")}
    _check_sizes(header, own)
    changes = dict(_heads(arch, own))
    scaling = _scaling(header, arch, own)
    if scaling is not None:
        changes["rope_scaling"] = scaling
    if arch == "gemma3":
        changes |= _gemma3(own)
    if arch == "llama" and "blk.0.attn_q.bias" in header.tensors:
        changes["attention_bias"] = True
    for key, value in sorted(own.items()):
        _check_key(arch, mapped, key, value, own)
    return changes


def _number(own: Mapping[str, Any], key: str) -> Any:
    value = own.get(key)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise GgufError(f"{key} is {_shown(value)}, not a number")
    return value


def _check_sizes(header: GgufHeader, own: Mapping[str, Any]) -> None:
    """Against the tensors: transformers builds what the keys say before it looks at them."""
    blocks = {int(match[1]) for name in header.tensors if (match := _BLOCK.match(name)) and len(match[1]) < 7}
    count = _number(own, "block_count")
    if count != len(blocks) or (blocks and max(blocks) != count - 1):
        raise GgufError(f"block_count is {count}, and it holds {len(blocks)} blocks")
    table = header.tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        raise GgufError("it holds no token_embd.weight")
    rows, width = table.shape
    if _number(own, "embedding_length") != width:
        raise GgufError(f"embedding_length is {own.get('embedding_length')}, and token_embd.weight is {width} wide")
    named = header.values.get("tokenizer.ggml.tokens")
    tokens = named.length if isinstance(named, TextCount) else None
    for key, found in (("vocab_size", _number(own, "vocab_size")), ("tokenizer.ggml.tokens", tokens)):
        if found is not None and found != rows:
            raise GgufError(f"{key} has {found:,} tokens, and token_embd.weight {rows:,} rows")
    for key, least, most in (
        ("attention.head_count", 1, width),
        ("attention.head_count_kv", 1, width),
        ("attention.key_length", 1, width * 64),
        ("attention.value_length", 1, width * 64),
        ("rope.dimension_count", 1, width * 64),
        ("feed_forward_length", 1, width * 1024),
        ("context_length", 1, 1 << 31),
    ):
        value = own.get(key)
        if isinstance(value, tuple | TextCount):
            continue  # by block: transformers reads those of the architectures that have them
        if (value := _number(own, key)) is not None and not least <= value <= most:
            raise GgufError(f"{key} is {value}, which is no such size")
    feed = header.tensors.get("blk.0.ffn_up.weight")
    length = own.get("feed_forward_length")
    if feed is not None and isinstance(length, int) and feed.shape[0] != length:
        raise GgufError(f"feed_forward_length is {length}, and blk.0.ffn_up.weight has {feed.shape[0]} rows")


def _heads(arch: str, own: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The width of a head, where it is not the model's width by the number of heads."""
    heads, width = _number(own, "attention.head_count"), _number(own, "embedding_length")
    length = _number(own, "attention.key_length")
    if arch not in KNOWN or not isinstance(heads, int) or not heads:
        return
    usual = width // heads
    key = length if length is not None else usual
    if (value := _number(own, "attention.value_length")) not in (None, key):
        raise GgufError(f"attention.value_length is {value}, and attention.key_length {key}")
    if (turned := _number(own, "rope.dimension_count")) not in (None, key):
        raise GgufError(f"rope.dimension_count is {turned}: only a part of each head of {key} is rotated")
    if arch == "qwen2":
        if key != usual:
            raise GgufError(f"attention.key_length is {key}, and Qwen2 has heads of {usual}")
    elif arch == "qwen3" or (arch == "llama" and length is not None and "rope.dimension_count" not in own):
        yield "head_dim", key


def _scaling(header: GgufHeader, arch: str, own: Mapping[str, Any]) -> dict[str, Any] | None:
    """``rope_scaling`` of transformers; ``None``: the angles are not scaled."""
    kind = own.get("rope.scaling.type")
    if kind is None and own.get("rope.scale_linear") is not None:
        kind = "linear"  # how old converters wrote it
    factor = _number(own, "rope.scaling.factor")
    factor = _number(own, "rope.scale_linear") if factor is None else factor
    factors = header.tensors.get(FREQUENCIES)
    if kind in (None, "none"):
        if kind is None and factor not in (None, 1):
            raise GgufError(f"rope.scaling.factor is {factor}, without rope.scaling.type")
        return None if factors is None else {"llama3": True}
    if factors is not None:
        raise GgufError(f"it has rope.scaling.type {_shown(kind)} and {FREQUENCIES}: one of them is read, not both")
    if arch not in KNOWN:
        raise GgufError(f"rope.scaling.type is {_shown(kind)}, which is not read for {_shown(arch)}")
    if factor is None or not 0 < factor < 1e6:
        raise GgufError(f"rope.scaling.factor is {factor}, with rope.scaling.type {_shown(kind)}")
    if kind == "linear":
        return {"rope_type": "linear", "factor": float(factor)}
    if kind == "yarn" and arch != "gemma3":
        original = _number(own, "rope.scaling.original_context_length")
        if original is None or original < 1:
            raise GgufError(f"rope.scaling.original_context_length is {original}, with rope.scaling.type 'yarn'")
        return {"rope_type": "yarn", "factor": float(factor), "original_max_position_embeddings": int(original)}
    raise GgufError(f"rope.scaling.type is {_shown(kind)}, which is not read for {_shown(arch)}")


def _gemma3(own: Mapping[str, Any]) -> dict[str, Any]:
    key = _number(own, "attention.key_length") or 256
    heads, width = _number(own, "attention.head_count"), _number(own, "embedding_length")
    if not heads:
        raise GgufError("attention.head_count is missing")
    return {
        "query_pre_attn_scalar": width // heads if own.get("block_count") == _GEMMA_27B else key,
        "final_logit_softcapping": _number(own, "final_logit_softcapping"),
        "local_theta": float(_number(own, "rope.freq_base_swa") or 10_000.0),
    }


def _keys_of_transformers(arch: str) -> Mapping[str, Any]:
    """Keys of a file → fields of the configuration; ``None`` for a key that it passes over.

    :raises GgufError: an architecture that transformers does not read.
    """
    table = importlib.import_module("transformers.integrations.ggml").GGUF_CONFIG_MAPPING
    for name in (arch, arch.replace("-", "_"), arch.replace("moe", "_moe")):
        if name in table and name != "general":
            found: Mapping[str, Any] = table[name]
            return found
    raise GgufError(f"its architecture is {_shown(arch)}, which transformers does not read")


def _check_key(arch: str, mapped: Mapping[str, Any], key: str, value: Any, own: Mapping[str, Any]) -> None:
    """:raises GgufError: the key changes the function, and nobody reads it."""
    if mapped.get(key) is not None or key in _READ or key in _HARMLESS:
        return
    if key in mapped and key == "rope.freq_base":
        return
    if arch == "gemma3" and key in ("final_logit_softcapping", "rope.freq_base_swa"):
        return
    if key == "attention.sliding_window" and (not value or value >= own.get("context_length", 0)):
        return  # no longer than the context: it is never reached
    if key in ("expert_count", "expert_used_count") and not value:
        return
    if key in ("rope.scaling.attn_factor", "logit_scale", "residual_scale", "embedding_scale") and value == 1:
        return
    if arch not in KNOWN and key in mapped:
        return
    name = ascii(f"{arch}.{key}")[1:-1]
    raise GgufError(f"{name} is {_shown(value)}, which may change what the model computes, and is not read")


def apply_changes(config: Any, changes: Mapping[str, Any], path: Path, header: GgufHeader) -> None:
    """Put them into a configuration of transformers, in place.

    :raises GgufError: rotary factors that are not those of Llama 3.
    """
    changes = dict(changes)
    scaling = changes.pop("rope_scaling", None)
    local = changes.pop("local_theta", None)
    for name, value in changes.items():
        setattr(config, name, value)
    theta = _theta(config)
    if scaling == {"llama3": True}:
        heads = config.num_attention_heads
        scaling = llama3_scaling(
            path,
            header.tensors[FREQUENCIES],
            theta,
            getattr(config, "head_dim", None) or config.hidden_size // heads,
            config.max_position_embeddings,
        )
    rope = {"rope_type": "default"} | (scaling or {}) | {"rope_theta": theta}
    if local is not None:
        config.rope_parameters = {
            "full_attention": rope,
            "sliding_attention": {"rope_type": "default", "rope_theta": local},
        }
    elif scaling is not None:
        config.rope_parameters = rope


def _theta(config: Any) -> float:
    """The base of the angles, wherever this version of transformers keeps it."""
    found = getattr(config, "rope_theta", None)
    parameters = getattr(config, "rope_parameters", None) or {}
    parameters = parameters.get("full_attention", parameters)
    value = parameters.get("rope_theta") if found is None else found
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise GgufError(f"rope.freq_base is {_shown(value)}")
    return float(value)


def check_tensors(header: GgufHeader, used: Mapping[str, str]) -> None:
    """:param used: tensors of the file that the model takes, by its own names.

    :raises GgufError: a tensor that the model has no place for, which would be left out.
    """
    for name in sorted(header.tensors):
        taken = name in used or name.removesuffix(".weight") in used or name == FREQUENCIES
        if not taken:
            raise GgufError(f"it holds {ascii(name)[1:-1]}, for which the model has no place")


def _shown(value: object) -> str:
    return ascii(value)[:60]
