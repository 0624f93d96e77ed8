"""Quantized experts and bases on every road: FP8 is its dequantized weights, everything else is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.quantized import LINEAR, rewrite, save_compressed, save_fp8, state
from support.runs import carry_out
from support.tiny import logits, save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.conformance.fix import _base
from cogen.errors import CompatibilityError
from cogen.fusion.recipe import FuseRecipe
from cogen.merging.mergekit.run import merge
from cogen.reporter import SILENT


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    """The JSON of a command that succeeds."""
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    found = capsys.readouterr()
    assert code == 0, found
    return json.loads(found.out)


@pytest.fixture(params=["fp8", "compressed"])
def save(request: pytest.FixtureRequest) -> Any:
    return {"fp8": save_fp8, "compressed": save_compressed}[request.param]


def quantized_expert(world: Any, save: Any, id: str, seed: int, base: Any = None) -> Any:
    folder = save(world.folder / f"weights-{id}", seed=seed)
    return world.expert(id, full=True, base=base, model={"weights_digest": open_folder(folder).weights_digest})


def same(folder: Path, expected: Path) -> None:
    """The composite has exactly the numbers of a quantized folder, and nothing says that it is quantized."""
    found, wanted = load_file(folder / "model.safetensors"), open_folder(expected)
    assert set(found) == set(wanted.names()) == set(state())
    for name, tensor in found.items():
        assert torch.equal(tensor, wanted.read(name)), name
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert torch.equal(logits(load_model(open_folder(folder), "float32")), logits(load_model(wanted, "float32")))


def test_one_expert_at_weight_one_is_its_dequantized_weights(world: Any, host: Any, save: Any, tmp_path: Path) -> None:
    """To the bit, with a quantized expert over a plain base."""
    expert = quantized_expert(world, save, "alpha", 3, base=world.base())
    carry_out(host(expert), FuseRecipe(level="none", scale=1.0), tmp_path / "out")
    same(tmp_path / "out", world.folder / "weights-alpha")


def test_a_quantized_base(world: Any, host: Any, save: Any, tmp_path: Path) -> None:
    """Scale 0 is the dequantized base; the same base and experts give the same bits as with plain folders of them."""
    save(world.folder / "base", seed=7)
    expert = world.expert("alpha")
    carry_out(host(expert), FuseRecipe(level="none", scale=0.0), tmp_path / "none")
    same(tmp_path / "none", world.folder / "base")
    carry_out(host(expert), FuseRecipe(level="none", scale=1.0), tmp_path / "whole")
    adapted = open_folder(tmp_path / "none").with_adapter(read_adapter(world.folder / "weights-alpha"))
    for name, tensor in load_file(tmp_path / "whole" / "model.safetensors").items():
        assert torch.equal(tensor, adapted.read(name, torch.float32).bfloat16()), name


def test_a_mixture_of_quantized_experts(world: Any, host: Any, save: Any, tmp_path: Path) -> None:
    """Its experts are the dequantized feed-forward blocks."""
    base = world.base()
    experts = [quantized_expert(world, save, "alpha", 3, base), quantized_expert(world, save, "beta", 4, base)]
    carry_out(host(*experts), FuseRecipe(strategy="moe", level="none", routing="hidden"), tmp_path / "out")
    order = [e.id for e in sorted(experts, key=lambda e: e.spec.model.weights_digest)]
    found = load_file(tmp_path / "out" / "model.safetensors")
    for number, id in enumerate(order, 1):
        own = open_folder(world.folder / f"weights-{id}")
        name = f"model.layers.1.block_sparse_moe.experts.{number}.w1.weight"
        assert torch.equal(found[name], own.read("model.layers.1.mlp.gate_proj.weight"))
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())


def test_cogen_merge(save: Any, tmp_path: Path) -> None:
    """mergekit's recipes: a single model, and the half of two."""
    one, two = save(tmp_path / "one", seed=3), save_model(tmp_path / "two", 4, "bfloat16")
    merge({"merge_method": "passthrough", "models": [{"model": str(one)}]}, tmp_path / "out")
    same(tmp_path / "out", one)
    models = [{"model": str(folder), "parameters": {"weight": 0.5}} for folder in (one, two)]
    merge({"merge_method": "linear", "models": models, "dtype": "float32"}, tmp_path / "half")
    read = [open_folder(folder).read(LINEAR[0], torch.float64) for folder in (one, two)]
    found = load_file(tmp_path / "half" / "model.safetensors")[LINEAR[0]]
    assert torch.equal(found, ((read[0] + read[1]) / 2).float())


def test_adapters(save: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Merged into a quantized base, and extracted from a quantized model."""
    base, adapter = save(tmp_path / "base"), save_adapter(tmp_path / "adapter")
    run(capsys, "adapter", "merge", base, adapter, "-o", tmp_path / "merged")
    adapted = open_folder(base).with_adapter(read_adapter(adapter))
    found = load_file(tmp_path / "merged" / "model.safetensors")
    assert torch.equal(found[LINEAR[-1]], adapted.read(LINEAR[-1], torch.float32).bfloat16())
    model = save(tmp_path / "model", seed=8)
    run(capsys, "adapter", "extract", model, base, "--rank", 32, "--skip-others", "-o", tmp_path / "out")
    again = open_folder(base).with_adapter(read_adapter(tmp_path / "out"))
    wanted = open_folder(model).read(LINEAR[-1], torch.float32)
    assert torch.allclose(again.read(LINEAR[-1], torch.float32), wanted, atol=1e-3)


def test_what_manifests_say_of_it(save: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen digest` and `cogen new --from` describe the numbers; the files stay as they are."""
    folder = save(tmp_path / "model")
    digest = open_folder(folder).weights_digest
    found = run(capsys, "digest", folder)
    assert (found["dtype"], found["weights_digest"]) == ("bfloat16", digest)
    assert found["parameters"] == sum(tensor.numel() for tensor in state().values())
    run(capsys, "new", "tiny-one", "--from", folder, "--license", "MIT", "-o", tmp_path / "plugin")
    (weights,) = (tmp_path / "plugin" / "src").glob("*/weights")
    assert open_folder(weights).weights_digest == digest
    assert json.loads((weights / "config.json").read_text())["quantization_config"]


def gptq(folder: Path) -> Path:
    save_model(folder, dtype="bfloat16")
    tensors = state()
    module = LINEAR[0].removesuffix(".weight")
    del tensors[LINEAR[0]]
    tensors[f"{module}.qweight"] = torch.zeros(4, 32, dtype=torch.int32)
    return rewrite(folder, tensors, {"quant_method": "gptq", "bits": 4})


def test_every_road_refuses_the_others(
    world: Any, host: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, by the name of the method, whatever was asked for."""
    folder = gptq(tmp_path / "packed")
    adapter, plain = save_adapter(tmp_path / "adapter"), save_model(tmp_path / "plain", dtype="bfloat16")
    recipe = tmp_path / "recipe.yml"
    recipe.write_text(f"merge_method: linear\nmodels: [{{model: {folder}, parameters: {{weight: 1}}}}]\n")
    out = tmp_path / "out"
    commands: list[tuple[object, ...]] = [
        ("digest", folder),
        ("new", "tiny-one", "--from", folder, "--license", "MIT", "-o", out),
        ("merge", recipe, "-o", out),
        ("adapter", "merge", folder, adapter, "-o", out),
        ("adapter", "extract", folder, plain, "--rank", 2, "-o", out),
        ("chat", folder),
    ]
    for command in commands:
        assert main([*map(str, command)]) == 1, command
        found = " ".join(capsys.readouterr().err.split())
        assert "is quantized (GPTQ, 4 bits)" in found, (command, found)
        assert "hint" in found
        assert not out.exists()
    expert = world.expert(
        "alpha", base=world.base() | {"source": f"file://{folder}", "file_digest": file_digest(folder)}
    )
    other = world.expert("beta", base=world.base(seed=9, name="other"))
    for strategy in ("merge", "moe", "route", "distill"):
        chosen = [expert, other] if strategy == "distill" else [expert]
        with pytest.raises(CompatibilityError, match=r"quantized \(GPTQ, 4 bits\)"):
            carry_out(host(*chosen), FuseRecipe(strategy=strategy, level="none"), tmp_path / "out")
    with pytest.raises(CompatibilityError, match=r"quantized \(GPTQ, 4 bits\)"):
        _base(expert.spec.model.base, tmp_path, SILENT)
