"""Tiny models of the families that GGUF files are read of, with every scaling of rotary angles that is read."""

from __future__ import annotations

from typing import Any

from support.tiny import tokenizer

THETA = {"rope_type": "default", "rope_theta": 500.0}
LINEAR = {"rope_type": "linear", "rope_theta": 500.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 32}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 4.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
#: Name → (class of transformers, its configuration beside the common fields).
MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_parameters": THETA, "tie_word_embeddings": False}),
    "llama, wide heads": ("Llama", {"rope_parameters": THETA, "head_dim": 16}),
    "llama, biases": ("Llama", {"rope_parameters": THETA, "attention_bias": True}),
    "llama, linear": ("Llama", {"rope_parameters": LINEAR}),
    "llama, yarn": ("Llama", {"rope_parameters": YARN}),
    "llama, as Llama 3": ("Llama", {"rope_parameters": LLAMA3}),
    "llama, as Llama 3.1": (
        "Llama",
        {
            "rope_parameters": LLAMA3
            | {"rope_theta": 500_000.0, "factor": 8.0, "original_max_position_embeddings": 8192}
        },
    ),
    "mistral": ("Mistral", {"rope_parameters": THETA, "sliding_window": None}),
    "qwen2": ("Qwen2", {"rope_parameters": THETA}),
    "qwen2, yarn": ("Qwen2", {"rope_parameters": YARN}),
    "qwen3": ("Qwen3", {"rope_parameters": THETA, "head_dim": 12}),
    "qwen3, linear": ("Qwen3", {"rope_parameters": LINEAR, "head_dim": 12}),
    "qwen3, yarn": ("Qwen3", {"rope_parameters": YARN, "head_dim": 12}),
    "gemma3": ("Gemma3", {}),
    "gemma3, linear": ("Gemma3", {"global": LINEAR}),
    "gemma3, capped": ("Gemma3", {"final_logit_softcapping": 3.0}),
}


def build(name: str, seed: int = 3, **changes: Any) -> Any:
    """Two layers with gains and biases that are neither one nor zero."""
    import torch
    import transformers

    family, own = MODELS[name]
    own = dict(own)
    options: dict[str, Any] = {
        "vocab_size": len(tokenizer()),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 128,
        "initializer_range": 0.3,
        "rms_norm_eps": 3e-3,
        "tie_word_embeddings": True,
        "bos_token_id": 0,
        "eos_token_id": 0,
        "pad_token_id": 0,
    }
    if family == "Gemma3":
        options |= {
            "num_hidden_layers": 7,
            "head_dim": 12,
            "query_pre_attn_scalar": 12,
            "sliding_window": 8,
            "rope_parameters": {
                "full_attention": own.pop("global", THETA),
                "sliding_attention": {"rope_type": "default", "rope_theta": 10_000.0},
            },
        }
    config = getattr(transformers, f"{family}TextConfig" if family == "Gemma3" else f"{family}Config")
    model_class = getattr(transformers, f"{family}ForCausalLM")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = model_class(config(**(options | own | changes))).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.ndim == 1:
                    parameter.copy_(torch.randn_like(parameter) * 0.2 + 0.5)
    return model
