"""A config.json that promises more than the tensors beside it hold: found before a library builds such a model.

transformers makes every layer of a configuration before it looks at a tensor, and fills what no file holds with random
numbers: a stranger's "num_hidden_layers": 1000000000 takes all time and memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.errors import SourceError

#: Numbers of layers: each has tensors of its own.
_LAYERS = (
    *("num_hidden_layers", "n_layer", "n_layers", "num_layers", "num_decoder_layers", "num_encoder_layers"),
    "num_nextn_predict_layers",
)
#: Numbers of experts: each has tensors of its own, or a part of one for all of a layer.
_EXPERTS = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
#: Widths: each is a side of some tensor, or a part of one.
_WIDTHS = (
    *("hidden_size", "n_embd", "d_model", "intermediate_size", "n_inner", "d_ff", "ffn_dim", "moe_intermediate_size"),
    *("shared_expert_intermediate_size", "vocab_size", "num_attention_heads", "n_head", "num_key_value_heads"),
    *("head_dim", "q_lora_rank", "kv_lora_rank", "state_size"),
)
_POSITIONS = ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "seq_length")
#: Up to here nothing is slow, and files that hold a part of a model are none of this module's business.
_FEW, _NARROW, _LONG = 512, 8192, 1 << 25


def check_sizes(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, TensorInfo]) -> None:
    """
    :param config: of the folder, whose sizes are whole numbers. :param tensors: all of its tensors.
    :raises SourceError: a size is beyond what these tensors can be.
    """
    widest = max((side for info in tensors.values() for side in info.shape), default=0)
    bounds = (
        dict.fromkeys(_LAYERS, max(len(tensors), _FEW))
        | dict.fromkeys(_EXPERTS, max(len(tensors), min(widest, _NARROW)))
        | dict.fromkeys(_WIDTHS, max(widest, _NARROW))
        | dict.fromkeys(_POSITIONS, max(widest, _LONG))
    )
    for name, value in _numbers(config):
        if value > bounds.get(name, value):
            raise SourceError(
                f"config.json of {folder.name} says {name} = {value:,}, and its {len(tensors):,} tensors hold no such "
                "model",
                hint="correct config.json, or save the model again with save_pretrained",
            )


def _numbers(config: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Of the table itself and of those in it, which describe the parts of a model."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from ((key, inner) for key, inner in value.items() if _is_number(inner))
        elif _is_number(value):
            yield name, value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
