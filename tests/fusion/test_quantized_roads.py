"""Quantized models on the roads beside merging: publish, admission, check, train, eval, route, distillation.

FP8 and eight bits of compressed-tensors are the dequantized model, to the last digit; every other kind is refused by
name, by the one function (:func:`cogen.checkpoints.quantized.model_tensors`). ``test_quantized_experts.py`` has merges.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
import torch
from safetensors.torch import load_file, save_file
from support.manifests import make_expert, manifest
from support.quantized import PACKED, packed, save_compressed, save_fp8
from support.tiny import save_adapter, save_model
from support.training import agree, recipe_document, write_texts

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.conformance.facts import check_facts
from cogen.conformance.result import Failed
from cogen.errors import CompatibilityError, SpecError
from cogen.fusion.distill.plan import plan_distillation
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Host
from cogen.sharing.publishing.weights import check_described
from cogen_registry.admission.described import problem_of

SAVE: dict[str, Callable[..., Path]] = {"fp8": save_fp8, "compressed": save_compressed}


@pytest.fixture(params=SAVE)
def save(request: pytest.FixtureRequest) -> Callable[..., Path]:
    return SAVE[request.param]


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def plain(quantized: Path, folder: Path) -> Path:
    """The dequantized model as a plain folder."""
    checkpoint = open_folder(quantized)
    save_model(folder, dtype="bfloat16")
    tensors = {name: checkpoint.read(name).contiguous() for name in checkpoint.names()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    capsys.readouterr()
    code = main([*map(str, arguments), "--json"])
    found = capsys.readouterr()
    assert code == 0, found
    return json.loads(found.out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """What a command says that ends with an error and its hint."""
    capsys.readouterr()
    assert main([*map(str, arguments)]) == 1, arguments
    found = " ".join(capsys.readouterr().err.split())
    assert "error:" in found
    assert "hint:" in found
    assert "Traceback" not in found
    return found


@pytest.fixture
def discovered(host: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Experts as if they were installed."""

    def install(*experts: Any) -> Any:
        machine = host(*experts)
        monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))
        monkeypatch.setattr("cogen.evals.general_suites", list)
        monkeypatch.setattr("cogen.fusion.route.plan.general_suites", list)
        return machine

    return install


def whole_expert(world: Any, id: str, folder: Path, base: dict[str, Any], like: Path | None = None) -> Any:
    """An expert whose weights are a folder.

    :param like: where its weights digest is computed, if it cannot be opened.
    """
    place = world.folder / f"weights-{id}"
    if folder != place:
        folder.rename(place)
    return world.expert(id, full=True, base=base, model={"weights_digest": open_folder(like or place).weights_digest})


# ---- exact ----------------------------------------------------------------------------------------------------------


def test_eval_measures_the_dequantized_model(
    world: Any, discovered: Any, save: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quantized = save(tmp_path / "quantized", seed=3)
    same = plain(quantized, tmp_path / "plain")
    discovered(world.expert("e1"))
    values = [
        [r["value"] for r in run(capsys, "eval", folder, "--level", "quick")["results"]] for folder in (quantized, same)
    ]
    assert values[0]
    assert values[0] == values[1]


def test_a_route_asks_the_dequantized_experts(
    world: Any, discovered: Any, save: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its matrix is that of plain experts; `chat` on its folder answers."""
    base = world.base()
    quantized = save(world.folder / "weights-e1", seed=3)
    same = plain(quantized, world.folder / "weights-e2")
    discovered(whole_expert(world, "e1", quantized, base), whole_expert(world, "e2", same, base))
    out = tmp_path / "route"
    options = ("--strategy", "route", "--embedder", "counts", "--matrix", "full", "--level", "quick")
    matrix = run(capsys, "fuse", *options, "-o", out)["matrix"]
    assert {column: cell["value"] for column, cell in matrix["e1"].items()} == {
        column: cell["value"] for column, cell in matrix["e2"].items()
    }
    assert main(["chat", str(out), "-p", "the grid", "--max-tokens", "2"]) == 0


def small(texts: Path, **changes: Any) -> FuseRecipe:
    settings = {"groups": "apart", "tokens": 120, "tokens_a_step": 64, "rank": 2, "alpha": 4, "threads": 1}
    distill = settings | {"texts": (str(texts),)} | changes
    return FuseRecipe.model_validate({"strategy": "distill", "level": "none", "distill": distill})


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_distillation_with_the_dequantized_model(
    world: Any, discovered: Any, save: Any, tmp_path: Path, role: str
) -> None:
    """As teacher and as student: the student has the bits that plain weights give it, and is called plain."""
    from support.runs import carry_out

    texts = tmp_path / "texts.jsonl"
    texts.write_text("".join(json.dumps({"text": f"the power grid and the river {i}"}) + "\n" for i in range(6)))
    base = world.base()
    quantized = save(world.folder / "weights-one", seed=3)
    same = plain(quantized, world.folder / "weights-two")
    made = []
    for id, folder in (("one", quantized), ("two", same)):
        machine = discovered(whole_expert(world, id, folder, base), world.expert("zz", 5))
        recipe = small(texts, pivot="zz" if role == "teacher" else id)
        out = carry_out(machine, recipe, tmp_path / f"out-{id}").folder
        made.append(load_file(out / "model.safetensors"))
        assert "quantization_config" not in json.loads((out / "config.json").read_text())
    assert made[0].keys() == made[1].keys()
    assert all(torch.equal(tensor, made[1][name]) for name, tensor in made[0].items())


def training_recipe(folder: Path, base: Path, weights_digest: str) -> Path:
    write_texts(folder / "texts", 90)
    document = recipe_document(
        {
            "name": "Tiny",
            "source": f"file://{base}",
            "file_digest": file_digest(base),
            "license": "MIT",
            "weights_digest": weights_digest,
        }
    )
    document["training"] |= {"tokens": 64, "threads": 1}
    agree(document["card"], document["corpus"]["sources"])
    path = folder / "recipe.toml"
    path.write_text(tomlkit.dumps(document), encoding="utf-8")
    return path


def test_training_over_a_quantized_base(save: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The adapter has the bits that the dequantized base gives it."""
    quantized = save(tmp_path / "quantized")
    same = plain(quantized, tmp_path / "plain")
    adapters = []
    for base in (quantized, same):
        recipe = training_recipe(tmp_path / f"of-{base.name}", base, open_folder(base).weights_digest)
        run(capsys, "train", recipe)
        (file,) = recipe.parent.rglob("adapter_model.safetensors")
        adapters.append(load_file(file))
    assert all(torch.equal(tensor, adapters[1][name]) for name, tensor in adapters[0].items())


def described(tmp_path: Path, save: Callable[[Path], Path], digest: str, parameters: int) -> Any:
    """An expert that ships a whole model in its package."""
    changes = {
        "source": "package://power/weights/",
        "format": "safetensors",
        "relation": "full",
        "dtype": "bfloat16",
        "parameters": parameters,
        "architecture": "LlamaForCausalLM",
        "context_length": 1024,
        "weights_digest": digest,
        "file_digest": "sha256:" + "0" * 64,
    }
    expert = make_expert(tmp_path, "power", model=manifest("power")["model"] | changes)
    folder = expert.root / "weights"
    if folder.exists():
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    save(folder)
    return expert


def test_it_can_be_published_and_is_admitted(save: Any, tmp_path: Path) -> None:
    """`check`, `publish` and the registry's admission compare the dequantized numbers with the manifest."""
    checkpoint = open_folder(save(tmp_path / "copy"))
    size = sum(info.numel for info in checkpoint.tensors.values())
    expert = described(tmp_path, save, checkpoint.weights_digest, size)
    assert "as described" in check_facts(expert)
    check_described(expert.spec, expert.root.parent.parent)
    claim = expert.spec.model.model_dump_json()
    assert problem_of(str(expert.root / "weights"), "model", claim) == {"problem": None}
    wrong = expert.spec.model.model_copy(update={"weights_digest": "sha256:" + "1" * 64})
    assert "weights digest" in problem_of(str(expert.root / "weights"), "model", wrong.model_dump_json())["problem"]


# ---- refused --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=PACKED)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_neither_published_nor_admitted(kind: str, tmp_path: Path) -> None:
    names, settings, text = PACKED[kind]
    expert = described(tmp_path, lambda folder: packed(folder, names, settings), "sha256:" + "1" * 64, 1000)
    with pytest.raises(Failed, match=text):
        check_facts(expert)
    claim = expert.spec.model.model_dump_json()
    found = problem_of(str(expert.root / "weights"), "model", claim)["problem"]
    with pytest.raises(CompatibilityError, match=text) as caught:
        open_folder(expert.root / "weights")
    assert caught.value.message in found


def test_published_by_nobody(kind: str, tmp_path: Path) -> None:
    """Weights that only this machine has."""
    names, settings, text = PACKED[kind]
    expert = described(tmp_path, lambda folder: packed(folder, names, settings), "sha256:" + "1" * 64, 1000)
    local = expert.spec.model.model_copy(update={"source": f"file://{expert.root / 'weights'}"})
    with pytest.raises(SpecError, match=text) as caught:
        check_described(expert.spec.model_copy(update={"model": local}), expert.root.parent.parent)
    assert caught.value.hint


def test_neither_measured_nor_trained_nor_composed(
    kind: str, world: Any, discovered: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Alone, as a base, and as an expert; nothing is written."""
    names, settings, text = PACKED[kind]
    folder = packed(tmp_path / "packed", names, settings)
    discovered(world.expert("e1"))
    lines = [refused(capsys, "eval", folder)]
    lines.append(refused(capsys, "train", training_recipe(tmp_path / "training", folder, "sha256:" + "1" * 64)))
    base = world.base() | {"source": f"file://{folder}", "file_digest": file_digest(folder)}
    one, other = world.expert("alpha", base=base), world.expert("beta", base=world.base(seed=9, name="other"))
    discovered(one)
    lines.append(refused(capsys, "eval", "alpha"))
    lines.append(refused(capsys, "fuse", "--strategy", "route", "--embedder", "counts", "-o", tmp_path / "out"))
    assert all(_matches(text, line) for line in lines), lines
    machine = discovered(one, other)
    texts = tmp_path / "texts.jsonl"
    texts.write_text(json.dumps({"text": "the power grid"}) + "\n")
    for pivot in ("alpha", "beta"):
        with pytest.raises(CompatibilityError, match=text):
            plan_distillation(machine, small(texts, pivot=pivot))
    assert not (tmp_path / "out").exists()


def _matches(text: str, line: str) -> bool:
    import re

    return re.search(text, line) is not None


def test_a_quantized_base_of_an_adapter_on_the_shelf(world: Any, tmp_path: Path) -> None:
    """The registry opens the base of an adapter as well."""
    names, settings, text = PACKED["gptq"]
    folder = packed(tmp_path / "packed", names, settings)
    save_adapter(tmp_path / "adapter")
    expert = world.expert("alpha", base=world.base() | {"source": f"file://{folder}"})
    found = problem_of(str(folder), "base", expert.spec.model.base.model_dump_json())["problem"]
    assert _matches(text, found)
