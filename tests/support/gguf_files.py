"""GGUF files of tiny models, written with gguf's own writer and tables as llama.cpp's converter writes them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from support.tiny import tokenizer

#: model_type of transformers → llama.cpp's architecture.
ARCHITECTURES = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma3_text": "gemma3"}


def write_model(
    path: Path,
    model: Any,
    kind: str = "F32",
    *,
    leave_out: str = "",
    more: Callable[[Any, str], None] = lambda writer, arch: None,
) -> dict[str, np.ndarray]:
    """Write a model; returns what each tensor is after quantization, by transformers' names.

    :param kind: ggml type of tensors with two axes, as far as the rows are long enough; F32 for the others.
    :param more: adds keys to the writer of an architecture.
    """
    from gguf import (
        GGML_QUANT_SIZES,
        MODEL_ARCH,
        MODEL_ARCH_NAMES,
        GGMLQuantizationType,
        GGUFWriter,
        dequantize,
        get_tensor_name_map,
        quantize,
    )

    config = model.config
    arch = ARCHITECTURES[config.model_type]
    writer = GGUFWriter(path, arch)
    _keys(writer, config)
    more(writer, arch)
    number: MODEL_ARCH = next(one for one, name in MODEL_ARCH_NAMES.items() if name == arch)
    names = get_tensor_name_map(number, config.num_hidden_layers)
    found = {}
    for name, tensor in model.state_dict().items():
        if name == leave_out or (name == "lm_head.weight" and config.tie_word_embeddings):
            continue
        data = tensor.float().numpy()
        wanted = GGMLQuantizationType[kind]
        fits = data.ndim == 2 and data.shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0
        chosen = wanted if fits else GGMLQuantizationType.F32
        found[name] = dequantize(quantize(data, chosen), chosen)
        stem, _, suffix = name.rpartition(".")
        if arch == "gemma3" and stem.endswith("norm"):
            data = data + 1  # llama.cpp's norms multiply by the weight, Gemma's by one more
            found[name] = dequantize(quantize(data, chosen), chosen) - 1
        if arch == "llama" and stem.endswith(("q_proj", "k_proj")):  # it interleaves the halves of a rotary head
            heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
            data = data.reshape(heads, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", quantize(data, chosen), raw_dtype=chosen)
    if (factors := llama3_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def _keys(writer: Any, config: Any) -> None:
    backend = json.loads(tokenizer().backend_tokenizer.to_str())["model"]
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    if config.model_type != "qwen2":
        writer.add_key_length(head)
        writer.add_value_length(head)
    if config.model_type in ("llama", "mistral"):
        writer.add_rope_dimension_count(head)
        writer.add_vocab_size(config.vocab_size)
    rope = config.rope_parameters
    if config.model_type == "gemma3_text":
        writer.add_sliding_window(config.sliding_window)
        if config.final_logit_softcapping:
            writer.add_final_logit_softcapping(config.final_logit_softcapping)
        rope = rope["full_attention"]
    writer.add_rope_freq_base(rope["rope_theta"])
    if rope["rope_type"] in ("linear", "yarn"):
        writer.add_string(f"{writer.arch}.rope.scaling.type", rope["rope_type"])
        writer.add_rope_scaling_factor(rope["factor"])
    if rope["rope_type"] == "yarn":
        writer.add_rope_scaling_orig_ctx_len(rope["original_max_position_embeddings"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    tokens = sorted(backend["vocab"], key=backend["vocab"].get)
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in backend["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)


def llama3_factors(config: Any) -> np.ndarray | None:
    """The tensor that llama.cpp's converter writes of Llama 3's scaling, after convert_hf_to_gguf.py; else ``None``."""
    import torch

    rope = config.rope_parameters
    if rope.get("rope_type") != "llama3":
        return None
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    frequencies = 1.0 / (rope["rope_theta"] ** (torch.arange(0, width, 2, dtype=torch.float32) / width))
    original, low, high = (
        rope[name] for name in ("original_max_position_embeddings", "low_freq_factor", "high_freq_factor")
    )
    factors = []
    for frequency in frequencies:
        length = 2 * math.pi / frequency
        if length < original / high:
            factors.append(1.0)
        elif length > original / low:
            factors.append(rope["factor"])
        else:
            smooth = (original / length - low) / (high - low)
            factors.append(float(1 / ((1 - smooth) / rope["factor"] + smooth)))
    return np.array(factors, dtype=np.float32)
