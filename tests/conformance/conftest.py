import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install
from support.sites import site
from support.tiny import save_model, tokenizer

from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.model import open_folder

__all__ = ["site"]


@pytest.fixture
def whole(site: Path, tmp_path: Path) -> Callable[..., Path]:
    """``whole(parameters=…, **changes)``: an installed plugin with a tiny model of its own; its package's folder."""
    folder = save_model(tmp_path / "model")
    checkpoint = open_folder(folder)
    parameters = sum(math.prod(info.shape) for info in checkpoint.tensors.values())

    def make(*, model: dict[str, Any] | None = None, words: dict[str, Any] | None = None, **changes: Any) -> Path:
        source = f"file://{folder}"
        own = {
            "name": "Tiny",
            "source": source,
            "format": "safetensors",
            "dtype": "float32",
            "file_digest": file_digest(folder),
            "weights_digest": checkpoint.weights_digest,
            "relation": "scratch",
            "architecture": "LlamaForCausalLM",
            "parameters": parameters,
            "context_length": 1024,
        }
        read = {
            "source": source,
            "digest": tokenizer_digest(tokenizer()),
            "kind": "bpe",
            "vocab_size": len(tokenizer()),
        }
        return install(site, "power", model=own | (model or {}), tokenizer=read | (words or {}), **changes)

    return make
