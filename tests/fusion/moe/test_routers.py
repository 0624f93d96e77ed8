"""Router rows: what they say, what they depend on, and what they don't."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.families import HIDDEN, LAYERS
from support.mixtures import Words, assemble, loaded
from support.tiny import tokenizer

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError, CompatibilityError, DigestError, SourceError
from cogen.fusion.moe import routers
from cogen.fusion.moe.insight import only
from cogen.fusion.samples import sample_texts
from cogen.routing.rows import discriminant_rows
from cogen.routing.states import mean_states, moments, windows


def rows_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "router/router.safetensors")


def open_plan(folder: Path) -> dict[str, Any]:
    """The plan in the lock."""
    found: dict[str, Any] = json.loads((folder / "cogen.lock").read_text())["plan"]
    return found


@pytest.fixture
def words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routers, "Embedder", Words)


@pytest.mark.usefixtures("words")
@pytest.mark.parametrize("routing", ["hidden", "embedding", "anchored"])
class TestIndependence:
    """An expert's row depends on the base and on that expert alone."""

    def test_others_come_and_go(self, zoo: Any, host: Any, routing: str, tmp_path: Path) -> None:
        """Bit for bit the same row alone, with one and with two others, in any order; the base's is zero."""
        world = zoo(dtype="bfloat16")
        experts = [world.anchored(f"e{i}", i) for i in (1, 2, 3)]
        found = []
        for i, order in enumerate((["e1"], ["e2", "e1"], ["e1", "e2", "e3"], ["e3", "e2", "e1"])):
            recipe = {"experts": dict.fromkeys(order, 1.0), "routing": routing}
            folder = assemble(host(*experts), tmp_path / str(i), **recipe).folder
            kept = rows_of(folder)
            assert kept.keys() == {"base", *order}
            assert float(kept["base"].abs().max()) == 0
            slots = open_plan(folder)["details"]["slots"]
            for layer in range(LAYERS):
                router = load_file(folder / "model.safetensors")[f"model.layers.{layer}.block_sparse_moe.gate.weight"]
                assert torch.equal(router, torch.stack([kept[id][layer] for id in slots]).bfloat16())
            found.append(kept)
        for other in found[1:]:
            assert torch.equal(other["e1"], found[0]["e1"])
        assert torch.equal(found[2]["e2"], found[1]["e2"])
        assert all(torch.equal(found[2][id], found[3][id]) for id in found[2])
        assert (found[2]["e1"] - found[2]["e2"]).abs().max() > 1e-4


def test_the_row_finds_its_own_text(zoo: Any, host: Any, tmp_path: Path) -> None:
    """Samples lie on the expert's side of the row more than general text does, in every layer."""
    world = zoo()
    expert = world.ffn("e1")
    row = rows_of(assemble(host(expert), tmp_path / "out", routing="hidden").folder)["e1"].double()
    base = world.model()
    own = mean_states(base, tokenizer(), sample_texts(expert))
    general = moments(base, tokenizer(), routers.calibration_texts()).mean
    assert bool(((row * (own - general)).sum(1) > 0).all())


class TestAnchored:
    """Rows that publishers trained."""

    def test_they_are_the_files(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """Bit for bit, also where the file is of a narrower type."""
        wanted = torch.randn(LAYERS, HIDDEN, generator=torch.Generator().manual_seed(5)).bfloat16()
        expert = zoo().anchored("e1", rows=wanted)
        assert torch.equal(rows_of(assemble(host(expert), tmp_path / "out").folder)["e1"], wanted.float())

    def test_wrong_files_are_refused(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """Another shape, another tensor, other bytes: whose file it is, and nothing is written."""
        world, good = zoo(), torch.zeros(LAYERS, HIDDEN)
        cases: list[tuple[dict[str, torch.Tensor], type[CogenError], str]] = [
            ({"rows": good[:1]}, CompatibilityError, r"rows of e0 have the shape \(1, 32\), its base has \(2, 32\)"),
            ({"row": good}, SourceError, "router file of e1 holds row, not one tensor"),
            ({"rows": good, "bias": good + 1}, SourceError, "router file of e2 holds bias, rows"),
        ]
        for number, (tensors, kind, message) in enumerate(cases):
            expert = world.anchored(f"e{number}", number, router=world.router(f"e{number}", tensors))
            with pytest.raises(kind, match=message) as caught:
                assemble(host(expert), tmp_path / "out")
            assert "The tests" in str(caught.value.hint)
        expert = world.anchored("e4", 4)
        save_file({"rows": good}, world.world.folder / "rows-e4.safetensors")
        with pytest.raises(DigestError):
            assemble(host(expert), tmp_path / "out")
        assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("words")
class TestEmbedding:
    """From sentence embeddings to states, by what the base does with general text."""

    def test_it_is_ridge_regression(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """The dual form gives what the normal equations give; 1e-4: states are made in float32."""
        world = zoo()
        expert = world.ffn("e1")
        found = rows_of(assemble(host(expert), tmp_path / "out", routing="embedding").folder)["e1"]
        base, texts = world.model(), routers.calibration_texts()
        x = Words().encode(texts).double()
        y = torch.stack([mean_states(base, tokenizer(), [text]).flatten() for text in texts])
        centred = x - x.mean(0)
        gram = centred.T @ centred
        penalty = routers.RIDGE * gram.trace() / len(x) * torch.eye(Words.SIZE, dtype=torch.float64)
        solution = torch.linalg.solve(gram + penalty, centred.T @ (y - y.mean(0)))
        own = Words().encode(sample_texts(expert)).double().mean(0)
        anchor = moments(base, tokenizer(), texts)
        mean = anchor.mean + ((own - x.mean(0)) @ solution).reshape(LAYERS, HIDDEN)
        torch.testing.assert_close(found, discriminant_rows(anchor, mean).float(), rtol=1e-4, atol=1e-4)

    def test_a_shipped_embedding_is_as_good_as_the_text(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """Where text may not leave: the same row; one of another length is refused."""
        world = zoo()
        text = world.ffn("e1")
        wanted = rows_of(assemble(host(text), tmp_path / "text", routing="embedding").folder)["e1"]

        def shipped(size: int) -> Any:
            file = world.world.folder / "e1" / "embedding.safetensors"
            save_file({"mean": Words().encode(sample_texts(text)).double().mean(0)[:size].clone()}, file)
            digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
            return world.ffn("e1", samples={"embedding": file.name, "digest": digest, "license": "CC0-1.0"})

        found = assemble(host(shipped(Words.SIZE)), tmp_path / "shipped", routing="embedding").folder
        torch.testing.assert_close(rows_of(found)["e1"], wanted, rtol=1e-6, atol=1e-6)
        with pytest.raises(CompatibilityError, match=r"of e1 has the shape \(9,\)") as caught:
            assemble(host(shipped(9)), tmp_path / "wrong", routing="embedding")
        assert "--embedder" in str(caught.value.hint)


class TestTrained:
    """A short training of routers alone."""

    @pytest.fixture(autouse=True)
    def _short(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name, value in {"STEPS": 8, "LENGTH": 48, "LEARNING_RATE": 0.05}.items():
            monkeypatch.setattr(f"cogen.fusion.moe.train_routers.{name}", value)

    def divergence(self, folder: Path, experts: list[Any]) -> float:
        """KL(own expert ‖ mixture) of a token of the texts that it learned from, a pool as much as another."""
        model, slots = loaded(folder), open_plan(folder)["details"]["slots"]
        found = []
        for id, texts in [("base", routers.calibration_texts()), *((e.id, sample_texts(e)) for e in experts)]:
            parts = []
            for ids in windows(tokenizer(), texts, 48):
                row = torch.tensor([ids])
                with torch.no_grad():
                    with only(model, slots.index(id)):
                        wanted = model(input_ids=row).logits[0].log_softmax(-1)
                    seen = model(input_ids=row).logits[0].log_softmax(-1)
                parts.append((wanted.exp() * (wanted - seen)).sum(-1))
            found.append(float(torch.cat(parts).mean()))
        return sum(found) / len(found)

    def test_it_lowers_the_loss_and_touches_nothing_else(
        self, zoo: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Against the rows that it starts from; all tensors but the routers are the same to the bit."""
        monkeypatch.setattr("cogen.fusion.moe.train_routers.STEPS", 24)
        world = zoo("llama-tied")
        experts = [world.ffn(f"e{i}", i) for i in (1, 2)]
        before = assemble(host(*experts), tmp_path / "before", routing="hidden").folder
        after = assemble(host(*experts), tmp_path / "after").folder  # trained is what they get by default
        old, new = (load_file(folder / "model.safetensors") for folder in (before, after))
        differ = {name for name in old if not torch.equal(old[name], new[name])}
        assert differ == {f"model.layers.{layer}.block_sparse_moe.gate.weight" for layer in range(LAYERS)}
        assert self.divergence(after, experts) < 0.9 * self.divergence(before, experts)

    def test_it_is_deterministic(self, zoo: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The same bits with an empty cache, also where the base has dropout; and from the cache at once."""
        world = zoo("llama-tied", attention_dropout=0.4)
        experts = [world.ffn(f"e{i}", i) for i in (1, 2)]
        found = []
        for name in ("one", "two"):
            monkeypatch.setenv("COGEN_CACHE", str(tmp_path / f"cache-{name}"))
            found.append(rows_of(assemble(host(*experts), tmp_path / name).folder))
        monkeypatch.setattr("cogen.fusion.moe.train_routers.load_model", lambda *_: pytest.fail("it trains again"))
        found.append(rows_of(assemble(host(*experts), tmp_path / "three").folder))
        for other in found[1:]:
            assert all(torch.equal(other[id], found[0][id]) for id in found[0])

    def test_nothing_of_the_model_learns(self, zoo: Any, host: Any, tmp_path: Path) -> None:
        """No parameter but the routers' gets a gradient."""
        from cogen.fusion.moe.train_routers import Pool, tune

        folder = assemble(host(zoo().ffn("e1")), tmp_path / "out", routing="hidden").folder
        model = load_model(open_folder(folder), "float32")
        before = {name: tensor.clone() for name, tensor in model.state_dict().items() if "gate.weight" not in name}
        start = torch.zeros(LAYERS, 2, HIDDEN)
        texts = routers.calibration_texts()
        pools = [
            Pool(windows(tokenizer(), [text], 48), teacher)
            for text, teacher in zip(texts[:3], (0, 1, None), strict=True)
        ]
        found = tune(model, start, torch.ones(LAYERS, HIDDEN), pools)
        assert found.shape == start.shape
        assert float(found.abs().max()) > 0
        assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in before.items())
        assert {name for name, p in model.named_parameters() if p.grad is not None} == {
            name for name, p in model.named_parameters() if p.requires_grad
        }
        assert all("gate" in name for name, p in model.named_parameters() if p.requires_grad)
