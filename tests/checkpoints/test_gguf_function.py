"""A model read from GGUF computes what the model computes that was written, or it is refused by the key's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.gguf_files import write_model
from support.gguf_models import MODELS, build
from support.tiny import logits, tokenizer

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.gguf import converted
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import SourceError


@pytest.mark.parametrize("name", MODELS)
def test_the_same_function(tmp_path: Path, name: str) -> None:
    """Every tensor bit for bit, and the logits over 100 tokens, within what two orders of summing differ by."""
    original, path = build(name), tmp_path / "tiny.gguf"
    meant = write_model(path, original)
    checkpoint = open_folder(converted(path, file_digest(path), "float32"))
    assert checkpoint.names() == sorted(meant)
    for key, data in meant.items():
        assert np.array_equal(checkpoint.read(key).numpy(), data), key
    original.load_state_dict({key: torch.from_numpy(data) for key, data in meant.items()}, strict=False)
    ids = torch.arange(100)[None] * 7 % len(tokenizer())
    with torch.no_grad():
        found, expected = (model(ids).logits for model in (load_model(checkpoint, "float32"), original))
    assert torch.allclose(found, expected, atol=2e-4), float((found - expected).abs().max())
    assert float(expected.abs().max()) > 1


def rope(kind: str, **values: float) -> Callable[[Any, str], None]:
    def more(writer: Any, arch: str) -> None:
        writer.add_string(f"{arch}.rope.scaling.type", kind)
        for key, value in values.items():
            writer.add_float32(f"{arch}.rope.scaling.{key}", value)

    return more


def number(key: str, value: float) -> Callable[[Any, str], None]:
    return lambda writer, arch: writer.add_float32(f"{arch}.{key}", value)


#: Name → (model, keys, what the error names).
REFUSED: dict[str, tuple[str, Callable[[Any, str], None], str]] = {
    "longrope": ("llama", rope("longrope", factor=4), "llama.rope.scaling.type|rope.scaling.type is 'longrope'"),
    "no factor": ("llama", rope("linear"), "rope.scaling.factor is None"),
    "factor zero": ("llama", rope("linear", factor=0), "rope.scaling.factor is 0"),
    "yarn without its context": ("qwen2", rope("yarn", factor=4), "original_context_length is None"),
    "yarn, other slopes": (
        "qwen2",
        rope("yarn", factor=4, original_context_length=32, yarn_beta_fast=16),
        "qwen2.rope.scaling.yarn_beta_fast is 16.0",
    ),
    "a softer output": ("llama", number("final_logit_softcapping", 30), "llama.final_logit_softcapping is 30.0"),
    "softer scores": ("gemma3", number("attn_logit_softcapping", 50), "gemma3.attn_logit_softcapping is 50.0"),
    "a window": ("llama", number("attention.sliding_window", 6), "llama.attention.sliding_window is 6.0"),
    "scaled outputs": ("llama", number("logit_scale", 2), "llama.logit_scale is 2.0"),
    "alibi": ("llama", number("attention.max_alibi_bias", 8), "llama.attention.max_alibi_bias is 8.0"),
    "clamped": ("qwen3", number("attention.clamp_kqv", 8), "qwen3.attention.clamp_kqv is 8.0"),
    "a key to come": ("qwen3", number("attention.of_the_future", 1), "qwen3.attention.of_the_future is 1.0"),
    "both scalings": ("llama, as Llama 3", rope("linear", factor=4), "rope_freqs.weight: one of them is read"),
}


@pytest.mark.parametrize(("name", "more", "reason"), REFUSED.values(), ids=list(REFUSED))
def test_refused_by_name(tmp_path: Path, name: str, more: Callable[[Any, str], None], reason: str) -> None:
    path = tmp_path / "tiny.gguf"
    write_model(path, build(name), more=more)
    with pytest.raises(SourceError, match=rf"tiny\.gguf cannot be read as GGUF: .*({reason})") as caught:
        converted(path, file_digest(path), "float32")
    assert "docs/compatibility.md" in (caught.value.hint or "")


def test_keys_that_change_nothing(tmp_path: Path) -> None:
    """A window as long as the context, a scale of one, no experts: read, and the function is the same."""

    def more(writer: Any, arch: str) -> None:
        writer.add_uint32(f"{arch}.attention.sliding_window", 128)
        writer.add_float32(f"{arch}.logit_scale", 1.0)
        writer.add_uint32(f"{arch}.expert_count", 0)
        writer.add_string(f"{arch}.rope.scaling.type", "none")

    path, original = tmp_path / "tiny.gguf", build("llama")
    write_model(path, original, more=more)
    found = load_model(open_folder(converted(path, file_digest(path), "float32")), "float32")
    assert torch.allclose(logits(found), logits(original), atol=2e-4)


def test_factors_that_no_scaling_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LongRoPE's and others' factors are in a tensor of the same name."""
    odd = np.array([1.0, 1.5, 3.0, 2.0], dtype=np.float32)
    monkeypatch.setattr("support.gguf_files.llama3_factors", lambda config: odd)
    path = tmp_path / "tiny.gguf"
    write_model(path, build("llama"))
    with pytest.raises(SourceError, match=r"rope_freqs.weight does not hold the factors of"):
        converted(path, file_digest(path), "float32")


@pytest.mark.parametrize(
    "tensor", ["blk.0.attn_sinks.weight", "blk.1.attn_q_norm.weight", "output_norm.bias", "mm.0.weight"]
)
def test_a_tensor_without_a_place(tmp_path: Path, tensor: str) -> None:
    """transformers leaves it out without a word."""
    path = tmp_path / "tiny.gguf"
    write_model(path, build("llama"), more=lambda writer, _: writer.add_tensor(tensor, np.ones(32, dtype=np.float32)))
    with pytest.raises(SourceError, match=rf"it holds {tensor}, for which the model has no place"):
        converted(path, file_digest(path), "float32")
