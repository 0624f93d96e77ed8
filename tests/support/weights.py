"""Real weights of a few numbers, as files, made and measured without the code under test."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from safetensors.numpy import load, save

#: Shape of the one matrix of a base, (out, in), and the rank of adapters for it.
OUT, IN, RANK = 3, 2, 1
MODULE = "model.layers.0.mlp.up_proj"


def adapter_tensors(seed: int = 0, module: str = MODULE) -> dict[str, Any]:
    """A LoRA of one matrix, float32."""
    factors = {"A": (RANK, IN), "B": (OUT, RANK)}
    return {
        f"base_model.model.{module}.lora_{letter}.weight": np.arange(shape[0] * shape[1], dtype=np.float32).reshape(
            shape
        )
        + np.float32(seed)
        for letter, shape in factors.items()
    }


@functools.cache
def adapter(seed: int = 0, module: str = MODULE) -> Mapping[str, bytes]:
    """A folder of an adapter: path → content."""
    config = {"peft_type": "LORA", "r": RANK, "lora_alpha": 2, "target_modules": [module.rpartition(".")[2]]}
    return {
        "adapter_config.json": json.dumps(config).encode(),
        "adapter_model.safetensors": save(adapter_tensors(seed, module)),
    }


@functools.cache
def base(seed: int = 0) -> Mapping[str, bytes]:
    """A folder of a whole model with the one matrix that :func:`adapter` fits."""
    matrix = np.arange(OUT * IN, dtype=np.float32).reshape(OUT, IN) + np.float32(seed)
    config = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "max_position_embeddings": 2048}
    return {"config.json": json.dumps(config).encode(), "model.safetensors": save({f"{MODULE}.weight": matrix})}


def count(content: Mapping[str, bytes]) -> int:
    """Parameters in all safetensors files of a folder."""
    return sum(tensor.size for tensor in _tensors(content).values())


def tensors_digest(content: Mapping[str, bytes]) -> str:
    """The weights digest of a folder of float32 tensors, as docs/fields.md describes it."""
    found = hashlib.sha256()
    for name, tensor in sorted(_tensors(content).items()):
        assert tensor.dtype == np.float32
        found.update(json.dumps([name, "float32", list(tensor.shape)], separators=(",", ":")).encode() + b"\n")
        found.update(tensor.tobytes())
    return "sha256:" + found.hexdigest()


def _tensors(content: Mapping[str, bytes]) -> dict[str, Any]:
    return {
        name: tensor
        for path, data in content.items()
        if path.endswith(".safetensors")
        for name, tensor in load(data).items()
    }
