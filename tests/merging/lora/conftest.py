"""Adapters of any shape for the tiny Llama, and peft as the judge of what an adapter folder means."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.tiny import llama

from cogen.checkpoints.adapter import LoraAdapter, read_adapter

Make = Callable[..., LoraAdapter]


@pytest.fixture
def adapter(tmp_path: Path) -> Make:
    """``adapter(name, {module: (rank, alpha)})``: a folder of random factors, opened."""

    def make(
        name: str, modules: Mapping[str, tuple[int, float]], *, dtype: str = "bfloat16", seed: int = 0, **config: Any
    ) -> LoraAdapter:
        shapes = {n: tuple(p.shape) for n, p in llama(tie_word_embeddings=False).named_parameters()}
        generator = torch.Generator().manual_seed(seed)
        tensors = {}
        for module, (rank, _) in modules.items():
            rows, columns = shapes[f"{module}.weight"]
            for letter, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                random = torch.randn(shape, generator=generator, dtype=torch.float64) * 0.3
                tensors[f"base_model.model.{module}.lora_{letter}.weight"] = random.to(getattr(torch, dtype))
        folder = tmp_path / name
        folder.mkdir()
        save_file(tensors, folder / "adapter_model.safetensors")
        options = {
            "peft_type": "LORA",
            "task_type": "CAUSAL_LM",
            "r": 1,
            "lora_alpha": 1,
            "target_modules": list(modules),
            "rank_pattern": {module: rank for module, (rank, _) in modules.items()},
            "alpha_pattern": {module: alpha for module, (_, alpha) in modules.items()},
        }
        (folder / "adapter_config.json").write_text(json.dumps(options | config))
        return read_adapter(folder)

    return make


@pytest.fixture
def with_peft() -> Callable[[Any, Path], Any]:
    """``with_peft(model, folder)``: by peft alone, which must find every module and rank that the folder speaks of."""

    def load(model: Any, folder: Path) -> Any:
        from peft import PeftModel

        with warnings.catch_warnings(record=True) as heard:
            warnings.simplefilter("always")
            found = PeftModel.from_pretrained(model, folder)
        output = [str(w.message) for w in heard]
        assert [
            text for text in output if "adapter keys" in text or "did not match" in text or "no module" in text
        ] == []
        return found.eval()

    return load
