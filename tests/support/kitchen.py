"""Checkpoints of a few hundred numbers with a Llama's names, and recipes carried out on them."""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

import torch

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.safetensors_file import read_folder, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.merging.mergekit.plan import MergePlan, make_merge_plan
from cogen.merging.mergekit.recipe import read_recipe
from cogen.merging.mergekit.run import MergeResult, merge
from cogen.merging.mergekit.steps import TensorStep

Tensors = dict[str, torch.Tensor]
#: Rows of the vocabulary, width of the hidden state, and another width: all different.
ROWS, WIDTH, INNER = 12, 8, 20


def tensors_of(seed: int, layers: int = 2, *, tied: bool = True, rows: int = ROWS) -> Tensors:
    """Random float32 weights: embedding, ``layers`` layers of three tensors, a norm, and a head if it isn't tied."""
    generator = torch.Generator().manual_seed(seed)

    def random(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    found = {"model.embed_tokens.weight": random(rows, WIDTH)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}"
        found[f"{prefix}.input_layernorm.weight"] = random(WIDTH)
        found[f"{prefix}.self_attn.q_proj.weight"] = random(WIDTH, WIDTH)
        found[f"{prefix}.mlp.up_proj.weight"] = random(INNER, WIDTH)
    found["model.norm.weight"] = random(WIDTH)
    if not tied:
        found["lm_head.weight"] = random(rows, WIDTH)
    return found


class Kitchen:
    """A folder in which models lie and recipes are carried out; paths in recipes are relative to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def model(
        self,
        name: str,
        seed: int = 0,
        *,
        layers: int = 2,
        tied: bool = True,
        rows: int = ROWS,
        dtype: str = "float32",
        tensors: Tensors | None = None,
        **config: Any,
    ) -> Tensors:
        """Write a checkpoint without a tokenizer and give its tensors."""
        made = tensors if tensors is not None else tensors_of(seed, layers, tied=tied, rows=rows)
        made = {k: v.to(getattr(torch, dtype)) if v.is_floating_point() else v for k, v in made.items()}
        (self.folder / name).mkdir()
        write_safetensors(self.folder / name / "model.safetensors", made, {"format": "pt"})
        settings = {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "num_hidden_layers": layers,
            "dtype": dtype,
            "hidden_size": WIDTH,
            "intermediate_size": INNER,
            "vocab_size": rows,
            "tie_word_embeddings": tied,
        }
        (self.folder / name / "config.json").write_text(json.dumps(settings | config))
        return made

    def recipe(self, text: str) -> Path:
        path = self.folder / "config.yml"
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    def plan(self, text: str, **options: Any) -> MergePlan:
        """What would be done; no weight is read."""
        with OpenFiles() as files:
            return make_merge_plan(read_recipe(self.recipe(text))[0], files, **options)

    def steps(self, text: str, **options: Any) -> dict[str, TensorStep]:
        return {step.name: step for step in self.plan(text, **options).steps}

    def merge(self, text: str, output: str = "out", **options: Any) -> MergeResult:
        return merge(self.recipe(text), self.folder / output, **({"replace": True} | options))

    def merged(self, text: str, output: str = "out", **options: Any) -> Tensors:
        """The tensors of the result."""
        self.merge(text, output, **options)
        return self.tensors(output)

    def tensors(self, output: str = "out") -> Tensors:
        return {name: read_tensor(info) for name, info in read_folder(self.folder / output).items()}

    def json(self, name: str, output: str = "out") -> Any:
        return json.loads((self.folder / output / name).read_text())
