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
    quantizer: Callable[[np.ndarray, str], np.ndarray] | None = None,
    dequantizer: Callable[[np.ndarray, str], np.ndarray] | None = None,
    more: Callable[[Any, str], None] = lambda writer, arch: None,
) -> dict[str, np.ndarray]:
    """Write a model; returns what each tensor is after quantization, by transformers' names.

    :param kind: ggml type of tensors with two axes, as far as the rows are long enough; F32 for the others.
    :param quantizer: rows of floats, and a ggml type → bytes, and ``dequantizer`` back; by default those of gguf, which
        has no quantizer of types with K.
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
        stem, _, suffix = name.rpartition(".")
        one = 1 if arch == "gemma3" and stem.endswith("norm") else 0  # llama.cpp's norms multiply by one more
        heads = 0
        if arch == "llama" and stem.endswith(("q_proj", "k_proj")):  # it interleaves the halves of a rotary head
            heads = config.num_attention_heads if stem.endswith("q_proj") else config.num_key_value_heads
        if heads:
            data = data.reshape(heads, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        own = quantizer if quantizer is not None and fits else None
        raw = own(data, kind) if own else quantize(data + one, chosen)
        plain = dequantizer(raw, kind) if dequantizer is not None and fits else dequantize(raw, chosen)
        plain = plain.reshape(data.shape)
        if heads:
            plain = plain.reshape(heads, -1, 2, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)
        found[name] = plain - one
        writer.add_tensor(f"{names.get_name(stem)}.{suffix}", raw, raw_dtype=chosen)
    if (factors := llama3_factors(config)) is not None:
        writer.add_tensor("rope_freqs.weight", factors)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return found


def random_blocks(data: np.ndarray, kind: str) -> np.ndarray:
    """Any blocks of a type with K, of the size of ``data``: all bytes are random, and the scales are small numbers."""
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    elements, size = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    generator = np.random.default_rng(data.size)
    blocks = generator.integers(0, 256, (data.size // elements, size), dtype=np.uint8)
    # https://github.com/ggml-org/ggml/blob/master/src/ggml-common.h: two half floats at the start, or one at the end
    places = [size - 2] if kind == "Q6_K" else [0, 2]
    for place in places:
        scales = generator.uniform(1e-3, 5e-3, len(blocks)).astype(np.float16)
        blocks[:, place : place + 2] = scales.view(np.uint8).reshape(-1, 2)
    return blocks.reshape(data.shape[0], -1)


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
