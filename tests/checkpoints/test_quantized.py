"""Quantized weights: FP8 and eight bits as their own libraries dequantize them, bit for bit; the others by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.quantized import LINEAR, PACKED, compressed, packed, rewrite, save_compressed, save_fp8, scaled, state
from support.tiny import logits, save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.facts import digest_of, facts_of
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.finite import first_not_finite
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.quantized import model_tensors
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.checkpoints.scaled import ScaledInfo
from cogen.errors import CogenError, CompatibilityError, SourceError


def by_transformers(folder: Path, dtype: torch.dtype = torch.bfloat16) -> dict[str, torch.Tensor]:
    """What transformers' FP8 integration makes of each quantized weight."""
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    stored = load_file(folder / "model.safetensors")
    own = Fp8Dequantize(None)
    return {n: own._dequantize_one(stored[n], stored[f"{n}_scale_inv"], dtype) for n in LINEAR}


def by_compressed_tensors(folder: Path) -> dict[str, torch.Tensor]:
    from compressed_tensors.quantization import QuantizationArgs
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    settings = json.loads((folder / "config.json").read_text())["quantization_config"]
    args = QuantizationArgs(**settings["config_groups"]["group_0"]["weights"])
    stored = load_file(folder / "model.safetensors")
    return {n: dequantize(stored[n], stored[f"{n}_scale"], stored.get(f"{n}_zero_point"), args) for n in LINEAR}


def check_reads(folder: Path, expected: dict[str, torch.Tensor]) -> Checkpoint:
    """Every way of reading gives these tensors, and nothing else is left in the checkpoint."""
    found = open_folder(folder)
    assert set(found.names()) == set(state())
    assert found.quantized
    with OpenFiles() as files:
        for name, tensor in expected.items():
            info = found.tensors[name]
            assert torch.equal(found.read(name).view(torch.uint8), tensor.contiguous().view(torch.uint8)), name
            flat, columns = tensor.reshape(-1), tensor.shape[1]
            for start, stop in ((0, info.numel), (3, 5), (columns - 1, 2 * columns + 3), (info.numel - 1, info.numel)):
                assert torch.equal(files.read(info, start, stop), flat[start:stop])
    return found


class TestFp8:
    @pytest.mark.parametrize("block", [(16, 16), (128, 128), (8, 32), None])
    def test_as_transformers_dequantizes_it(self, tmp_path: Path, block: tuple[int, int] | None) -> None:
        """Bit for bit, by block or by tensor; scales of activations are no weights."""
        folder = save_fp8(tmp_path / "m", block=block)
        found = check_reads(folder, by_transformers(folder))
        assert "quantization_config" not in found.config
        assert {info.dtype for info in found.tensors.values()} == {"bfloat16"}

    @pytest.mark.parametrize("dtype", ["float32", "float16"])
    def test_the_type_of_the_model(self, tmp_path: Path, dtype: str) -> None:
        """Rounded once, to what config.json calls the model's type."""
        folder = save_fp8(tmp_path / "m", dtype=dtype)
        check_reads(folder, by_transformers(folder, getattr(torch, dtype)))

    def test_blocks_at_the_edge_are_smaller(self, tmp_path: Path) -> None:
        """DeepSeek's kv_a_proj has 576 rows in blocks of 128."""
        folder = save_fp8(tmp_path / "m", block=(24, 20))
        stored = load_file(folder / "model.safetensors")
        expected = {}
        for name in LINEAR:
            codes, scales = stored[name], stored[f"{name}_scale_inv"]
            rows, columns = codes.shape
            grid = scales.repeat_interleave(24, 0)[:rows].repeat_interleave(20, 1)[:, :columns]
            expected[name] = (codes.float() * grid).bfloat16()
        check_reads(folder, expected)

    @pytest.mark.parametrize("kind", ["float8_e4m3fn", "float8_e5m2"])
    def test_every_code(self, tmp_path: Path, kind: str) -> None:
        """All 256, at scales that make subnormal numbers and at scales that overflow, in every type, as in torch."""
        codes = torch.arange(256, dtype=torch.uint8).view(getattr(torch, kind)).repeat(6, 1)
        scales = torch.tensor([[1.0], [1e-38], [3e38], [0.1], [1e-42], [-0.3]])
        file = tmp_path / "t.safetensors"
        save_file({"w": codes, "s": scales}, file)
        header = read_header(file)
        for dtype in ("float32", "bfloat16", "float16"):
            info = ScaledInfo("w", dtype, (6, 256), file, 0, 0, header["w"], header["s"], (1, 256))
            expected = (codes.float() * scales).to(getattr(torch, dtype))
            found = read_tensor(info)
            assert torch.equal(found.isnan(), expected.isnan())
            assert torch.equal(found.nan_to_num(7.0, 8.0, 9.0), expected.nan_to_num(7.0, 8.0, 9.0))
            assert torch.equal(found.signbit() | found.isnan(), expected.signbit() | expected.isnan())

    @pytest.mark.parametrize("stored", ["float8_e8m0fnu", "uint8"])
    def test_scales_that_are_powers_of_two(self, tmp_path: Path, stored: str) -> None:
        """Stored as exponents, as transformers reads them."""
        folder = save_fp8(tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        for name in LINEAR:
            shape = tensors[f"{name}_scale_inv"].shape
            exponents = torch.arange(shape.numel(), dtype=torch.uint8).reshape(shape) + 120
            tensors[f"{name}_scale_inv"] = exponents.view(getattr(torch, stored))
        settings = json.loads((folder / "config.json").read_text())["quantization_config"] | {"scale_fmt": "ue8m0"}
        rewrite(folder, tensors, settings)
        check_reads(folder, by_transformers(folder))

    def test_experts_in_one_tensor(self, tmp_path: Path) -> None:
        """(experts, rows, columns), each with its own grid."""
        weights = torch.randn(3, 40, 24)
        pairs = [scaled(weight, (16, 16)) for weight in weights]
        codes, scales = (torch.stack([pair[i] for pair in pairs]) for i in (0, 1))
        folder = tmp_path / "m"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        settings = {"quant_method": "fp8", "weight_block_size": [16, 16]}
        rewrite(folder, {"experts.gate_up_proj": codes, "experts.gate_up_proj_scale_inv": scales}, settings)
        grid = scales.repeat_interleave(16, 1)[:, :40].repeat_interleave(16, 2)[..., :24]
        (found,) = model_tensors(folder).values()
        assert torch.equal(read_tensor(found), (codes.float() * grid).bfloat16())

    def test_it_is_the_dequantized_model(self, tmp_path: Path) -> None:
        """The same logits, facts and digest as a folder of the dequantized weights."""
        folder = save_fp8(tmp_path / "m")
        plain = save_model(tmp_path / "plain", dtype="bfloat16")
        write_safetensors(plain / "model.safetensors", state() | by_transformers(folder), {"format": "pt"})
        one, other = facts_of(folder), facts_of(plain)
        assert (one.dtype, one.parameters, one.bytes) == (other.dtype, other.parameters, other.bytes)
        assert digest_of(one.tensors) == digest_of(other.tensors) == open_folder(folder).weights_digest
        assert first_not_finite(one.tensors) is None
        for dtype in ("float32", "bfloat16"):
            loaded = load_model(open_folder(folder), dtype)
            assert torch.equal(logits(loaded), logits(load_model(open_folder(plain), dtype)))
        assert not hasattr(loaded.config, "quantization_config")

    def test_an_adapter_over_it(self, tmp_path: Path) -> None:
        """Is added to the dequantized numbers."""
        folder = save_fp8(tmp_path / "m")
        adapter = read_adapter(save_adapter(tmp_path / "a"))
        found = open_folder(folder).with_adapter(adapter)
        name = LINEAR[-1]
        expected = by_transformers(folder)[name].float() + adapter.delta(name, torch.float32)
        assert torch.equal(found.read(name, torch.float32), expected)
        assert torch.equal(load_model(found, "bfloat16").get_parameter(name), expected.bfloat16())

    def test_a_number_that_is_none(self, tmp_path: Path) -> None:
        """One NaN among the codes is found in the tensor that it makes."""
        folder = save_fp8(tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        tensors[LINEAR[3]].view(torch.uint8)[3, 4] = 0x7F
        save_file(tensors, folder / "model.safetensors")
        assert first_not_finite(model_tensors(folder)) == LINEAR[3]

    def test_a_file_that_is_cut_short_meanwhile(self, tmp_path: Path) -> None:
        folder = save_fp8(tmp_path / "m")
        found = open_folder(folder)
        with (folder / "model.safetensors").open("r+b") as file:
            file.truncate(2000)
        with pytest.raises(SourceError, match="ended inside tensor"):
            found.read(LINEAR[-1])


class TestCompressedTensors:
    @pytest.mark.parametrize("kind", ["float", "int"])
    @pytest.mark.parametrize("strategy", ["tensor", "channel", "group", "block"])
    def test_as_the_library_dequantizes_it(self, tmp_path: Path, strategy: str, kind: str) -> None:
        """Bit for bit: its scales are bfloat16, and so is the product."""
        folder = save_compressed(tmp_path / "m", strategy, kind)
        check_reads(folder, by_compressed_tensors(folder))

    def test_zero_points(self, tmp_path: Path) -> None:
        folder = save_compressed(tmp_path / "m", "channel", "int")
        tensors = load_file(folder / "model.safetensors")
        for number, name in enumerate(LINEAR):
            shape = tensors[f"{name}_scale"].shape
            tensors[f"{name}_zero_point"] = torch.full(shape, number - 7, dtype=torch.int8)
        rewrite(folder, tensors, compressed("channel", "int", symmetric=False))
        check_reads(folder, by_compressed_tensors(folder))


class TestRefused:
    """By name, with a hint, wherever a model is opened."""

    @pytest.mark.parametrize("kind", PACKED)
    def test_by_name(self, tmp_path: Path, kind: str) -> None:
        names, settings, text = PACKED[kind]
        folder = packed(tmp_path / "m", names, settings)
        for read in (open_folder, facts_of, model_tensors):
            with pytest.raises(CompatibilityError, match=text) as caught:
                read(folder)
            assert caught.value.hint
            assert "\n" not in caught.value.message

    @pytest.mark.parametrize(
        "names", [("qweight", "qzeros"), ("weight",), ("weight_packed",), ("weight_scale",), ("SCB",)]
    )
    def test_codes_that_nothing_describes(self, tmp_path: Path, names: tuple[str, ...]) -> None:
        """Without its quantization_config a model's codes would pass for weights."""
        folder = packed(tmp_path / "m", names, None)
        with pytest.raises(CompatibilityError, match=r"config\.json does not say how") as caught:
            open_folder(folder)
        assert caught.value.hint

    @pytest.mark.parametrize("method", ["gptq", "fp8", "compressed-tensors", "bitsandbytes"])
    def test_plain_weights_that_are_called_quantized(self, tmp_path: Path, method: str) -> None:
        """transformers would quantize them anew, and compute something else."""
        folder = rewrite(save_model(tmp_path / "m", dtype="bfloat16"), state(), {"quant_method": method})
        with pytest.raises(CompatibilityError, match="and they are not") as caught:
            open_folder(folder)
        assert caught.value.hint

    @pytest.mark.parametrize(
        ("change", "text"),
        [
            (lambda t: t.pop(f"{LINEAR[0]}_scale_inv"), "has no scales"),
            (lambda t: t.pop(LINEAR[0]), "no codes for"),
            (lambda t: t.update({f"{LINEAR[0]}_scale_inv": torch.ones(3, 2)}), "do not fit it: 3 × 2"),
            (lambda t: t.update({f"{LINEAR[0]}_scale_inv": torch.ones(2, 2, dtype=torch.int8)}), "do not fit"),
            (lambda t: t.update({LINEAR[0]: t[LINEAR[0]].view(torch.int8)}), "has no scales"),
        ],
    )
    def test_codes_and_scales_that_do_not_belong_together(self, tmp_path: Path, change: Any, text: str) -> None:
        folder = save_fp8(tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(CompatibilityError, match=text) as caught:
            open_folder(folder)
        assert caught.value.hint

    @pytest.mark.parametrize("block", [[16], "16x16", [16, 0], [16, 1.5], 16])
    def test_blocks_without_sizes(self, tmp_path: Path, block: Any) -> None:
        folder = save_fp8(tmp_path / "m")
        tensors = load_file(folder / "model.safetensors")
        rewrite(folder, tensors, {"quant_method": "fp8", "weight_block_size": block})
        with pytest.raises(CogenError, match="weight_block_size"):
            open_folder(folder)

    def test_groups_with_blocks_that_cannot_be_told_apart(self, tmp_path: Path) -> None:
        """Two sizes that cut a tensor into as many pieces, at other places."""
        folder = save_compressed(tmp_path / "m", "block")
        settings = compressed("block", block_structure=[16, 16])
        other = compressed("block", block_structure=[20, 16])["config_groups"]["group_0"]
        settings["config_groups"]["group_1"] = other
        rewrite(folder, load_file(folder / "model.safetensors"), settings)
        with pytest.raises(CompatibilityError, match="do not fit"):
            open_folder(folder)
