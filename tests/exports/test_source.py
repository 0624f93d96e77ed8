"""What cannot be exported is refused by name, before any tool is looked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.runs import carry_out
from support.world import FakeHost, World

from cogen.errors import CogenError, CompatibilityError, DigestError, UnsafeError, UsageError
from cogen.exports import compressed, onnx
from cogen.exports.source import open_source, plain_view
from cogen.fusion.recipe import FuseRecipe


def test_a_model_folder(model: Path) -> None:
    source = open_source(model)
    assert (source.name, source.strategy, source.dtype, source.lock) == ("composite", "model", "bfloat16", None)
    assert source.bytes == sum(info.numel * 2 for info in source.checkpoint.tensors.values())


def test_a_route_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "route.json").write_text("{}")
    with pytest.raises(CompatibilityError, match="is a route") as error:
        open_source(tmp_path)
    assert "cogen serve" in error.value.hint


def test_no_model_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a model folder"):
        open_source(tmp_path / "nowhere")


def test_quantized_weights_are_not_quantized_again(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(CompatibilityError, match=r"quantized already \(gptq\)"):
        open_source(model)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_converters_never_see_remote_code(model: Path, name: str) -> None:
    """llama.cpp's converter loads tokenizers with trust_remote_code."""
    settings = json.loads((model / name).read_text())
    (model / name).write_text(json.dumps(settings | {"auto_map": {"AutoTokenizer": ["code.Tokenizer", None]}}))
    with pytest.raises(UnsafeError, match=f"auto_map in {name}"):
        open_source(model)


def test_converters_see_weights_configuration_and_tokenizer_alone(model: Path) -> None:
    for stray in ("router.safetensors", "tokenization_own.py", "README.md", "cogen.json"):
        (model / stray).write_text("")
    source = open_source(model)
    with plain_view(source) as view:
        names = {file.name for file in view.iterdir()}
        assert {"config.json", "tokenizer.json", "model.safetensors"} <= names
        assert not names & {"router.safetensors", "tokenization_own.py", "README.md", "cogen.json"}
        assert view.name == "composite"
    assert not view.exists()


@pytest.mark.parametrize("kind", ["fp8", "int8", "onnx"])
def test_mixtures_are_refused_by_name(model: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    source = open_source(model)
    tensors = source.checkpoint.tensors
    tensors["model.layers.0.mlp.experts.0.up_proj.weight"] = next(iter(tensors.values()))
    check = (lambda: onnx.check_fits(source)) if kind == "onnx" else (lambda: compressed.check_fits(source, kind))
    with pytest.raises(CogenError, match=f"a mixture of experts cannot be exported to {kind}") as error:
        check()
    assert "gguf" in error.value.hint


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_composite_that_was_changed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The card would repeat figures of other weights; what a user sets beside them is not meant."""
    monkeypatch.setattr("cogen.fusion.merge.inputs.general_suites", list)
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    carry_out(FakeHost(World(tmp_path).expert("alpha")), FuseRecipe(level="none", scale=1.0), tmp_path / "out")
    (tmp_path / "out" / "generation_config.json").write_text('{"temperature": 0.5}')
    assert open_source(tmp_path / "out").strategy == "merge"
    data = (tmp_path / "out" / name).read_bytes()
    changed = data + b" " if name == "config.json" else data[:-2] + bytes([data[-2] ^ 1]) + data[-1:]
    (tmp_path / "out" / name).write_bytes(changed)
    with pytest.raises(DigestError, match=f"{name} of .*out is not the file that cogen.lock names") as caught:
        open_source(tmp_path / "out")
    assert "cogen fuse --lock" in str(caught.value.hint)
    (tmp_path / "out" / "cogen.lock").unlink()
    assert open_source(tmp_path / "out").lock is None
