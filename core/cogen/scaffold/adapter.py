"""A LoRA adapter of rank 1 on the feed-forward layers that changes nothing: the starting point of training.

Written without torch and numpy, which the host alone does not have. As peft initialises it, A holds small random
numbers and B zeros: B·A is zero, and B has a gradient.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cogen.checkpoints.digests import weights_digest
from cogen.checkpoints.safetensors_writer import SafetensorsWriter


@dataclass(frozen=True)
class Shape:
    """What the size of an adapter depends on."""

    layers: int
    hidden: int
    feed_forward: int
    context: int
    architecture: str = "LlamaForCausalLM"


#: The bases of :data:`cogen.checkpoints.bases.BASES` that `cogen new` can start from.
SHAPES = {
    "smollm2-135m-instruct": Shape(layers=30, hidden=576, feed_forward=1536, context=8192),
    "qwen2.5-coder-0.5b-instruct": Shape(24, 896, 4864, 32768, architecture="Qwen2ForCausalLM"),
}


def write_adapter(folder: Path, base: str) -> tuple[int, str]:
    """Write the adapter's two files; returns its number of parameters and its weights digest."""
    random = Random(0)
    tensors: dict[str, tuple[tuple[int, int], bytes]] = {}
    for name, inputs, outputs in _modules(SHAPES[base]):
        bound = 1 / math.sqrt(inputs)
        values = [bound * (2 * random.random() - 1) for _ in range(inputs)]
        tensors[f"{name}.lora_A.weight"] = (1, inputs), struct.pack(f"<{inputs}f", *values)
        tensors[f"{name}.lora_B.weight"] = (outputs, 1), bytes(4 * outputs)
    folder.mkdir(parents=True)
    shapes = {name: ("float32", shape) for name, (shape, _) in tensors.items()}
    with SafetensorsWriter(folder / "adapter_model.safetensors", shapes, {"format": "pt"}) as writer:
        for name, (_, data) in tensors.items():
            writer.write(name, data)
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
    facts = ((name, "float32", shape) for name, (shape, _) in tensors.items())
    digest = weights_digest(facts, lambda name: tensors[name][1])
    return sum(math.prod(shape) for shape, _ in tensors.values()), digest


def _modules(shape: Shape) -> Iterator[tuple[str, int, int]]:
    """(peft's name, inputs, outputs) of every feed-forward matrix."""
    for layer in range(shape.layers):
        prefix = f"base_model.model.model.layers.{layer}.mlp"
        yield f"{prefix}.gate_proj", shape.hidden, shape.feed_forward
        yield f"{prefix}.up_proj", shape.hidden, shape.feed_forward
        yield f"{prefix}.down_proj", shape.feed_forward, shape.hidden
