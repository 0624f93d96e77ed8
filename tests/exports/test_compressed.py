"""FP8 and INT8: what is written is what compressed-tensors decompresses, and transformers loads all of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

pytest.importorskip("compressed_tensors")

from cogen.api.exports import default_output, export
from cogen.checkpoints.safetensors_file import read_folder, read_tensor
from cogen.exports import compressed
from cogen.exports.source import open_source
from cogen.host import Host
from cogen.merging import writer


def _export(model: Path, kind: str) -> Path:
    return export(model, kind, level="none", host=Host.discover()).folder


@pytest.mark.parametrize(("kind", "dtype", "step"), [("fp8", "float8_e4m3fn", 1 / 16), ("int8", "int8", 1 / 127)])
def test_weights_of_linear_layers_alone_are_quantized(model: Path, kind: str, dtype: str, step: float) -> None:
    before, after = read_folder(model), read_folder(_export(model, kind))
    chosen = set(compressed.linear_weights(open_source(model)))
    assert len(chosen) == 14  # seven in each of two layers
    assert set(after) == set(before) | {f"{name}_scale" for name in chosen}
    for name, info in before.items():
        if name not in chosen:
            assert after[name].dtype == info.dtype
            assert torch.equal(read_tensor(after[name]), read_tensor(info))
            continue
        assert after[name].dtype == dtype
        weight, scale = read_tensor(info).double(), read_tensor(after[f"{name}_scale"]).double()
        back = read_tensor(after[name]).double() * scale
        largest = weight.abs().amax(1, keepdim=True)
        # FP8 has three bits behind the point: half a step is a sixteenth of the value. INT8 has 127 steps.
        bound = weight.abs() * step + largest / 400 if kind == "fp8" else largest * step
        assert ((back - weight).abs() <= bound).all()


@pytest.mark.parametrize("format", ["fp8", "fp8:W8A8"])
def test_the_library_reads_the_configuration(model: Path, format: str) -> None:
    from compressed_tensors.quantization import QuantizationConfig

    config = json.loads((_export(model, format) / "config.json").read_text())
    own = json.loads((model / "config.json").read_text())
    settings = config.pop("quantization_config")
    assert config == own
    assert settings["quant_method"] == "compressed-tensors"
    assert settings["format"] == ("naive-quantized" if format == "fp8" else "float-quantized")
    assert settings["ignore"] == ["lm_head"]
    read = QuantizationConfig.model_validate({k: v for k, v in settings.items() if k != "version"})
    scheme = read.config_groups["group_0"]
    assert (scheme.weights.strategy, scheme.weights.num_bits) == ("channel", 8)
    if format == "fp8":
        assert scheme.input_activations is None
    else:
        assert (scheme.input_activations.strategy, scheme.input_activations.dynamic) == ("token", True)


def test_formats_that_differ_in_activations_alone_have_digests_of_their_own(model: Path) -> None:
    """Figures are cached by them."""
    folders = [_export(model, "fp8"), _export(model, "fp8:W8A8")]
    assert len({(folder / "model.safetensors").read_bytes() for folder in folders}) == 1
    assert len({compressed.digest(folder) for folder in folders}) == 2


@pytest.mark.parametrize("kind", ["fp8", "fp8:W8A8", "int8"])
def test_transformers_loads_every_tensor_and_the_function_is_near(model: Path, kind: str) -> None:
    from transformers import AutoModelForCausalLM

    loaded = compressed.load(_export(model, kind))
    own = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
    ids = torch.arange(1, 60)[None]
    with torch.no_grad():
        a, b = own(ids).logits.log_softmax(-1), loaded(ids).logits.float().log_softmax(-1)
    divergence = (a.exp() * (a - b)).sum(-1).mean()
    assert 0 < divergence < 0.15  # two random models of this kind differ by more than 5


def test_a_weight_that_is_left_out_is_found(model: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = _export(model, "fp8")
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("model.layers.1.mlp.up_proj.weight_scale")
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(compressed.ExportError, match="does not load the export"):
        compressed.load(folder)


def test_large_models_are_written_in_shards_with_an_index(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = _export(model, "fp8")
    whole = read_folder(one)
    index = json.loads((one / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == dict.fromkeys(whole, "model.safetensors")
    monkeypatch.setattr(writer, "SHARD_BYTES", 20_000)
    folder = export(model, "fp8", default_output(model, "shards"), level="none", host=Host.discover()).folder
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    sharded = read_folder(folder)
    assert set(sharded) == set(whole) == set(index["weight_map"])
    assert index["metadata"]["total_size"] == sum(info.stop - info.start for info in whole.values())
    assert all(
        torch.equal(read_tensor(sharded[n]).view(torch.uint8), read_tensor(whole[n]).view(torch.uint8)) for n in whole
    )
    compressed.load(folder)
