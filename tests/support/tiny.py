"""A Llama of a few thousand random weights, its tokenizer and LoRA adapters for it, as objects and as files."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import Any

from support.saved import written_once

WORDS = (
    *("the", "grid", "operator", "measures", "voltage", "and", "current", "at", "every"),
    *("node", "of", "the", "power", "network", "—", "Größe", "電力", "😀"),
)
#: The feed-forward modules of the tiny Llama's two layers.
FFN = tuple(f"model.layers.{layer}.mlp.{part}" for layer in (0, 1) for part in ("gate_proj", "up_proj", "down_proj"))


@functools.cache
def tokenizer() -> Any:
    """Byte-level BPE of 300 entries."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


#: Turns end with the tokenizer's end of text, as ChatML's do.
CHAT_TEMPLATE = (
    "{% for m in messages %}{{ m['role'] + ': ' + m['content'] + eos_token + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def chat_tokenizer(template: str = CHAT_TEMPLATE) -> Any:
    """A copy of :func:`tokenizer` with a chat template."""
    import copy

    found = copy.deepcopy(tokenizer())
    found.chat_template = template
    return found


def llama(seed: int = 7, dtype: str = "float32", **changes: Any) -> Any:
    """Two layers, hidden size 32, vocabulary of :func:`tokenizer`; the same weights for the same seed."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    options: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 1024,
        "initializer_range": 0.3,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
    }
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(LlamaConfig(**(options | changes))).to(getattr(torch, dtype)).eval()


def save_model(folder: Path, seed: int = 7, dtype: str = "float32", **changes: Any) -> Path:
    """A whole checkpoint folder: weights, config, tokenizer."""

    def write(place: Path) -> None:
        llama(seed, dtype, **changes).save_pretrained(place)
        tokenizer().save_pretrained(place)

    return written_once(folder, ("model", seed, dtype, sorted(changes.items())), write)


def save_adapter(
    folder: Path, seed: int = 1, *, rank: int = 4, alpha: float = 8, dtype: str = "bfloat16", **config: Any
) -> Path:
    """A LoRA adapter of the feed-forward layers as peft would write it, without peft."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for module in FFN:
        rows, columns = (32, 64) if module.endswith("down_proj") else (64, 32)
        for letter, shape in (("A", (rank, columns)), ("B", (rows, rank))):
            tensor = torch.randn(shape, generator=generator) * 0.3
            tensors[f"base_model.model.{module}.lora_{letter}.weight"] = tensor.to(getattr(torch, dtype))
    folder.mkdir(parents=True)
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    options: dict[str, Any] = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["down_proj", "gate_proj", "up_proj"],
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(options | config))
    return folder


def logits(model: Any) -> Any:
    """Of one fixed row of tokens, shape (1, 24, vocabulary), float32."""
    import torch

    with torch.no_grad():
        return model(input_ids=torch.arange(24)[None] * 7 % 300).logits.float()
