"""Adapters in their base: a plain checkpoint with ``base + Σ wᵢ·deltaᵢ``, rounded once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FFN, llama, logits, save_adapter, save_model

from cogen.checkpoints.adapter import LoraAdapter, read_adapter
from cogen.checkpoints.common_form import common_config
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.load import applied, load_model, load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.cli.output import Progress
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.lora.concat import write_concatenated
from cogen.merging.lora.merge import AdapterDifference, write_merged

Q = "model.layers.0.self_attn.q_proj"
DTYPES = ["bfloat16", "float16", "float32"]


def merged(
    folder: Path, base: Path, adapters: Sequence[LoraAdapter], weights: Sequence[float], **options: Any
) -> dict[str, torch.Tensor]:
    folder.mkdir()
    changed = write_merged(open_folder(base), adapters, weights, folder, **options)
    found = load_file(folder / "model.safetensors")
    assert changed == sorted({n for a, w in zip(adapters, weights, strict=True) if w for n in a.pairs})
    return found


@pytest.fixture
def two(adapter: Any) -> list[LoraAdapter]:
    return [
        adapter("one", dict.fromkeys(FFN, (4, 8)), seed=1),
        adapter("two", {FFN[0]: (3, 1), Q: (2, 3)}, seed=2, dtype="float32"),
    ]


@pytest.mark.parametrize("dtype", DTYPES)
def test_one_adapter_at_weight_one_is_what_is_evaluated(
    tmp_path: Path, two: list[LoraAdapter], dtype: str, with_peft: Any
) -> None:
    """Bit for bit what :func:`applied` gives; the others are the base's bytes; transformers and peft agree."""
    base = save_model(tmp_path / "base", dtype=dtype)
    plain = open_folder(base)
    for part in two:
        found = merged(tmp_path / f"out-{part.folder.name}", base, [part], [1.0])
        view = Checkpoint(plain.folder, plain.tensors, part)
        assert found.keys() == plain.tensors.keys()
        for name, tensor in found.items():
            expected = applied(view, name) if name in part.pairs else plain.read(name)
            assert torch.equal(tensor, expected), name
            assert tensor.dtype == expected.dtype
    if dtype == "float32":
        expected = logits(with_peft(llama(), two[0].folder))
        found = logits(load_model(open_folder(tmp_path / "out-one"), "float32"))
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, -1.7)])
def test_against_float64(tmp_path: Path, two: list[LoraAdapter], dtype: str, weights: tuple[float, float]) -> None:
    """The float64 sum, rounded once: half a unit in the last place of the stored type, and the accumulator's error."""
    base = save_model(tmp_path / "base", dtype=dtype)
    plain = open_folder(base)
    found = merged(tmp_path / "out", base, two, weights)
    for name in {n for part in two for n in part.pairs}:
        exact = plain.read(name, torch.float64)
        for part, weight in zip(two, weights, strict=True):
            if name in part.pairs:
                exact = exact + weight * part.delta(name, torch.float64)
        error = (found[name].double() - exact).abs()
        half = torch.finfo(getattr(torch, dtype)).eps / 2
        assert (error <= half * exact.abs() + (1e-13 if dtype == "float32" else 2e-6)).all(), name
        assert not torch.equal(found[name], plain.read(name))


def test_the_same_bits_in_any_order_and_with_any_number_of_threads(tmp_path: Path, adapter: Any) -> None:
    """Also where an adapter is named twice, and for adapters that differ in nothing but alpha."""
    base = save_model(tmp_path / "base")
    parts = [adapter(str(i), {FFN[0]: (4, 3), FFN[2]: (2, 3)}, seed=i) for i in range(3)]
    parts.append(adapter("alpha", {FFN[0]: (4, 5), FFN[2]: (2, 5)}, seed=2))
    pairs = [*zip(parts, (0.1, 0.7, -1.3, 0.9), strict=True), (parts[0], 0.2)]
    found = []
    for i, order in enumerate([(0, 1, 2, 3, 4), (4, 2, 0, 3, 1), (3, 2, 1, 4, 0)]):
        chosen = [pairs[k] for k in order]
        out = merged(tmp_path / f"out{i}", base, [p for p, _ in chosen], [w for _, w in chosen], threads=i + 1)
        found.append(out)
    for other in found[1:]:
        assert all(torch.equal(found[0][name], other[name]) for name in found[0])
    plain = open_folder(base)
    exact = sum(w * part.delta(f"{FFN[0]}.weight", torch.float64) for part, w in pairs)
    difference = found[0][f"{FFN[0]}.weight"].double() - plain.read(f"{FFN[0]}.weight", torch.float64)
    torch.testing.assert_close(difference, exact, rtol=0, atol=1e-6)


def test_concatenated_or_one_by_one(tmp_path: Path, two: list[LoraAdapter]) -> None:
    """merge(base, concat(adapters)) = merge(base, adapters), to float32 rounding."""
    base, weights = save_model(tmp_path / "base"), (0.4, 1.5)
    (tmp_path / "concat").mkdir()
    write_concatenated(two, weights, tmp_path / "concat")
    one = merged(tmp_path / "a", base, two, weights)
    other = merged(tmp_path / "b", base, [read_adapter(tmp_path / "concat")], [1.0])
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-6)


def test_weight_zero_is_the_base(tmp_path: Path, two: list[LoraAdapter]) -> None:
    """The base's bytes."""
    base = save_model(tmp_path / "base")
    found = merged(tmp_path / "out", base, two, [0.0, 0.0])
    plain = load_file(base / "model.safetensors")
    assert all(torch.equal(found[name], plain[name]) for name in plain)


def test_a_whole_folder(tmp_path: Path, two: list[LoraAdapter]) -> None:
    """Config and tokenizer come with it, nothing of the adapter does."""
    base = save_model(tmp_path / "base")
    bar = Progress(len(open_folder(base).tensors))
    merged(tmp_path / "out", base, two, [1.0, 1.0], reporter=bar)
    assert bar.done == bar.total
    written, own = (json.loads((folder / "config.json").read_text()) for folder in (tmp_path / "out", base))
    assert written == common_config(own)
    assert load_tokenizer(tmp_path / "out").vocab_size == load_tokenizer(base).vocab_size
    assert list((tmp_path / "out").glob("adapter*")) == []


def test_refusals(tmp_path: Path, two: list[LoraAdapter]) -> None:
    """Another base, a weight that is not a number, a base with tensors that are not plain: nothing is written."""
    base = save_model(tmp_path / "base")
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(CompatibilityError, match="does not fit narrow"):
        write_merged(open_folder(save_model(tmp_path / "narrow", intermediate_size=48)), two, [1.0, 1.0], out)
    with pytest.raises(UsageError, match="the weight of two is nan"):
        write_merged(open_folder(base), two, [1.0, float("nan")], out)
    shutil.copytree(base, tmp_path / "quantized")
    tensors = load_file(base / "model.safetensors")
    tensors[f"{FFN[0]}.weight"] = torch.zeros(64, 32, dtype=torch.int8)
    save_file(tensors, tmp_path / "quantized" / "model.safetensors")
    with pytest.raises(CompatibilityError, match=r"quantized, as its tensor .*gate_proj\.weight shows"):
        write_merged(open_folder(tmp_path / "quantized"), two, [1.0, 1.0], out)
    # Without scales numbers of eight bits are no codes; but a sum is not rounded to them.
    tensors[f"{FFN[0]}.weight"] = torch.zeros(64, 32).to(torch.float8_e4m3fn)
    save_file(tensors, tmp_path / "quantized" / "model.safetensors")
    with pytest.raises(CompatibilityError, match=r"gate_proj\.weight of quantized is float8_e4m3fn"):
        write_merged(open_folder(tmp_path / "quantized"), two, [1.0, 1.0], out)
    assert list(out.iterdir()) == []
    assert json.loads((base / "config.json").read_text())["model_type"] == "llama"


def test_a_difference_is_the_same_at_any_cut(tmp_path: Path) -> None:
    """Blocks need not end where a row does."""
    base = open_folder(save_model(tmp_path / "base"))
    adapter = read_adapter(save_adapter(tmp_path / "adapter"))
    info = base.tensors[min(adapter.pairs)]
    operand = AdapterDifference(adapter, info, "k", OpenFiles())
    whole = adapter.delta(info.name, torch.float32).reshape(-1)
    for start, stop in ((0, info.numel), (5, 71), (64, 128), (33, 34)):
        assert torch.equal(operand.read(start, stop, torch.float32), whole[start:stop])
