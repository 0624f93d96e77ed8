"""GGUF → safetensors: a file written with the gguf library, against the model it was made from."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.tiny import llama, logits, tokenizer

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.facts import facts_of
from cogen.checkpoints.gguf import _slowdown, conversion_cost, converted
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_folder, open_weights
from cogen.errors import DigestError, SourceError
from cogen.files import cache_dir
from cogen.spec.model import WeightsRef

_NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "model.layers.": "blk.",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}


def write_gguf(path: Path, model: Any, kind: str, leave_out: str = "") -> dict[str, np.ndarray]:
    """Write a Llama as llama.cpp's converter does; returns the dequantized tensors by their transformers names."""
    from gguf import GGMLQuantizationType, GGUFWriter, dequantize, quantize

    config, backend = model.config, json.loads(tokenizer().backend_tokenizer.to_str())["model"]
    writer = GGUFWriter(path, "llama")
    writer.add_name("tiny")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(config.hidden_size // config.num_attention_heads)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("default")
    tokens = sorted(backend["vocab"], key=backend["vocab"].get)
    writer.add_token_list(tokens)
    writer.add_token_types([3] + [1] * (len(tokens) - 1))
    writer.add_token_merges([" ".join(pair) for pair in backend["merges"]])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    meant = {}
    for name, tensor in model.state_dict().items():
        if name in ("lm_head.weight", leave_out):
            continue
        data = tensor.float().numpy()
        quantized = GGMLQuantizationType[kind if data.ndim == 2 else "F32"]
        plain = dequantize(quantize(data, quantized), quantized)
        meant[name] = plain
        if "q_proj" in name or "k_proj" in name:  # llama.cpp interleaves the halves of a rotary head
            heads = config.num_attention_heads if "q_proj" in name else config.num_key_value_heads
            data = data.reshape(heads, 2, -1, data.shape[1]).swapaxes(1, 2).reshape(data.shape)
        for theirs, short in _NAMES.items():
            name = name.replace(theirs, short)
        writer.add_tensor(name, quantize(data, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return meant


@pytest.mark.parametrize("kind", ["F32", "F16", "Q4_1", "Q8_0"])
def test_the_converted_model_is_the_one_that_was_written(tmp_path: Path, kind: str) -> None:
    """Every tensor equals gguf's own dequantization bit for bit, and so do the logits of the model."""
    original = llama(seed=3)
    meant = write_gguf(tmp_path / "tiny.gguf", original, kind)
    folder = converted(tmp_path / "tiny.gguf", file_digest(tmp_path / "tiny.gguf"), "float32")
    checkpoint = open_folder(folder)
    assert checkpoint.names() == sorted(meant)
    for name, data in meant.items():
        assert np.array_equal(checkpoint.read(name).numpy(), data), name
    original.load_state_dict({name: torch.from_numpy(data) for name, data in meant.items()}, strict=False)
    assert torch.equal(logits(load_model(checkpoint, "float32")), logits(original.eval()))
    texts = ["the grid operator — Größe", "電力 😀 at every node"]
    assert load_tokenizer(folder)(texts)["input_ids"] == tokenizer()(texts)["input_ids"]


def test_converted_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another place, another name: the same cache entry; another dtype or another reader: another one."""
    write_gguf(tmp_path / "tiny.gguf", llama(), "F16")
    output: list[str] = []
    digest = file_digest(tmp_path / "tiny.gguf")
    first = converted(tmp_path / "tiny.gguf", digest, "bfloat16", output.append)
    (tmp_path / "tiny.gguf").rename(tmp_path / "other.gguf")
    assert converted(tmp_path / "other.gguf", digest, "bfloat16", output.append) == first
    assert len(output) == 1
    assert open_folder(first).tensors["model.norm.weight"].dtype == "bfloat16"
    assert converted(tmp_path / "other.gguf", digest, "float32", output.append) != first
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"another {name}")
    assert converted(tmp_path / "other.gguf", digest, "bfloat16", output.append) != first
    assert len(output) == 3


def test_a_busy_machine_takes_longer(tmp_path: Path) -> None:
    """The time is multiplied, and the line says why; memory and disk are what they are."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "F16")
    cost = conversion_cost(path, "bfloat16")
    busy = cost.on_a_machine_with(4.0)
    assert (busy.seconds, busy.memory, busy.disk) == (4 * cost.seconds, cost.memory, cost.disk)
    assert "as busy as the machine is" in str(busy)
    assert "busy" not in str(cost) + str(cost.on_a_machine_with(1.0))
    assert _slowdown(0.001) >= 1.0


def test_what_a_conversion_takes_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, memory and disk from the header alone; then progress that ends exactly at the estimate."""
    monkeypatch.setattr("cogen.checkpoints.gguf._slowdown", lambda: 1.0)
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "F16")
    elements = sum(info.numel for info in facts_of(converted(path, file_digest(path), "float32")).tensors.values())
    cost = conversion_cost(path, "bfloat16")
    assert (cost.disk, cost.memory) == (2 * elements, 6 * elements)
    assert conversion_cost(path, "float32").memory == 8 * elements
    seen: list[tuple[str, float]] = []

    class Watching:
        def begin(self, label: str, total: float | None, unit: str) -> None:
            seen.append((label, total))

        def describe(self, label: str) -> None: ...

        def advance(self, n: float = 1) -> None:
            seen.append(("done", n))

        def note(self, text: str) -> None:
            seen.append((text, 0))

    converted(path, file_digest(path), "bfloat16", Watching())
    assert seen[0][0] == f"converting tiny.gguf to safetensors (bfloat16), once: {cost}"
    assert "GB of memory" in str(cost)
    assert seen[1] == ("converting tiny.gguf", cost.seconds)
    assert sum(n for what, n in seen if what == "done") == pytest.approx(cost.seconds)


@pytest.mark.parametrize("damage", ["cut off", "no GGUF", "empty", "another architecture"])
def test_what_cannot_be_read(tmp_path: Path, damage: str) -> None:
    """One line, a hint, and nothing in the cache."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "F32")
    data = path.read_bytes()
    changed = {
        "cut off": data[: len(data) // 2],
        "no GGUF": b"x" * 1000,
        "empty": b"",
        "another architecture": data.replace(b"llama", b"lemma"),
    }
    path.write_bytes(changed[damage])
    with pytest.raises(SourceError, match=r"tiny\.gguf cannot be read as GGUF") as caught:
        converted(path, file_digest(path), "float32")
    assert caught.value.hint
    assert "\n" not in caught.value.message
    assert not [p for p in cache_dir().glob("gguf/*") if p.is_dir()]


def test_missing_tensors_are_never_invented(tmp_path: Path) -> None:
    """transformers would initialise what is missing at random and only warn."""
    write_gguf(tmp_path / "tiny.gguf", llama(), "F32", leave_out="model.layers.1.mlp.up_proj.weight")
    with pytest.raises(SourceError, match=r"lacks model\.layers\.1\.mlp\.up_proj\.weight") as caught:
        converted(tmp_path / "tiny.gguf", file_digest(tmp_path / "tiny.gguf"), "float32")
    assert caught.value.hint


def test_open_weights_of_a_gguf(tmp_path: Path) -> None:
    """The lineage is that of the dequantized tensors in the declared dtype."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "Q4_1")
    expected = open_folder(converted(path, file_digest(path), "bfloat16")).weights_digest
    ref = WeightsRef(
        name="tiny", source=f"file://{path}", format="gguf", file_digest=file_digest(path), weights_digest=expected
    )
    assert open_weights(ref).weights_digest == expected


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", sorted(BASES))
def test_the_pinned_bases(name: str) -> None:
    """Both digests of the weights and that of the tokenizer are what the index gives today."""
    weights, promised = BASES[name]
    checkpoint = open_weights(weights)  # raises when a digest differs
    assert tokenizer_digest(load_tokenizer(checkpoint.folder)) == promised.digest
    assert len(load_tokenizer(checkpoint.folder)) == promised.vocab_size


@pytest.mark.parametrize("file", ["config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"])
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_files_beside_the_converted_weights_are_guarded(tmp_path: Path, file: str, how: str) -> None:
    """The weights have their digest; what lies beside them is compared with what was converted."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "F32")
    home = converted(path, file_digest(path), "float32")
    assert converted(path, file_digest(path), "float32") == home
    if how == "changed":
        value = json.loads((home / file).read_text())
        (home / file).write_text(json.dumps(value | {"rope_theta": 77.0}))
    else:
        (home / file).unlink()
    with pytest.raises(DigestError, match=f"{file} is another file") as caught:
        converted(path, file_digest(path), "float32")
    assert caught.value.hint


def test_files_that_appear_beside_the_converted_weights(tmp_path: Path) -> None:
    """A chat template that nobody published; and a record that was removed vouches for nothing."""
    path = tmp_path / "tiny.gguf"
    write_gguf(path, llama(), "F32")
    home = converted(path, file_digest(path), "float32")
    (home / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(DigestError, match=r"chat_template\.jinja is another file"):
        converted(path, file_digest(path), "float32")
    (home / "chat_template.jinja").unlink()
    assert converted(path, file_digest(path), "float32") == home
    (home / "gguf.json").unlink()
    with pytest.raises(DigestError):
        converted(path, file_digest(path), "float32")
