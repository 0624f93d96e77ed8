"""A LoRA adapter of rank 1 on the feed-forward layers that changes nothing: the starting point of training.

Written without torch. As peft initialises it, A holds small random numbers and B zeros: B·A is zero, and B has a
gradient.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import weights_digest


@dataclass(frozen=True)
class Shape:
    """What the size of an adapter depends on."""

    layers: int
    hidden: int
    feed_forward: int
    context: int
    architecture: str = "LlamaForCausalLM"


#: The bases of :data:`cogen.checkpoints.bases.BASES` that `cogen new` can start from.
SHAPES = {"smollm2-135m-instruct": Shape(layers=30, hidden=576, feed_forward=1536, context=8192)}


def write_adapter(folder: Path, base: str) -> tuple[int, str]:
    """Write the adapter's two files; returns its number of parameters and its weights digest."""
    import numpy as np
    from safetensors.numpy import save_file

    shape = SHAPES[base]
    random = np.random.default_rng(0)
    tensors: dict[str, Any] = {}
    for name, inputs, outputs in _modules(shape):
        bound = 1 / np.sqrt(inputs)
        tensors[f"{name}.lora_A.weight"] = random.uniform(-bound, bound, (1, inputs)).astype(np.float32)
        tensors[f"{name}.lora_B.weight"] = np.zeros((outputs, 1), np.float32)
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = {
        "base_model_name_or_path": None,
        "bias": "none",
        "inference_mode": True,
        "lora_alpha": 1,
        "lora_dropout": 0.0,
        "peft_type": "LORA",
        "r": 1,
        "target_modules": ["down_proj", "gate_proj", "up_proj"],
        "task_type": "CAUSAL_LM",
    }
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    facts = ((name, "float32", tensor.shape) for name, tensor in tensors.items())
    digest = weights_digest(facts, lambda name: tensors[name].tobytes())
    return sum(tensor.size for tensor in tensors.values()), digest


def _modules(shape: Shape) -> Iterator[tuple[str, int, int]]:
    """(peft's name, inputs, outputs) of every feed-forward matrix."""
    for layer in range(shape.layers):
        prefix = f"base_model.model.model.layers.{layer}.mlp"
        yield f"{prefix}.gate_proj", shape.hidden, shape.feed_forward
        yield f"{prefix}.up_proj", shape.hidden, shape.feed_forward
        yield f"{prefix}.down_proj", shape.feed_forward, shape.hidden
