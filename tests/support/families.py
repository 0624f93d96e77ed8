"""Tiny random dense models of every family that a mixture is made of, and experts of them.

No field of a configuration has its default, and no gain or bias is one or zero: what is lost on the way shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from support.saved import written_once
from support.tiny import save_adapter, tokenizer

_LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 50000.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
_THETA = {"rope_type": "default", "rope_theta": 500.0}
#: Family → dense class of transformers, and what its configuration has beside the common fields.
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"tie_word_embeddings": False, "head_dim": 12, "rope_parameters": _THETA}),
    "llama-tied": ("Llama", {"tie_word_embeddings": True, "rope_parameters": _THETA}),
    "llama-scaled": ("Llama", {"tie_word_embeddings": False, "rope_parameters": _LLAMA3}),
    "mistral": (
        "Mistral",
        {"tie_word_embeddings": False, "head_dim": 12, "sliding_window": 6, "rope_parameters": _THETA},
    ),
    "qwen2": ("Qwen2", {"tie_word_embeddings": True, "rope_parameters": _THETA}),
    "qwen3": ("Qwen3", {"tie_word_embeddings": True, "head_dim": 12, "rope_parameters": _THETA}),
    "olmo2": ("Olmo2", {"tie_word_embeddings": False, "rope_parameters": _THETA}),
}
#: Dense class → that of its mixture.
MIXTURES = {
    "Llama": "MixtralForCausalLM",
    "Mistral": "MixtralForCausalLM",
    "Qwen2": "Qwen2MoeForCausalLM",
    "Qwen3": "Qwen3MoeForCausalLM",
    "Olmo2": "FlexOlmoForCausalLM",
}
HIDDEN, LAYERS, WIDTH = 32, 2, 64


def architecture(family: str) -> str:
    """As in ``config.json`` and in a manifest."""
    return f"{FAMILIES[family][0]}ForCausalLM"


def dense(family: str, seed: int = 7, dtype: str = "float32", **changes: Any) -> Any:
    """Two layers, hidden size 32; gains around one and biases around zero, all random."""
    import torch
    import transformers

    name, own = FAMILIES[family]
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": HIDDEN,
        "intermediate_size": WIDTH,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "rms_norm_eps": 3e-3,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    config = getattr(transformers, f"{name}Config")(**(options | own | changes))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = getattr(transformers, f"{name}ForCausalLM")(config).eval()
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                if parameter.ndim == 1:
                    parameter.copy_(torch.randn_like(parameter) * 0.3 + (0.0 if key.endswith("bias") else 1.0))
    return model.to(getattr(torch, dtype))


def save(model: Any, folder: Path) -> Path:
    """A whole checkpoint folder."""
    model.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def sibling(family: str, changed: Mapping[str, Any], *, of: Any = None, dtype: str = "float32", **changes: Any) -> Any:
    """A copy of a model (default: the base) in which the tensors ``changed`` are others; ``changes`` of the config."""
    import torch

    source = of or dense(family, dtype=dtype)
    found = dense(family, dtype=dtype, **changes)
    state = source.state_dict() | dict(changed)
    with torch.no_grad():
        for name, parameter in found.named_parameters():
            parameter.copy_(state[name])
    return found


class Zoo:
    """A base of one family and experts over it, by the World of ``tests/fusion/conftest.py``."""

    def __init__(self, world: Any, family: str = "llama-tied", dtype: str = "float32", **changes: Any) -> None:
        self.world, self.family, self.dtype, self.changes = world, family, dtype, changes
        if not (world.folder / "base").exists():
            key = ("zoo", family, dtype, sorted(changes.items()))
            written_once(world.folder / "base", key, lambda place: save(self.model(), place))

    def model(self, seed: int = 7) -> Any:
        return dense(self.family, seed, self.dtype, **self.changes)

    @property
    def base(self) -> Any:
        """``[model.base]`` of the manifests."""
        return self.world.base(dtype=self.dtype)

    def ffn(self, id: str, seed: int = 1, **changes: Any) -> Any:
        """An expert that is a LoRA of the feed-forward layers."""
        folder = self.world.folder / f"weights-{id}"
        if not folder.exists():
            save_adapter(folder, seed, dtype=self.dtype)
        return self._expert(id, {}, False, changes)

    def full(self, id: str, model: Any, **changes: Any) -> Any:
        """An expert that is a whole model."""
        folder = self.world.folder / f"weights-{id}"
        if not folder.exists():
            save(model, folder)
        return self._expert(id, {}, True, changes)

    def anchored(self, id: str, seed: int = 1, rows: Any = None, **changes: Any) -> Any:
        """An expert that ships router rows, shape (layers, hidden): random ones by default."""
        import torch

        rows = torch.randn(LAYERS, HIDDEN, generator=torch.Generator().manual_seed(seed)) if rows is None else rows
        router = changes.pop("router", None) or self.router(id, {"rows": rows})
        folder = self.world.folder / f"weights-{id}"
        if not folder.exists():
            save_adapter(folder, seed, dtype=self.dtype)
        return self._expert(id, {"relation": "anchored"}, False, {"router": router} | changes)

    def router(self, id: str, tensors: Mapping[str, Any]) -> dict[str, str]:
        """``[router]`` of a manifest, and the file that it names."""
        from safetensors.torch import save_file

        from cogen.checkpoints.digests import file_digest

        file = self.world.folder / f"rows-{id}.safetensors"
        save_file(dict(tensors), file)
        return {"source": f"file://{file}", "file_digest": file_digest(file)}

    def _expert(self, id: str, model: dict[str, Any], full: bool, changes: dict[str, Any]) -> Any:
        from cogen.checkpoints.digests import tokenizer_digest
        from cogen.checkpoints.load import load_tokenizer

        model = {"architecture": architecture(self.family)} | model | changes.pop("manifest", {})
        # Some families read the same file with a tokenizer class of their own.
        changes.setdefault("tokenizer_is", tokenizer_digest(load_tokenizer(self.world.folder / "base")))
        return self.world.expert(id, full=full, base=self.base, model=model, **changes)
