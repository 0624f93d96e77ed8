"""Random checkpoints to merge: tiny ones of several architectures, a large Llama, and one with a single huge tensor."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: transformers' name of an architecture → what differs from the common settings below.
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"tie_word_embeddings": True},  # has biases; tied, so that there is no lm_head in the files
    "qwen3": {"head_dim": 16},  # has norms of queries and keys, 16 elements each
    "olmo2": {},
    "gpt_neox": {},  # has biases everywhere, other names, and buffers that are no floating-point matrices
}
_COMMON = {
    "vocab_size": 160,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "tie_word_embeddings": False,
    "bos_token_id": 0,
    "eos_token_id": 0,
}
#: Of each expert: the size of its changes relative to the weights, the share of weights that it changes, and the factor
#: of its norm. Far larger changes than fine-tuning makes, so that angles, signs and thresholds matter in every tensor.
#: A part of the changes is common to all, as with real fine-tuning: without it differences were orthogonal.
EXPERTS = ((0.3, 1.0, 1.0), (0.5, 1.0, 1.1), (0.2, 0.3, 1.0))
MODELS = ("base", "a", "b", "c")


def small(architecture: str, dtype: str, folder: Path, seed: int = 0, buffers: bool = True) -> dict[str, Path]:
    """A base and three fine-tuned models made with transformers, without tokenizer files: name → folder.

    :param buffers: whether a GPT-NeoX has the buffers of old checkpoints.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    config = AutoConfig.for_model(architecture, **(_COMMON | ARCHITECTURES[architecture]))
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config).to(torch.float32)
    generator = torch.Generator().manual_seed(seed)
    # Norms start as ones and biases as zeros in transformers; noise makes them as general as all others.
    base = {
        name: value + 0.02 * torch.randn(value.shape, generator=generator) for name, value in model.named_parameters()
    }
    drift = {name: torch.randn(value.shape, generator=generator) for name, value in base.items()}
    found = {}
    for name, change in zip(MODELS, (None, *EXPERTS), strict=True):
        weights = base if change is None else {k: _tuned(v, drift[k], *change, generator) for k, v in base.items()}
        with torch.no_grad():
            for key, parameter in model.named_parameters():
                parameter.copy_(weights[key])
        found[name] = folder / name
        model.to(getattr(torch, dtype)).save_pretrained(found[name])
        model.to(torch.float32)
        if architecture == "gpt_neox" and buffers:
            _add_buffers(found[name])
    return found


def _add_buffers(folder: Path) -> None:
    """The buffers of the Pythia checkpoints, without which mergekit refuses a GPT-NeoX: booleans and a 0-d number."""
    import torch
    from safetensors.torch import save_file

    weights = read(folder)
    dtype = weights["embed_out.weight"].dtype
    for index in range(_COMMON["num_hidden_layers"]):
        attention = f"gpt_neox.layers.{index}.attention."
        weights[attention + "bias"] = torch.ones(1, 1, 64, 64, dtype=torch.bool).tril()
        weights[attention + "masked_bias"] = torch.tensor(-1e4, dtype=dtype)
        weights[attention + "rotary_emb.inv_freq"] = (10_000 ** -(torch.arange(0, 4) / 4)).to(dtype)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def _tuned(
    value: torch.Tensor, drift: torch.Tensor, size: float, share: float, norm: float, generator: torch.Generator
) -> torch.Tensor:
    import torch

    spread = size * value.square().mean().sqrt()
    changed = torch.rand(value.shape, generator=generator) < share
    return norm * (value + changed * spread * (drift + torch.randn(value.shape, generator=generator)))


def large(folder: Path, layers: int, seed: int = 0, models: tuple[str, ...] = MODELS) -> dict[str, Path]:
    """Random bfloat16 Llamas with the shapes of TinyLlama (2.7 GB each at 24 layers, in shards of 1 GB)."""
    import torch

    hidden, inner, vocabulary = 2048, 5632, 32000
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for index in range(layers):
        layer = f"model.layers.{index}."
        shapes |= {f"{layer}self_attn.{part}_proj.weight": (hidden, hidden) for part in "qkvo"}
        shapes |= {f"{layer}mlp.{part}_proj.weight": (inner, hidden) for part in ("gate", "up")}
        shapes |= {f"{layer}mlp.down_proj.weight": (hidden, inner)}
        shapes |= {f"{layer}{part}_layernorm.weight": (hidden,) for part in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}

    def tensors(own: int) -> Iterator[tuple[str, torch.Tensor]]:
        for index, (name, shape) in enumerate(shapes.items()):
            common = torch.randn(shape, generator=torch.Generator().manual_seed(seed + index)) * 0.02
            noise = torch.Generator().manual_seed(seed + index + 100_000 * own)
            yield name, (common + torch.randn(shape, generator=noise) * 0.002 if own else common).to(torch.bfloat16)

    config = llama_config(hidden, inner, vocabulary, layers)
    for own, model in enumerate(models):
        if not (folder / model / "config.json").exists():  # written last, so a folder that has it is whole
            write(folder / model, tensors(own), config, shard=10**9)
    return {model: folder / model for model in models}


def huge_tensor(folder: Path, rows: int = 128_256, columns: int = 4096, models: int = 4) -> dict[str, Path]:
    """Models that are one embedding matrix and one norm, the matrix of 1.05 GB in bfloat16."""
    import torch

    def tensors(own: int) -> Iterator[tuple[str, torch.Tensor]]:
        generator = torch.Generator().manual_seed(own)
        matrix = torch.empty(rows, columns, dtype=torch.bfloat16)
        for start in range(0, rows, 4096):
            part = matrix[start : start + 4096]
            part.copy_(torch.randn(part.shape, generator=generator) * 0.02)
        yield "model.embed_tokens.weight", matrix
        yield "model.norm.weight", torch.ones(columns, dtype=torch.bfloat16)

    config = llama_config(columns, 4 * columns, rows, 0) | {"tie_word_embeddings": True}
    names = MODELS[:models]
    for own, model in enumerate(names):
        if not (folder / model / "config.json").exists():
            write(folder / model, tensors(own), config, shard=10**10)
    return {model: folder / model for model in names}


def llama_config(hidden: int, inner: int, vocabulary: int, layers: int) -> dict[str, Any]:
    """config.json of a Llama in bfloat16."""
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "vocab_size": vocabulary,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, hidden // 128),
        "num_key_value_heads": max(1, hidden // 128),
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "dtype": "bfloat16",
    }


def write(
    folder: Path, tensors: Any, config: Mapping[str, Any], shard: int, names: str = "model-{:05d}-of-{:05d}.safetensors"
) -> None:
    """Write a checkpoint in shards of about ``shard`` bytes, its config last."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    held: dict[str, torch.Tensor] = {}
    files: list[tuple[Path, list[str]]] = []

    def flush() -> None:
        path = folder / f"part-{len(files)}"
        save_file(held, path, metadata={"format": "pt"})
        files.append((path, list(held)))
        held.clear()

    for name, tensor in tensors:
        if held and sum(t.nbytes for t in held.values()) + tensor.nbytes > shard:
            flush()
        held[name] = tensor.contiguous()
    flush()
    place = {}
    for index, (path, keys) in enumerate(files, start=1):
        final = "model.safetensors" if len(files) == 1 else names.format(index, len(files))
        path.rename(folder / final)
        place |= dict.fromkeys(keys, final)
    if len(files) > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": place}))
    (folder / "config.json").write_text(json.dumps(config, indent=2))


def read(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a checkpoint, by name, in memory."""
    from safetensors.torch import load_file

    return {name: value for path in sorted(folder.glob("*.safetensors")) for name, value in load_file(path).items()}


def bytes_of(folder: Path) -> int:
    """Bytes of the weight files."""
    return sum(path.stat().st_size for path in folder.glob("*.safetensors"))
