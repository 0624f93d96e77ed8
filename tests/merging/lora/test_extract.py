"""An adapter out of a whole model: what was a LoRA comes back, and what is none is named."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from support.tiny import FFN, llama, logits, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.cli.output import Progress
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.lora.extract import extract, linear_weights
from cogen.merging.lora.merge import write_merged
from cogen.merging.lora.write import write_adapter

Q = "model.layers.0.self_attn.q_proj"


def changed_model(folder: Path, base: Path, changes: dict[str, Any], dtype: str | None = None) -> Checkpoint:
    """A copy of the base in ``dtype`` where functions were applied to tensors; a new tensor is one of ``None``."""
    folder.mkdir()
    tensors = load_file(base / "model.safetensors")
    for name, function in changes.items():
        tensors[name] = function(tensors.get(name))
    (folder / "config.json").write_text((base / "config.json").read_text())
    if dtype is not None:
        tensors = {name: tensor.to(getattr(torch, dtype)) for name, tensor in tensors.items()}
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, folder / "model.safetensors")
    return open_folder(folder)


def noisy(size: float, seed: int = 0) -> Any:
    """Adds the same noise of full rank at every call."""

    def add(tensor: torch.Tensor) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        noise = size * torch.randn(tensor.shape, generator=generator, dtype=torch.float64)
        return (tensor.double() + noise).to(tensor.dtype)

    return add


def difference(model: Checkpoint, base: Checkpoint, name: str) -> Any:
    """Float64, for numpy."""
    return (model.read(name, torch.float64) - base.read(name, torch.float64)).numpy()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_model(tmp_path / "base", dtype="float32")


class TestALoraComesBack:
    """``extract(merge(base, adapter), base)`` at the adapter's rank is the adapter's difference."""

    @pytest.mark.parametrize("energy", [None, 1 - 1e-9])
    def test_to_float_precision(self, tmp_path: Path, base: Path, adapter: Any, energy: float | None) -> None:
        """Of the float32 model it was merged into. By energy each module finds its own rank."""
        ranks = {FFN[0]: 3, FFN[1]: 3, FFN[2]: 3, Q: 3} if energy is None else {FFN[0]: 3, FFN[1]: 1, FFN[2]: 5, Q: 2}
        part = adapter("lora", {module: (rank, 2 * rank) for module, rank in ranks.items()}, dtype="float32")
        (tmp_path / "merged").mkdir()
        write_merged(open_folder(base), [part], [0.7], tmp_path / "merged")
        plain, model = open_folder(base), open_folder(tmp_path / "merged")
        found = extract(model, plain, rank=3 if energy is None else None, energy=energy)
        assert {m.name: m.rank for m in found.modules} == ranks
        assert found.dropped == []
        for module, (a, b) in found.factors.items():
            name = f"{module}.weight"
            # a merge rounds each weight to float32: that much of the difference is not a LoRA's any more
            expected = 0.7 * part.delta(name, torch.float64)
            limit = 3e-7 * (model.read(name).abs().max() + plain.read(name).abs().max())
            torch.testing.assert_close(b.double() @ a.double(), expected, rtol=0, atol=float(limit))
            restored = plain.read(name, torch.float64) + b.double() @ a.double()
            torch.testing.assert_close(restored, model.read(name, torch.float64), rtol=0, atol=float(limit))
        assert found.kept > 1 - 1e-12

    def test_in_a_model_that_needs_the_sketch(self, tmp_path: Path) -> None:
        """A feed-forward layer of 512 × 304: larger than what is decomposed exactly."""
        wide = save_model(tmp_path / "wide", hidden_size=304, intermediate_size=512, num_hidden_layers=1)
        generator = torch.Generator().manual_seed(0)
        left, right = torch.randn(512, 6, generator=generator), torch.randn(6, 304, generator=generator)
        name = "model.layers.0.mlp.up_proj.weight"
        model = changed_model(tmp_path / "tuned", wide, {name: lambda t: t + 0.05 * left @ right})
        found = extract(model, open_folder(wide), rank=6)
        ((a, b),) = found.factors.values()
        torch.testing.assert_close(b @ a, 0.05 * left @ right, rtol=0, atol=1e-6)


class TestBest:
    """No adapter of the rank is nearer (Eckart and Young), and what it loses is measured."""

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    def test_loss_is_the_tail_of_the_singular_values(self, tmp_path: Path, dtype: str) -> None:
        """Against numpy's singular values of the float64 difference, for each module and over all."""
        base = save_model(tmp_path / "base", dtype=dtype)
        names = [f"{m}.weight" for m in (FFN[0], FFN[2], Q)]
        model = changed_model(tmp_path / "tuned", base, {n: noisy(0.1, len(n)) for n in names})
        plain = open_folder(base)
        found = extract(model, plain, rank=5)
        lost = whole = 0.0
        for module in found.modules:
            name = f"{module.name}.weight"
            squares = np.linalg.svd(difference(model, plain, name), compute_uv=False) ** 2
            assert module.rank == 5
            assert module.energy == pytest.approx(squares.sum(), rel=1e-6)
            assert module.lost == pytest.approx(squares[5:].sum(), rel=1e-5)
            assert module.kept == pytest.approx(squares[:5].sum() / squares.sum(), rel=1e-5)
            lost, whole = lost + squares[5:].sum(), whole + squares.sum()
        assert found.kept == pytest.approx(1 - lost / whole, rel=1e-5)
        assert [m.name for m in found.modules] == sorted([FFN[0], FFN[2], Q])

    @pytest.mark.parametrize("share", [0.5, 0.95])
    def test_energy_is_kept_by_every_module(self, tmp_path: Path, base: Path, share: float) -> None:
        """With the smallest rank that does, which differs by module."""
        change = {f"{FFN[0]}.weight": noisy(0.1), f"{Q}.weight": lambda t: t + torch.outer(t[:, 0], t[1])}
        model = changed_model(tmp_path / "tuned", base, change)
        plain = open_folder(base)
        found = extract(model, plain, energy=share)
        for module in found.modules:
            name = f"{module.name}.weight"
            squares = np.linalg.svd(difference(model, plain, name), compute_uv=False) ** 2
            kept = squares.cumsum() / squares.sum()
            assert module.rank == int((kept < share).sum()) + 1
            assert module.kept == pytest.approx(kept[module.rank - 1], rel=1e-9)
        assert len({m.rank for m in found.modules}) == 2


@pytest.mark.parametrize("by", [{"rank": 4}, {"energy": 0.9}])
def test_peft_and_we_load_it(tmp_path: Path, base: Path, with_peft: Any, by: dict[str, Any]) -> None:
    """Both give the logits of base plus factors; unchanged modules are not in it, ranks may differ by module."""
    names = [f"{m}.weight" for m in (FFN[0], FFN[5], Q)]
    model = changed_model(tmp_path / "tuned", base, {n: noisy(0.1, len(n)) for n in names})
    plain = open_folder(base)
    found = extract(model, plain, **by)
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(out, found.factors, base="org/base", task_type=found.task_type)
    adapter = read_adapter(out)
    assert sorted(adapter.pairs) == sorted(names)
    assert len({pair[0].shape[0] for pair in adapter.pairs.values()}) == (1 if "rank" in by else 3)
    expected = llama()
    with torch.no_grad():
        for name, parameter in expected.named_parameters():
            if name in adapter.pairs:
                a, b = found.factors[name.removesuffix(".weight")]
                parameter += b @ a
    ours = load_model(Checkpoint(plain.folder, plain.tensors, adapter), "float32")
    theirs = with_peft(llama(), out)
    torch.testing.assert_close(logits(ours), logits(expected), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(logits(theirs), logits(expected), rtol=1e-4, atol=1e-4)
    assert (logits(expected) - logits(llama())).abs().max() > 0.5
    assert type(theirs).__name__ == "PeftModelForCausalLM"


@pytest.mark.parametrize("skip", [False, True])
def test_another_configuration_is_no_difference_of_weights(tmp_path: Path, base: Path, skip: bool) -> None:
    """The adapter would run with the base's: what the model computes otherwise is in no factor."""
    model = changed_model(tmp_path / "tuned", base, {f"{Q}.weight": noisy(0.1)})
    path = model.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rms_norm_eps": 0.5}))
    with pytest.raises(CompatibilityError, match=r"tuned and base compute differently .*rms_norm_eps is 0\.5"):
        extract(open_folder(model.folder), open_folder(base), rank=4, skip_others=skip)


def test_many_modules_with_many_ranks(tmp_path: Path, with_peft: Any) -> None:
    """All 28 linear modules of four layers: peft shortens a list as long as that by the ends of the names."""
    base = save_model(tmp_path / "base", num_hidden_layers=4)
    plain = open_folder(base)
    names = sorted(linear_weights(plain))
    assert len(names) == 28
    model = changed_model(tmp_path / "tuned", base, {name: noisy(0.02, i) for i, name in enumerate(names)})
    bar = Progress(len(plain.tensors))
    found = extract(model, plain, energy=1.0, reporter=bar)
    assert bar.done == bar.total
    assert {m.rank for m in found.modules} == {16, 32}
    out = tmp_path / "out"
    out.mkdir()
    write_adapter(out, found.factors, base=None, task_type=found.task_type)
    theirs = with_peft(llama(num_hidden_layers=4), out)
    torch.testing.assert_close(logits(theirs), logits(load_model(model, "float32")), rtol=1e-4, atol=1e-4)


class TestWhatALoraCannotHold:
    """Named and refused; dropped only on request."""

    @pytest.mark.parametrize("name", ["model.norm.weight", "model.embed_tokens.weight"])
    def test_refused_by_name(self, tmp_path: Path, base: Path, name: str) -> None:
        """And with ``skip_others`` the linear layers are extracted as if it had not changed."""
        change = {f"{FFN[0]}.weight": noisy(0.1)}
        model = changed_model(tmp_path / "tuned", base, {**change, name: noisy(0.1)})
        with pytest.raises(CompatibilityError, match=name.replace(".", r"\.")) as caught:
            extract(model, open_folder(base), rank=4)
        assert "--skip-others" in str(caught.value.hint)
        found = extract(model, open_folder(base), rank=4, skip_others=True)
        assert found.dropped == [name]
        alone = extract(changed_model(tmp_path / "alone", base, change), open_folder(base), rank=4)
        assert found.factors.keys() == alone.factors.keys() == {FFN[0]}
        assert all(torch.equal(*pair) for pair in zip(found.factors[FFN[0]], alone.factors[FFN[0]], strict=True))

    def test_tensors_of_one_model_only(self, tmp_path: Path, base: Path) -> None:
        """Extra tensors, missing ones, and another vocabulary."""
        changes = {
            "extra": lambda _: torch.ones(3),
            "model.embed_tokens.weight": lambda t: t[:299],
            f"{FFN[0]}.weight": noisy(0.1),
        }
        model = changed_model(tmp_path / "tuned", base, changes)
        found = extract(model, open_folder(base), rank=4, skip_others=True)
        assert found.dropped == ["extra", "model.embed_tokens.weight"]
        found = extract(open_folder(base), model, rank=4, skip_others=True)
        assert found.dropped == ["extra", "model.embed_tokens.weight"]

    def test_many_are_counted(self, tmp_path: Path, base: Path) -> None:
        """The message stays one line."""
        names = [name for name in load_file(base / "model.safetensors") if "norm" in name or "embed" in name]
        assert len(names) == 6
        model = changed_model(tmp_path / "tuned", base, {name: noisy(0.1) for name in names})
        with pytest.raises(CompatibilityError, match="and 1 more"):
            extract(model, open_folder(base), rank=4)

    def test_a_tied_head_is_no_linear_layer(self, tmp_path: Path) -> None:
        """Its weight is the embedding's: an adapter of it would change the logits alone. An untied one is one."""
        tied = open_folder(save_model(tmp_path / "tied"))
        untied = open_folder(save_model(tmp_path / "untied", tie_word_embeddings=False))
        linear = linear_weights(untied)
        assert linear_weights(tied) == linear - {"lm_head.weight"}
        assert len(linear) == 2 * 7 + 1
        twice = changed_model(tmp_path / "twice", tmp_path / "tied", {"lm_head.weight": lambda _: torch.ones(300, 32)})
        assert linear_weights(twice) == linear_weights(tied)
        model = changed_model(tmp_path / "tuned", tmp_path / "untied", {"lm_head.weight": noisy(0.1)})
        assert list(extract(model, untied, rank=4).factors) == ["lm_head"]


COMMON = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "bos_token_id": 0,
    "eos_token_id": 0,
}


@pytest.mark.parametrize("kind", ["Qwen2", "Gemma2", "GPTNeoX", "Olmo2", "Mixtral"])
def test_linear_weights_are_those_of_peft(tmp_path: Path, kind: str) -> None:
    """What peft's "all-linear" adapts, and the head where it has a tensor of its own; we know no architecture."""
    model = transformers.AutoModelForCausalLM.from_config(getattr(transformers, f"{kind}Config")(**COMMON))
    model.save_pretrained(tmp_path / "base")
    found = linear_weights(open_folder(tmp_path / "base"))
    with warnings.catch_warnings(action="ignore"):  # peft's own use of transformers
        adapted = get_peft_model(model, LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM"))
    expected = {f"{name}.weight" for name in adapted.base_model.targeted_module_names}
    assert len(expected) >= 8
    assert found - {"lm_head.weight"} == expected
    assert ("lm_head.weight" in found) == (kind not in ("Gemma2", "GPTNeoX"))  # tied; stored under another name


class TestEquality:
    """Values count, not how they are stored."""

    def test_another_type_with_the_same_values(self, tmp_path: Path) -> None:
        """bf16 widened to float32 is no difference; one changed module is the only one extracted."""
        base = save_model(tmp_path / "base", dtype="bfloat16")
        model = changed_model(tmp_path / "wide", base, {}, "float32")
        with pytest.raises(CompatibilityError, match="all linear weights of wide equal those of base"):
            extract(model, open_folder(base), rank=4)
        model = changed_model(tmp_path / "tuned", base, {f"{FFN[1]}.weight": noisy(0.5)}, "float32")
        assert list(extract(model, open_folder(base), rank=4).factors) == [FFN[1]]

    def test_signed_zeros(self, tmp_path: Path, base: Path) -> None:
        """0 and -0 are equal: other bytes, the same weight."""
        name = f"{FFN[0]}.weight"
        one = changed_model(tmp_path / "one", base, {name: lambda t: t * 0})
        other = changed_model(tmp_path / "other", base, {name: lambda t: -(t * 0).abs()})
        with pytest.raises(CompatibilityError, match="equal"):
            extract(one, other, rank=4)


@pytest.mark.parametrize(
    "choice", [{}, {"rank": 4, "energy": 0.5}, {"rank": 0}, {"energy": 0.0}, {"energy": 1.5}, {"energy": float("nan")}]
)
def test_contradictory_options(base: Path, choice: dict[str, Any]) -> None:
    """Exactly one of rank and energy, in its range."""
    with pytest.raises(UsageError, match="rank"):
        extract(open_folder(base), open_folder(base), **choice)


def test_damaged_models(tmp_path: Path, base: Path) -> None:
    """Infinities and an architecture that nobody knows."""
    name = f"{FFN[0]}.weight"
    with pytest.raises(CompatibilityError, match="not all finite"):
        extract(changed_model(tmp_path / "inf", base, {name: lambda t: t / 0}), open_folder(base), rank=4)
    (base / "config.json").write_text('{"model_type": "nobody-knows"}')
    with pytest.raises(CompatibilityError, match="transformers cannot build base"):
        extract(open_folder(tmp_path / "inf"), open_folder(base), rank=4)
