"""Checkpoints that show one thing: a Llama of one layer in which one tensor, setting or token matters."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merging import checkpoints

if TYPE_CHECKING:
    import torch

#: The tensor of a :func:`probe` that counts.
PROBED = "model.layers.0.mlp.up_proj.weight"


def probe(folder: Path, tensor: torch.Tensor, **settings: Any) -> Path:
    """A Llama of one layer whose weights are ones but for ``tensor``, its ``mlp.up_proj``."""
    import torch

    weights = [(name, torch.ones(2, 2, dtype=tensor.dtype)) for name in probe_names()]
    dtype = str(tensor.dtype).removeprefix("torch.")
    checkpoints.write(
        folder,
        [*weights, (PROBED, tensor)],
        checkpoints.llama_config(2, 2, 2, 1) | {"dtype": dtype} | settings,
        shard=10**9,
    )
    return folder


def probe_names() -> list[str]:
    """What a probe has besides the one tensor."""
    layer = "model.layers.0."
    names = ["model.embed_tokens.weight", "model.norm.weight", "lm_head.weight"]
    names += [f"{layer}self_attn.{part}_proj.weight" for part in "qkvo"]
    names += [f"{layer}mlp.{part}_proj.weight" for part in ("gate", "down")]
    return names + [f"{layer}{part}_layernorm.weight" for part in ("input", "post_attention")]


def edited(folder: Path, weights: Mapping[str, torch.Tensor | None], **settings: Any) -> Path:
    """Change a checkpoint of one file: put these tensors in (``None``: take them out), and these settings."""
    held = checkpoints.read(folder) | weights
    config = json.loads((folder / "config.json").read_text()) | settings
    checkpoints.write(folder, [(name, value) for name, value in held.items() if value is not None], config, shard=10**9)
    return folder


def several(**models: dict[str, Any]) -> Callable[[Path], dict[str, Path]]:
    """Models of ones, by name, with what differs: ``weights``, ``dtype``, ``tokens`` and settings of the config."""

    def make(folder: Path) -> dict[str, Path]:
        return {name: _probe(folder / name, **own) for name, own in models.items()}

    return make


def _probe(folder: Path, weights: Any = None, dtype: str = "float32", tokens: Any = None, **settings: Any) -> Path:
    import torch

    kind = getattr(torch, dtype)
    probe(folder, torch.ones(2, 2, dtype=kind))
    given = {k: None if v is None else torch.as_tensor(v, dtype=kind) for k, v in (weights or {}).items()}
    if tokens is not None:
        _tokenizer(folder, tokens)
    return edited(folder, given, **settings)


def _tokenizer(folder: Path, added: Sequence[str]) -> None:
    """Six tokens of a byte-pair encoding, and special ones after them."""
    from tokenizers import AddedToken, Tokenizer, models

    vocabulary = {token: index for index, token in enumerate(("a", "b", "c", "d", "ab", "cd"))}
    tokenizer = Tokenizer(models.BPE(vocabulary, [("a", "b"), ("c", "d")]))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in added])
    tokenizer.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 64}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
