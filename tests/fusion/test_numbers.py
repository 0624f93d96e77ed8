"""Nothing that is no number is ever written: whoever brings it is named, and nothing stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from safetensors.torch import load_file, save_file
from support.runs import carry_out
from support.tiny import FFN, llama, save_adapter, save_model

from cogen.artifacts.lock import make_lock
from cogen.checkpoints.finite import all_finite, check_model
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import CompatibilityError
from cogen.fusion.distill.run import write_student
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host
from cogen.merging.method import Method
from cogen.spec.expert import ExpertSpec

STRATEGIES: list[dict[str, Any]] = [
    {"strategy": "merge", "scale": 1.0},
    {"strategy": "moe", "routing": "hidden"},
    {"strategy": "route"},
    {"strategy": "distill"},
]


def damage(folder: Path, name: str, value: float) -> None:
    (file,) = folder.glob("*.safetensors")
    tensors = load_file(file)
    tensors[name].reshape(-1)[7] = value
    save_file(tensors, file, {"format": "pt"})


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("how", STRATEGIES, ids=[str(one["strategy"]) for one in STRATEGIES])
@pytest.mark.parametrize("what", ["adapter", "full", "base"])
def test_an_input_that_holds_one(
    world: Any, host: Any, tmp_path: Path, how: dict[str, Any], what: str, value: float
) -> None:
    """Found when it is opened, before anything is measured; named by tensor and model."""
    if what == "adapter":
        save_adapter(world.folder / "weights-alpha")
        name = f"base_model.model.{FFN[2]}.lora_B.weight"
        damage(world.folder / "weights-alpha", name, value)
    else:
        name = "model.layers.1.input_layernorm.weight"
        place = world.folder / ("base" if what == "base" else "weights-alpha")
        save_model(place, 7 if what == "base" else 1, "bfloat16")
        damage(place, name, value)
    experts = [world.expert("alpha", full=what == "full")]
    if how["strategy"] == "distill":
        experts.append(world.expert("beta", base=world.base(seed=9, name="other")))
    with pytest.raises(CompatibilityError, match="holds NaN or infinity") as caught:
        carry_out(host(*experts), FuseRecipe(level="none", **how), tmp_path / "out")
    assert name in caught.value.message
    assert ("The base" if what == "base" else experts[0].spec.model.name) in caught.value.message
    assert caught.value.hint
    assert not (tmp_path / "out").exists()


def test_two_tensors_that_are_too_large_together(world: Any, host: Any, tmp_path: Path) -> None:
    """Each is a number, and so is every weight; the sum is beyond float16. The message has both."""
    for id in ("alpha", "beta"):
        folder = save_model(world.folder / f"weights-{id}", 1, "float16")
        damage(folder, "model.norm.weight", 65000.0)
    experts = [world.expert(id, full=True, base=world.base(dtype="float16")) for id in ("alpha", "beta")]
    with pytest.raises(CompatibilityError, match=r"model\.norm\.weight would hold NaN or infinity") as caught:
        carry_out(host(*experts), FuseRecipe(level="none", scale=1.0), tmp_path / "out")
    assert "alpha 1" in caught.value.message
    assert "beta 1" in caught.value.message
    assert "float16" in caught.value.message
    assert not (tmp_path / "out").exists()


def test_a_method_that_gives_one(world: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plugin's: its name is in the message, and the experts that it was given."""
    machine = host(world.expert("alpha", 1), world.expert("beta", 2))

    def apply(block: Any, weights: Any, state: Any) -> torch.Tensor:
        return block.experts[0] * (float("nan") if block.experts[0].numel() > 1 else 1.0)

    monkeypatch.setattr(Host, "methods", lambda _: {"odd": "it"})
    odd, real = Method(name="odd", apply=apply), Host.resolve
    monkeypatch.setattr(Host, "resolve", staticmethod(lambda target: odd if target == "it" else real(target)))
    with pytest.raises(CompatibilityError, match="method odd gives none") as caught:
        carry_out(machine, FuseRecipe(level="none", scale=1.0, method="odd"), tmp_path / "out")
    assert "alpha 1" in caught.value.message
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_tensors_in_memory(tmp_path: Path, dtype: str) -> None:
    """The writer of every file looks at what it writes; integers are numbers."""
    kind = getattr(torch, dtype)
    good = torch.tensor([0.0, -1.0, torch.finfo(kind).max, torch.finfo(kind).tiny], dtype=torch.float64).to(kind)
    assert all_finite(good)
    write_safetensors(tmp_path / "good.safetensors", {"a": good, "b": torch.tensor([2**60])})
    bad = good.clone()
    bad[1] = float("nan")
    assert not all_finite(bad)
    with pytest.raises(CompatibilityError, match="a would hold NaN or infinity") as caught:
        write_safetensors(tmp_path / "bad.safetensors", {"a": bad})
    assert caught.value.hint


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2"])
def test_every_pattern_of_bits(dtype: str) -> None:
    """All of 8 and 16 bits, as torch says of each; of wider types the sign, the ends and what lies beside infinity."""
    kind = getattr(torch, dtype)
    if kind.itemsize == 1:
        found = torch.arange(256, dtype=torch.uint8).view(kind)
    elif kind.itemsize == 2:
        found = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(kind)
    else:
        top = torch.finfo(kind).max
        found = torch.tensor([0.0, -0.0, top, -top, float("nan"), float("inf"), float("-inf")], dtype=kind)
    for one, expected in zip(found, found.float().isfinite() if kind.itemsize == 1 else found.isfinite(), strict=True):
        assert all_finite(one) == bool(expected)
    assert all_finite(torch.empty(0, 3, dtype=kind))
    assert all_finite(torch.zeros(3, 5, dtype=kind).T)
    assert not all_finite(torch.full((1 << 19,), float("nan")).to(kind))


def test_a_finite_tensor_whose_sum_is_none() -> None:
    assert all_finite(torch.full((8,), torch.finfo(torch.float64).max, dtype=torch.float64))


def test_students_and_trained_models(tmp_path: Path) -> None:
    """What transformers would write without a look."""
    folder = save_model(tmp_path / "base")
    model = llama()
    model.model.norm.weight.data[3] = float("inf")
    with pytest.raises(CompatibilityError, match=r"model\.norm\.weight of the student"):
        write_student(model, open_folder(folder), tmp_path)
    with pytest.raises(CompatibilityError, match=r"model\.norm\.weight of it"):
        check_model(model, "it")


def test_no_lock_of_a_composite_that_holds_one(world: Any, host: Any, tmp_path: Path) -> None:
    """The last look, whoever wrote it: a strategy of a plugin may have a writer of its own."""
    plan, _ = make_plan(host(world.expert("alpha")), FuseRecipe(level="none", scale=1.0))
    folder = save_model(tmp_path / "made")
    make_lock(plan, 1.0, [], folder, None)
    damage(folder, "model.norm.weight", float("nan"))
    with pytest.raises(CompatibilityError, match=r"model\.norm\.weight of the composite"):
        make_lock(plan, 1.0, [], folder, None)


def test_scales_and_weights_that_no_model_can_hold(world: Any) -> None:
    """Before anything is opened."""
    for how in ({"scale": 1e38}, {"scale": (0.1, -1e38)}, {"experts": {"alpha": 1e38}}):
        with pytest.raises(ValidationError):
            FuseRecipe.model_validate(how)


def numbers(model: type[BaseModel], place: str = "") -> Iterator[tuple[str, Any]]:
    """Every field of a model that may hold a float, and its annotation."""
    for name, field in model.model_fields.items():
        found = [field.annotation]
        while found:
            one = found.pop()
            if one is float:
                yield f"{place}{name}", field.rebuild_annotation()
            elif isinstance(one, type) and issubclass(one, BaseModel):
                yield from numbers(one, f"{place}{name}.")
            found.extend(get_args(one))


FIELDS = dict(numbers(ExpertSpec))


def test_the_manifest_has_numbers() -> None:
    assert {"suites.claim.value", "private_suites.expert.low", "data.training.hyperparameters"} <= FIELDS.keys()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("field", FIELDS)
def test_manifests_refuse_them_everywhere(field: str, value: float) -> None:
    """Every number of every table."""
    from cogen.spec.base import Frozen

    kind = TypeAdapter(FIELDS[field], config=Frozen.model_config)
    given = {"x": value} if "hyperparameters" in field else value
    with pytest.raises(ValidationError):
        kind.validate_python(given)
