"""What can be computed of weights, and where a manifest says something else: without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from support.tiny import save_adapter, save_model
from support.weights import adapter, base, count, tensors_digest

from cogen.checkpoints.facts import compare, digest_of, facts_of, is_feed_forward
from cogen.checkpoints.model import open_folder
from cogen.errors import SourceError, UnsafeError
from cogen.spec.model import BaseRef, ModelSpec

ZERO = "sha256:" + "0" * 64


def written(folder: Path, files: Any) -> Path:
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


def spec(files: Any, **changes: Any) -> ModelSpec:
    base_ref = BaseRef(name="b", source="file:///b", file_digest=ZERO, weights_digest=ZERO, license="MIT")
    fields: dict[str, Any] = {
        "name": "x",
        "source": "file:///x",
        "format": "peft",
        "dtype": "float32",
        "file_digest": ZERO,
        "weights_digest": tensors_digest(files),
        "architecture": "LlamaForCausalLM",
        "parameters": count(files),
        "context_length": 2048,
        "relation": "ffn",
        "base": base_ref,
    }
    return ModelSpec.model_validate(fields | changes)


def test_facts_of_an_adapter(tmp_path: Path) -> None:
    facts = facts_of(written(tmp_path / "a", adapter()))
    assert (facts.format, facts.dtype, facts.parameters, facts.relation) == ("peft", "float32", 5, "ffn")
    assert digest_of(facts.tensors) == tensors_digest(adapter())


def test_facts_of_a_model(tmp_path: Path) -> None:
    folder = save_model(tmp_path / "m", dtype="bfloat16")
    facts = facts_of(folder)
    assert (facts.format, facts.dtype, facts.relation) == ("safetensors", "bfloat16", None)
    assert (facts.architecture, facts.context_length) == ("LlamaForCausalLM", 1024)
    assert digest_of(facts.tensors) == open_folder(folder).weights_digest


@pytest.mark.parametrize(
    ("module", "relation"),
    [
        ("model.layers.0.mlp.up_proj", "ffn"),
        ("model.layers.0.self_attn.q_proj", "adapter"),
        ("transformer.h.0.mlp.c_fc", "ffn"),
        ("transformer.h.0.attn.c_attn", "adapter"),
        ("gpt_neox.layers.0.mlp.dense_h_to_4h", "ffn"),
        ("model.decoder.layers.0.fc1", "ffn"),
        ("model.layers.0.block_sparse_moe.experts.3.w1", "ffn"),
        ("model.embed_tokens", "adapter"),
        ("lm_head", "adapter"),
    ],
)
def test_the_relation_is_in_the_names(tmp_path: Path, module: str, relation: str) -> None:
    assert facts_of(written(tmp_path / "a", adapter(0, module))).relation == relation
    assert is_feed_forward(f"{module}.weight") is (relation == "ffn")


@pytest.mark.parametrize(
    ("changes", "field", "found"),
    [
        ({}, None, None),
        ({"relation": "adapter"}, None, None),
        ({"parameters": 6}, "parameters", 5),
        ({"dtype": "float16"}, "dtype", "float32"),
        ({"dtype": "bfloat16"}, None, None),  # of its base
        ({"weights_digest": ZERO}, "weights_digest", tensors_digest(adapter())),
        ({"format": "safetensors", "relation": "full"}, "format", "peft"),
    ],
)
def test_what_a_manifest_says_of_an_adapter(tmp_path: Path, changes: Any, field: str | None, found: Any) -> None:
    wrong = list(compare(spec(adapter(), **changes), written(tmp_path / "a", adapter())))
    assert [(one.field, one.found) for one in wrong] == ([(field, found)] if field else [])


@pytest.mark.parametrize(("relation", "found"), [("ffn", "adapter"), ("anchored", None)])
def test_an_adapter_of_attention_is_no_ffn(tmp_path: Path, relation: str, found: str | None) -> None:
    """The message names the layer; an anchored one cannot be mended by another word alone."""
    files = adapter(0, "model.layers.0.self_attn.q_proj")
    (wrong,) = compare(spec(files, relation=relation), written(tmp_path / "a", files))
    assert wrong.message == (
        "the adapter also changes model.layers.0.self_attn.q_proj, which is not a feed-forward layer; "
        f"the manifest says relation = {relation}"
    )
    assert wrong.found == found


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({}, None),
        ({"architecture": "MistralForCausalLM"}, "architecture"),
        ({"context_length": 4096}, "context_length"),
        ({"context_length": 512}, None),  # a promise of less than the configuration allows
        ({"dtype": "bfloat16"}, "dtype"),
    ],
)
def test_what_a_manifest_says_of_a_model(tmp_path: Path, changes: Any, field: str | None) -> None:
    described = spec(base(), **({"format": "safetensors", "relation": "full"} | changes))
    wrong = list(compare(described, written(tmp_path / "m", base())))
    assert [one.field for one in wrong] == ([field] if field else [])


def test_of_a_base_only_what_its_table_says(tmp_path: Path) -> None:
    ref = BaseRef(name="b", source="file:///b", dtype="float16", file_digest=ZERO, weights_digest=ZERO, license="MIT")
    wrong = list(compare(ref, written(tmp_path / "m", base())))
    assert [(one.field, one.found) for one in wrong] == [
        ("dtype", "float32"),
        ("weights_digest", tensors_digest(base())),
    ]


def test_weights_that_nobody_can_open(tmp_path: Path) -> None:
    """Of an adapter of another kind, the difference is that."""
    folder = save_adapter(tmp_path / "a", init_lora_weights="pissa", dtype="float32")
    (wrong,) = compare(spec(adapter()), folder)
    assert wrong.field == "source"
    assert wrong.found is None
    assert "nobody can open them: " in wrong.message
    assert "init_lora_weights" in wrong.message
    with pytest.raises(SourceError, match="is not a folder of weights"):
        facts_of(tmp_path / "none")
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(UnsafeError, match="a pickle"):
        facts_of(tmp_path / "p")
