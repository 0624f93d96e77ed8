"""``cogen train`` on a tiny base: repeatable, resumable, and it touches what its mode says."""

from __future__ import annotations

import json
import shutil
import tomllib
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from safetensors.torch import load_file
from support.manifests import manifest
from support.tiny import llama, tokenizer

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import open_folder
from cogen.cli.main import main
from cogen.errors import TrainError
from cogen.files import cache_dir
from cogen.forge import package as publishing
from cogen.forge.blocks import encode, pack, separator_id
from cogen.forge.build import prepare, run_training
from cogen.forge.corpus import Document
from cogen.forge.package import package as packaged
from cogen.forge.package import to_toml
from cogen.forge.recipe import TrainingRecipe
from cogen.forge.train import train, trainable
from cogen.spec.expert import ExpertSpec

SMALL = TrainingRecipe(
    rank=2,
    alpha=4,
    learning_rate=0.01,
    sequence_length=16,
    batch_size=2,
    tokens=16 * 2 * 6,
    threads=1,
    save_every=2,
    seed=3,
)


@pytest.fixture(autouse=True)
def _threads() -> Any:
    """Training sets torch's threads; the other tests keep theirs."""
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


def blocks(training: TrainingRecipe) -> torch.Tensor:
    count = training.steps * training.batch_size * training.gradient_accumulation
    return torch.randint(0, 300, (count, training.sequence_length), generator=torch.Generator().manual_seed(0))


def run(
    folder: Path, training: TrainingRecipe, *, stop_at: int = 0, dtype: str = "bfloat16"
) -> tuple[dict[str, torch.Tensor], list[int]]:
    """Trained tensors and the steps that were reported; ``stop_at`` dies after that step."""
    steps: list[int] = []

    def report(progress: Any) -> None:
        steps.append(progress.step)
        assert progress.steps == training.steps
        if progress.step == stop_at:
            raise KeyboardInterrupt

    model = train(
        llama(dtype="float32" if training.mode == "full" else dtype), blocks(training), training, folder, report
    )
    return {name: p.detach().clone() for name, p in model.named_parameters()}, steps


def equal(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


class TestRepeatable:
    """The same seed on the same machine and thread count gives the same weights."""

    @pytest.mark.parametrize("mode", ["ffn", "full"])
    def test_the_same_seed(self, tmp_path: Path, mode: Any) -> None:
        """To the bit; another seed gives others. The random state before plays no part."""
        training = SMALL.model_copy(update={"mode": mode})
        one, steps = run(tmp_path / "1", training)
        torch.rand(7)
        two, _ = run(tmp_path / "2", training)
        assert steps == [1, 2, 3, 4, 5, 6]
        assert equal(one, two)
        if mode == "ffn":
            assert not equal(one, run(tmp_path / "3", training.model_copy(update={"seed": 4}))[0])

    @pytest.mark.parametrize(("mode", "dropout"), [("ffn", 0.0), ("ffn", 0.1), ("full", 0.0)])
    @pytest.mark.parametrize("stop_at", [3, 4, 6])
    def test_killed_and_resumed(self, tmp_path: Path, mode: Any, dropout: float, stop_at: int) -> None:
        """Equals the uninterrupted run, bit for bit, wherever it was killed; steps since the last save run again."""
        training = SMALL.model_copy(
            update={"mode": mode, "dropout": dropout, "gradient_accumulation": 2, "tokens": 16 * 2 * 2 * 6}
        )
        whole, _ = run(tmp_path / "whole", training)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", training, stop_at=stop_at)
        resumed, steps = run(tmp_path / "killed", training)
        saved = 2 * ((stop_at - 1) // 2)
        assert steps == list(range(saved + 1, 7))
        assert equal(resumed, whole)

    @pytest.mark.parametrize("damage", ["no state", "half a state"])
    def test_killed_while_it_saved(self, tmp_path: Path, damage: str) -> None:
        """A checkpoint that was not finished is passed over: the one before it is whole."""
        whole, _ = run(tmp_path / "whole", SMALL)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", SMALL, stop_at=5)
        newest = tmp_path / "killed" / "checkpoint-4"
        if damage == "no state":
            (newest / "trainer_state.json").unlink()
            (newest / "optimizer.pt").unlink()
        else:
            (newest / "trainer_state.json").write_text('{"half": ')
        resumed, steps = run(tmp_path / "killed", SMALL)
        assert steps == [3, 4, 5, 6]
        assert equal(resumed, whole)


class TestModes:
    """What is trained, and what stays frozen."""

    def test_ffn_is_the_feed_forward_layers_alone(self, tmp_path: Path) -> None:
        """Every tensor of the base keeps its bits; adapters stand on feed-forward modules and nowhere else."""
        base = dict(llama(dtype="bfloat16").named_parameters())
        after, _ = run(tmp_path / "run", SMALL)
        adapters = {name for name in after if "lora_" in name}
        assert {name.split(".mlp.")[1].split(".")[0] for name in adapters} == {"gate_proj", "up_proj", "down_proj"}
        assert len(adapters) == 2 * 3 * 2
        assert all(torch.any(after[name] != 0) for name in adapters)
        for name in after.keys() - adapters:
            plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
            assert torch.equal(after[name], base[plain]), name

    @pytest.mark.parametrize(("mode", "count"), [("ffn", 6), ("lora", 14), ("full", 0)])
    def test_trainable_parameters(self, mode: Any, count: int) -> None:
        """Two factors a module; everything in the mode full; never the head."""
        with warnings.catch_warnings(action="ignore"):
            model = trainable(llama(), SMALL.model_copy(update={"mode": mode}))
        trained = [name for name, p in model.named_parameters() if p.requires_grad]
        if mode == "full":
            assert len(trained) == len(list(model.parameters()))
        else:
            assert len(trained) == 2 * count
            assert not [name for name in trained if "lm_head" in name or "embed" in name]

    def test_a_base_without_feed_forward_layers_that_we_know(self) -> None:
        """Says which mode to use."""
        with pytest.raises(TrainError, match="no feed-forward layers") as caught:
            trainable(torch.nn.Sequential(torch.nn.Linear(2, 2)), SMALL)
        assert "lora" in str(caught.value.hint)


class TestGoingOn:
    """``start``: a training that begins at an earlier adapter."""

    def made(self, folder: Path, **changes: Any) -> torch.Tensor:
        """An adapter with factors that are not zero, and its logits."""
        torch.manual_seed(5)
        with warnings.catch_warnings(action="ignore"):
            model = trainable(llama(), SMALL.model_copy(update=changes))
            with torch.no_grad():
                for name, parameter in model.named_parameters():
                    if "lora_B" in name:
                        parameter.copy_(torch.randn(parameter.shape) / 10)
            model.save_pretrained(folder)
        return model.eval()(torch.arange(9)[None]).logits

    def test_begins_where_the_adapter_ended(self, tmp_path: Path) -> None:
        """Before its first step the model is the adapted one, not the base."""
        wanted = self.made(tmp_path / "weights")
        with warnings.catch_warnings(action="ignore"):
            model = trainable(llama(), SMALL.model_copy(update={"start": "weights"}), tmp_path).eval()
            base = trainable(llama(), SMALL).eval()
        ids = torch.arange(9)[None]
        torch.testing.assert_close(model(ids).logits, wanted, rtol=0, atol=1e-6)
        assert not torch.allclose(base(ids).logits, wanted, atol=1e-3)

    @pytest.mark.parametrize(
        ("changes", "text", "hint"),
        [
            ({"rank": 3}, "not of this base, mode and rank", "rank 3"),
            ({"mode": "lora"}, "not of this base, mode and rank", "rank 2"),
            ({"alpha": 8}, "has alpha 8, the recipe 4", "alpha = 8"),
        ],
    )
    def test_another_adapter_is_refused(self, tmp_path: Path, changes: dict[str, Any], text: str, hint: str) -> None:
        """By what differs, with what would fit."""
        self.made(tmp_path / "weights", **changes)
        with pytest.raises(TrainError, match=text) as caught, warnings.catch_warnings(action="ignore"):
            trainable(llama(), SMALL.model_copy(update={"start": "weights"}), tmp_path)
        assert hint in str(caught.value.hint)

    def test_no_adapter_there(self, tmp_path: Path) -> None:
        """Named, with what is wanted."""
        caught: Any
        with (
            warnings.catch_warnings(action="ignore"),
            pytest.raises(TrainError, match="cannot be read as an adapter") as caught,
        ):
            trainable(llama(), SMALL.model_copy(update={"start": "nowhere"}), tmp_path)
        assert "adapter_config.json" in str(caught.value.hint)

    def test_recipes_without_it_keep_their_digest(self) -> None:
        """The field is written only where it is used; and it is for adapters."""
        assert "start" not in SMALL.model_dump(mode="json")
        assert SMALL.model_copy(update={"start": "weights"}).model_dump(mode="json")["start"] == "weights"
        with pytest.raises(ValidationError, match="mode 'full' trains none"):
            TrainingRecipe(mode="full", start="weights")


class TestBlocks:
    """Documents without padding, every pass in an order that the seed alone decides."""

    def test_the_stream(self) -> None:
        """In the order given, then shuffled by (seed, pass)."""
        encoded = [[1, 2, 3], [4, 5], [6]]
        found = pack(encoded, 4, 6, seed=1)
        assert found.shape == (6, 4)
        assert found.reshape(-1)[:6].tolist() == [1, 2, 3, 4, 5, 6]
        for i in range(4):
            assert sorted(found.reshape(-1)[6 * i : 6 * i + 6].tolist()) == [1, 2, 3, 4, 5, 6]
        assert torch.equal(found, pack(encoded, 4, 6, seed=1))
        assert torch.equal(found[:3], pack(encoded, 4, 3, seed=1))
        assert not torch.equal(pack(encoded, 4, 30, seed=1), pack(encoded, 4, 30, seed=2))
        with pytest.raises(TrainError) as caught:
            pack([[], []], 4, 1, seed=0)
        assert caught.value.hint

    def test_documents_begin_with_the_separator(self) -> None:
        """The same prefix that the suites use."""
        lead = separator_id(tokenizer())
        assert tokenizer().convert_ids_to_tokens(lead) == "<|endoftext|>"
        (ids,) = encode([Document("the grid", "s", "g", "MIT")], tokenizer())
        assert ids[0] == lead
        assert tokenizer().decode(ids[1:]) == "the grid"


def ignore(_: Any) -> None:
    """A report that nobody reads."""


class TestBuild:
    """From a recipe to a plugin."""

    def test_a_plan_writes_nothing(self, recipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """`cogen train --plan` says tokens, memory and time, and stops."""
        path = recipe()
        before = sorted(p for p in path.parent.rglob("*"))
        assert main(["train", str(path), "--plan", "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["estimate"]["tokens"] == 192
        assert output["estimate"]["steps"] == 6
        assert output["estimate"]["seconds"] > 0
        assert output["estimate"]["trained_parameters"] == 2 * 3 * 2 * (32 + 64)
        assert sum(output["sources"].values()) == output["estimate"]["corpus_tokens"]
        assert sorted(p for p in path.parent.rglob("*")) == before
        assert not (cache_dir() / "train").exists()

    def test_trained_once(self, recipe: Any) -> None:
        """The second run of the same recipe takes the result; other texts under the same recipe are another run."""
        path = recipe()
        prepared = prepare(path)
        first = file_digest(run_training(prepared, ignore) / "adapter_model.safetensors")
        steps: list[Any] = []
        assert file_digest(run_training(prepare(path), steps.append) / "adapter_model.safetensors") == first
        assert steps == []
        for file in (path.parent / "texts").glob("t00*"):
            file.unlink()
        result = run_training(prepare(path), steps.append)
        assert len(steps) == 6
        assert file_digest(result / "adapter_model.safetensors") != first
        assert not (prepared.run / "steps").exists()

    def test_a_resumed_run_tells_all_its_seconds(self, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """Those of the process that was killed too, and it gives the same weights."""
        path = recipe()
        whole = file_digest(run_training(prepare(path), ignore) / "adapter_model.safetensors")
        shutil.rmtree(prepare(path).run)

        def kill(progress: Any) -> None:
            if progress.step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_training(prepare(path), kill)
        clock = prepare(path).run / "seconds"
        assert float(clock.read_text()) > 0
        clock.write_text("1000.0")
        result = run_training(prepare(path), ignore)
        assert json.loads((result / "run.json").read_text())["seconds"] > 1000
        assert file_digest(result / "adapter_model.safetensors") == whole

    @pytest.mark.parametrize("mode", ["ffn", "full"])
    def test_what_is_published(self, recipe: Any, mode: str) -> None:
        """The manifest validates, its digests hold, its figures are those of the run."""
        path = recipe(training={"mode": mode})
        prepared = prepare(path)
        spec = packaged(prepared, run_training(prepared, ignore)).expert
        package = path.parent / "src" / "cogen_plugin_tiny"
        assert ExpertSpec.model_validate(tomllib.loads((package / "expert.toml").read_text())) == spec
        assert spec.model.file_digest == file_digest(package / "weights")
        (suite,) = spec.suites
        for part in (suite.dev, suite.test):
            assert part.digest == file_digest(package / part.path)
            assert part.documents == len((package / part.path).read_text().splitlines())
        assert spec.samples is not None
        assert spec.samples.digest == file_digest(package / "samples.jsonl")
        names = sorted(p.relative_to(package).as_posix() for p in package.rglob("*") if p.is_file())
        weights = ["adapter_config.json", "adapter_model.safetensors"]
        if mode == "full":
            weights = [
                "config.json",
                "generation_config.json",
                "model.safetensors",
                "model.safetensors.index.json",
                "tokenizer.json",
                "tokenizer_config.json",
            ]
            written = json.loads((package / "weights" / "config.json").read_text())
            assert written["rope_theta"] == written["rope_parameters"]["rope_theta"]
            assert (
                {i.dtype for i in open_folder(package / "weights").tensors.values()}
                == {spec.model.dtype}
                == {"bfloat16"}
            )
            assert spec.model.weights_digest == open_folder(package / "weights").weights_digest
        else:
            tensors = load_file(package / "weights" / "adapter_model.safetensors")
            assert {t.dtype for t in tensors.values()} == {torch.bfloat16}
            assert spec.model.parameters == sum(t.numel() for t in tensors.values())
            assert str(path.parent.parent) not in (package / "weights" / "adapter_config.json").read_text()
        assert names == sorted(
            [
                "__init__.py",
                "expert.toml",
                "samples.jsonl",
                "suites/dev.jsonl",
                "suites/heldout.yaml",
                "suites/test.jsonl",
            ]
            + [f"weights/{name}" for name in weights]
        )
        assert spec.model.relation == ("ffn" if mode == "ffn" else "full")
        assert spec.data.training != "unknown"
        assert (spec.data.training.steps, spec.data.training.tokens, spec.data.training.threads) == (6, 192, 1)
        assert {m.part for m in spec.data.training.measured} == {"dev", "test"}
        assert spec.data.sources != "unknown"
        assert sum(s.share for s in spec.data.sources) == pytest.approx(1.0)
        test = next(m for m in spec.data.training.measured if m.part == "test")
        assert suite.claim is not None
        assert suite.claim.value == test.after
        assert test.bytes == sum(
            len(json.loads(line)["text"].encode()) for line in (package / suite.test.path).read_text().splitlines()
        )

    def test_killed_while_it_measures(self, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The old plugin stays whole: weights, suites and manifest still belong together."""
        path = recipe()
        prepared = prepare(path)
        packaged(prepared, run_training(prepared, ignore))
        package = path.parent / "src" / "cogen_plugin_tiny"
        before = file_digest(package)
        other = prepare(recipe(training={"learning_rate": 0.02}, corpus={"seed": 6}))

        def kill(*_: Any, **__: Any) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(publishing, "run_suites", kill)
        with pytest.raises(KeyboardInterrupt):
            packaged(other, run_training(other, ignore))
        assert file_digest(package) == before
        assert not list(package.parent.glob(".*"))
        assert not list(cache_dir().glob(".publish.*"))


LINES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=30)


class TestToml:
    """spec → TOML → spec."""

    @settings(deadline=None)
    @given(title=LINES, text=st.text(st.characters(exclude_categories=("Cs",)), max_size=60), number=st.floats(0, 1))
    def test_round_trip(self, title: str, text: str, number: float) -> None:
        """Any text and number comes back: quotes, backslashes, line ends, control characters."""
        document = manifest("power", title=title)
        document["data"] |= {"biases": text, "synthetic_share": number}
        spec = ExpertSpec.model_validate(document)
        assert ExpertSpec.model_validate(tomllib.loads(to_toml(spec))) == spec
