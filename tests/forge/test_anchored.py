"""The mode ``anchored``: a pair is transformers' mixture of two experts, and its rows learn log-odds."""

from __future__ import annotations

import json
import math
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import llama, logits, tokenizer

from cogen.checkpoints.digests import file_digest
from cogen.cli.main import main
from cogen.conformance import run_checks
from cogen.errors import TrainError
from cogen.forge.anchored import router_loss
from cogen.forge.anchored_block import AnchoredBlock, pair_up, pairs, rows
from cogen.forge.build import prepare, run_training
from cogen.forge.corpus import Document
from cogen.forge.package import package as packaged
from cogen.forge.recipe import TrainingRecipe
from cogen.forge.router_init import Start, begin, general_blocks, some_texts
from cogen.forge.train import train, trainable
from cogen.routing.anchors import Anchor
from cogen.spec.expert import ExpertSpec
from cogen.training.trainer import quiet_trainer

SMALL = TrainingRecipe(
    mode="anchored",
    rank=2,
    alpha=4,
    learning_rate=0.01,
    sequence_length=16,
    batch_size=2,
    gradient_accumulation=2,
    tokens=16 * 2 * 2 * 6,
    threads=1,
    save_every=2,
    seed=3,
)


@pytest.fixture(autouse=True)
def _threads() -> Any:
    """One for these small models; the other tests keep theirs."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def tokens(count: int, low: int, high: int, seed: int = 0) -> torch.Tensor:
    """``count`` blocks of the ids [low, high)."""
    return torch.randint(low, high, (count, 16), generator=torch.Generator().manual_seed(seed))


def start(training: TrainingRecipe, rows: torch.Tensor | None = None) -> Start:
    """Rows of zeros, steps of one; the general text is of the ids from 20 to 39, the domain of those below."""
    general = tokens(training.steps * training.gradient_accumulation, 20, 40, seed=1)
    return Start(torch.zeros(2, 32) if rows is None else rows, torch.ones(2, 32), general)


def domain(training: TrainingRecipe) -> torch.Tensor:
    return tokens(training.steps * training.gradient_accumulation * training.batch_size, 0, 20)


def adapted(model: Any) -> Any:
    """With a LoRA on the feed-forward layers, without peft's warnings."""
    with quiet_trainer():
        return trainable(model, SMALL)


def noisy(model: Any) -> Any:
    """Both factors of every LoRA random: peft's second ones are zero at the start."""
    generator = torch.Generator().manual_seed(9)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_" in name:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def mixtral(base: Any, expert: Any, rows: torch.Tensor) -> Any:
    """transformers' mixture of the feed-forward blocks of two Llamas, top 2 of 2."""
    from transformers import MixtralConfig, MixtralForCausalLM

    c = base.config
    config = MixtralConfig(
        vocab_size=c.vocab_size,
        hidden_size=c.hidden_size,
        intermediate_size=c.intermediate_size,
        num_hidden_layers=c.num_hidden_layers,
        num_attention_heads=c.num_attention_heads,
        num_key_value_heads=c.num_key_value_heads,
        max_position_embeddings=c.max_position_embeddings,
        rms_norm_eps=c.rms_norm_eps,
        rope_parameters=c.rope_parameters,
        tie_word_embeddings=True,
        num_local_experts=2,
        num_experts_per_tok=2,
        sliding_window=None,
        bos_token_id=0,
        eos_token_id=0,
    )
    model = MixtralForCausalLM(config)
    shared = {name: tensor for name, tensor in base.state_dict().items() if ".mlp." not in name}
    missing, unexpected = model.load_state_dict(shared, strict=False)
    assert not unexpected
    assert all(".mlp." in name for name in missing)
    with torch.no_grad():
        for layer, own, plain, row in zip(
            model.model.layers, expert.model.layers, base.model.layers, rows, strict=True
        ):
            layer.mlp.gate.weight.copy_(torch.stack([torch.zeros_like(row), row]))
            for slot, mlp in enumerate((plain.mlp, own.mlp)):
                both = torch.cat([mlp.gate_proj.weight, mlp.up_proj.weight])
                layer.mlp.experts.gate_up_proj[slot].copy_(both)
                layer.mlp.experts.down_proj[slot].copy_(mlp.down_proj.weight)
    return model.eval()


class TestPair:
    """The mixture that is trained is the mixture that is served."""

    def test_equals_mixtral(self) -> None:
        """Logits of the pairs are those of transformers' Mixtral of [base, base + LoRA] with the rows [0, r]."""
        own = torch.randn(2, 32, generator=torch.Generator().manual_seed(4)) * 0.3
        model = pair_up(noisy(adapted(llama())), own, torch.ones(2, 32)).eval()
        expert = noisy(adapted(llama())).merge_and_unload()
        wanted = logits(mixtral(llama(), expert, own))
        torch.testing.assert_close(logits(model), wanted, rtol=1e-5, atol=1e-5)
        assert not torch.allclose(logits(expert), wanted, atol=0.01)
        assert not torch.allclose(logits(llama()), wanted, atol=0.01)

    @pytest.mark.parametrize("kind", ["llama", "mistral", "qwen2", "qwen3", "olmo2"])
    def test_every_architecture(self, kind: str) -> None:
        """A pair gives what peft's own layers give without and with the adapter, weighted by a softmax."""
        from transformers import AutoConfig, AutoModelForCausalLM

        config = AutoConfig.for_model(
            kind,
            vocab_size=50,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            head_dim=8,
            pad_token_id=0,
            bos_token_id=0,
            eos_token_id=0,
        )
        model = noisy(adapted(AutoModelForCausalLM.from_config(config))).eval()
        x, row = torch.randn(2, 5, 32), torch.randn(32)
        mlp = model.get_decoder().layers[0].mlp
        with torch.no_grad():
            own = mlp(x)
            with model.disable_adapter():
                base = mlp(x)
            weight = torch.softmax(torch.stack([torch.zeros(2, 5), x @ row], -1), -1)
            pair_up(model, torch.stack([row, row]), torch.ones(2, 32))
            found = model.get_decoder().layers[0].mlp(x)
        assert isinstance(model.get_decoder().layers[0].mlp, AnchoredBlock)
        torch.testing.assert_close(found, weight[..., :1] * base + weight[..., 1:] * own)
        assert not torch.allclose(base, own)

    def test_a_block_that_cannot_be_paired(self) -> None:
        """Says which bases can."""
        with pytest.raises(TrainError, match="LlamaMLP is not a gated") as caught:
            pair_up(adapted(llama()).unload(), *torch.ones(2, 2, 32))
        assert "OLMo-2" in str(caught.value.hint)


class TestLosses:
    """Which loss reaches which weights."""

    def gradients(self, what: str) -> set[str]:
        model = pair_up(noisy(adapted(llama())), torch.zeros(2, 32), torch.ones(2, 32)).train()
        ids = tokens(2, 0, 150)
        loss = model(input_ids=ids, labels=ids).loss
        (loss if what == "language" else router_loss(model, tokens(1, 150, 300))).backward()
        return {name.rpartition(".")[2] for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}

    def test_the_language_model_reaches_all(self) -> None:
        """Factors and rows, nothing of the base."""
        assert self.gradients("language") == {"weight", "delta"}

    def test_the_router_reaches_rows_alone(self) -> None:
        """No LoRA factor moves to please the router."""
        assert self.gradients("router") == {"delta"}

    def test_rows_of_zeros(self) -> None:
        """Their loss is log 2 in every layer: even odds."""
        model = pair_up(adapted(llama()), torch.zeros(2, 32), torch.ones(2, 32)).train()
        model(input_ids=tokens(2, 0, 150))
        assert router_loss(model, tokens(1, 150, 300)).item() == pytest.approx(math.log(2))


def ignore(_: Any) -> None:
    """A report that nobody reads."""


def run(folder: Path, training: TrainingRecipe, begun: Start, *, stop_at: int = 0) -> tuple[Any, list[int]]:
    """The trained model and the steps that were reported; ``stop_at`` dies after that step."""
    steps: list[int] = []

    def report(progress: Any) -> None:
        steps.append(progress.step)
        if progress.step == stop_at:
            raise KeyboardInterrupt

    return train(llama(dtype="bfloat16"), domain(training), training, folder, report, begun), steps


class TestTraining:
    """On transformers' Trainer, as the other modes."""

    def test_the_base_keeps_its_bits(self, tmp_path: Path) -> None:
        """Everything but LoRA factors and rows is what it was, and both of them have moved."""
        base = dict(llama(dtype="bfloat16").named_parameters())
        model, _ = run(tmp_path / "run", SMALL, start(SMALL))
        for name, parameter in model.named_parameters():
            if "lora_" in name or name.endswith("mlp.delta"):
                assert parameter.any(), name
                assert parameter.requires_grad
            else:
                plain = name.removeprefix("base_model.model.").replace(".base_layer", "")
                assert torch.equal(parameter, base[plain]), name

    def test_rows_learn_log_odds(self, tmp_path: Path) -> None:
        """On text that no step has seen, the router's loss is below that of even odds, and in every layer the log-odds
        are positive on the domain and much lower on general text."""
        training = SMALL.model_copy(update={"tokens": 64 * 60, "save_every": 60})
        model, _ = run(tmp_path / "run", training, start(training))
        model.float().train()
        with torch.no_grad():
            model(input_ids=tokens(20, 0, 20, seed=5))
            own = torch.stack([pair.seen for pair in pairs(model)])
            loss = router_loss(model, tokens(20, 20, 40, seed=6))
            model(input_ids=tokens(20, 20, 40, seed=6))
            other = torch.stack([pair.seen for pair in pairs(model)])
        assert float(loss) < 0.85 * math.log(2)
        assert (own.mean((1, 2)) > 0.5).all()
        assert (own.mean((1, 2)) - other.mean((1, 2)) > 1).all()

    def test_without_the_router_loss(self, tmp_path: Path) -> None:
        """Only the language model moves the rows then: they do not tell general text from the domain's as well."""
        notes = {}
        for weight in (0.0, 1.0):
            training = SMALL.model_copy(update={"tokens": 64 * 30, "save_every": 60, "router_loss": weight})
            model, _ = run(tmp_path / str(weight), training, start(training))
            model.float().train()
            with torch.no_grad():
                model(input_ids=tokens(20, 0, 20, seed=5))
                notes[weight] = router_loss(model, tokens(20, 20, 40, seed=6)).item()
        assert notes[1.0] < notes[0.0]

    @pytest.mark.parametrize("dropout", [0.0, 0.1])
    @pytest.mark.parametrize("stop_at", [3, 4])
    def test_killed_and_resumed(self, tmp_path: Path, dropout: float, stop_at: int) -> None:
        """Equals the uninterrupted run, bit for bit; what the rows began with is taken from the checkpoint."""
        training = SMALL.model_copy(update={"dropout": dropout})
        own = torch.randn(2, 32, generator=torch.Generator().manual_seed(4)) * 0.1
        whole, _ = run(tmp_path / "whole", training, start(training, own))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "killed", training, start(training, own), stop_at=stop_at)
        resumed, steps = run(tmp_path / "killed", training, start(training, torch.zeros(2, 32)))
        assert steps == list(range(2 * ((stop_at - 1) // 2) + 1, 7))
        left, right = whole.state_dict(), resumed.state_dict()
        assert left.keys() == right.keys()
        assert all(torch.equal(left[name], right[name]) for name in left)

    def test_the_rows_have_their_own_learning_rate(self, tmp_path: Path) -> None:
        """In Adam's first step each element moves by the rate times its scale, whatever the size of its gradient."""
        training = SMALL.model_copy(
            update={"tokens": 64, "warmup": 0.0, "schedule": "constant", "router_learning_rate": 0.25}
        )
        begun = start(training)
        begun.scale[1] *= 0.1
        model, _ = run(tmp_path / "run", training, begun)
        moved = rows(model).abs()
        torch.testing.assert_close(moved[0], torch.full((32,), 0.25), rtol=1e-3, atol=0)
        torch.testing.assert_close(moved[1], torch.full((32,), 0.025), rtol=1e-3, atol=0)


class TestStart:
    """Rows, scale and general text."""

    def test_the_scale(self) -> None:
        """One over the root mean square on general text; an element that is always zero gets a finite one."""
        model = llama()
        with torch.no_grad():
            model.model.layers[0].post_attention_layernorm.weight[3] = 0
        anchor = Anchor(lambda: model, tokenizer(), ["test"])
        found = begin(anchor, ["the grid operator measures voltage"], torch.zeros(1, 16))
        variance = torch.diagonal(anchor.general.covariance, dim1=1, dim2=2)
        size = (variance + anchor.general.mean.square()).sqrt().float()
        assert size[0, 3] == 0
        assert found.scale.isfinite().all()
        assert found.rows.isfinite().all()
        others = torch.arange(32) != 3
        torch.testing.assert_close((found.scale * size)[:, others], torch.ones(2, 31))

    def test_private_text_is_not_cached(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names in the cache are digests without a salt. The rows are the same, bit by bit."""
        monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
        model, text = llama(), ["Mrs Elsbeth Quill was seen for chest pain"]
        anchor = Anchor(lambda: model, tokenizer(), ["test"])
        private = begin(anchor, text, torch.zeros(1, 16), private=True)
        assert len(list((tmp_path / "cache" / "states").glob("[0-9a-f]*"))) == 1  # of the general text
        public = begin(anchor, text, torch.zeros(1, 16))
        assert len(list((tmp_path / "cache" / "states").glob("[0-9a-f]*"))) == 2
        assert torch.equal(private.rows, public.rows)

    def test_general_text_is_one_block_a_micro_batch(self) -> None:
        """In an order that the seed alone decides: a longer run begins like a shorter one."""
        found = general_blocks(tokenizer(), SMALL)
        assert found.shape == (12, 16)
        assert torch.equal(found, general_blocks(tokenizer(), SMALL.model_copy(update={"tokens": 64 * 9}))[:12])

    def test_texts_up_to_a_size(self) -> None:
        """Whole documents, in order, at least one."""
        documents = [Document(text, "s", "g", "MIT") for text in ("ééé", "b", "c" * 9)]
        assert some_texts(documents, 1) == ["ééé"]
        assert some_texts(documents, 7) == ["ééé", "b"]
        assert some_texts(documents, 99) == ["ééé", "b", "c" * 9]


class TestRecipe:
    """Recipes that were written before the mode."""

    def test_their_digest_stays(self) -> None:
        """The router's fields are part of a recipe's meaning only where there is a router."""
        fields = {"router_learning_rate", "router_loss"}
        assert not fields & TrainingRecipe().model_dump(mode="json").keys()
        assert fields <= SMALL.model_dump(mode="json").keys()
        assert TrainingRecipe.model_validate(SMALL.model_dump()) == SMALL


def install(package: Path, site: Path) -> Path:
    """A package as pip would install it."""
    target = site / package.name
    shutil.copytree(package, target)
    info = site / "cogen_plugin_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: cogen-plugin-tiny\nVersion: 1.0\nRequires-Dist: cogen-core\n"
    )
    (info / "entry_points.txt").write_text(f"[cogen]\ntiny = {package.name}\n")
    return target


def failed(level: Any = "static") -> dict[str, str]:
    return {check.name: check.message for check in run_checks("tiny", level=level) if check.ok is False}


class TestPublished:
    """From a recipe to a plugin."""

    def test_a_plan(self, recipe: Any, capsys: pytest.CaptureFixture[str]) -> None:
        """Counts factors and rows."""
        assert main(["train", str(recipe(training={"mode": "anchored"})), "--plan", "--json"]) == 0
        output = json.loads(capsys.readouterr().out)
        assert output["estimate"]["trained_parameters"] == 2 * 3 * 2 * (32 + 64) + 2 * 32
        assert output["estimate"]["seconds"] > 0

    def test_the_plugin(self, recipe: Any, site: Path) -> None:
        """It validates, passes the checks that open weights, and its card tells how the router was trained."""
        path = recipe(training={"mode": "anchored"})
        prepared = prepare(path)
        spec = packaged(prepared, run_training(prepared, ignore)).expert
        package = path.parent / "src" / "cogen_plugin_tiny"
        assert ExpertSpec.model_validate(tomllib.loads((package / "expert.toml").read_text())) == spec
        assert (spec.model.relation, spec.model.format) == ("anchored", "peft")
        assert spec.router is not None
        assert spec.router.source == "package://cogen_plugin_tiny/router.safetensors"
        assert spec.router.file_digest == file_digest(package / "router.safetensors")
        assert sorted(p.name for p in (package / "weights").iterdir()) == [
            "adapter_config.json",
            "adapter_model.safetensors",
        ]
        assert spec.model.file_digest == file_digest(package / "weights")
        tensors = load_file(package / "router.safetensors")
        assert {name: (t.dtype, tuple(t.shape)) for name, t in tensors.items()} == {"rows": (torch.float32, (2, 32))}
        assert spec.data.training != "unknown"
        assert spec.data.training.mode == "anchored"
        assert spec.data.training.hyperparameters["router_learning_rate"] == 0.01
        assert spec.data.training.hyperparameters["router_loss"] == 1.0
        assert "calibration" in str(spec.data.training.hyperparameters["router_general_text"])
        own = install(package, site)
        assert failed("smoke") == {}
        for tensors, message in (
            ({"weights": torch.ones(2, 32)}, "not one tensor `rows`"),
            ({"rows": torch.ones(2, 32, dtype=torch.int64)}, "int64"),
            ({"rows": torch.ones(64)}, "(64,)"),
        ):
            save_file(tensors, own / "router.safetensors")
            assert message in failed()["router"]
        for values, message in ((torch.ones(3, 32), "the base (2, 32)"), (torch.full((2, 32), torch.nan), "finite")):
            save_file({"rows": values}, own / "router.safetensors")
            text = (package / "expert.toml").read_text()
            digest = file_digest(own / "router.safetensors")
            (own / "expert.toml").write_text(text.replace(spec.router.file_digest, digest))
            assert message in failed("smoke")["router rows"]

    def test_another_mode_takes_the_router_away(self, recipe: Any) -> None:
        """Rows that belong to other weights do not stay in the package."""
        for mode in ("anchored", "ffn"):
            path = recipe(training={"mode": mode})
            prepared = prepare(path)
            spec = packaged(prepared, run_training(prepared, ignore)).expert
            file = path.parent / "src" / "cogen_plugin_tiny" / "router.safetensors"
            assert file.exists() == (mode == "anchored") == (spec.router is not None)

    def test_rows_know_no_other_expert(self, recipe: Any) -> None:
        """Trained again after an expert of other texts, in the same cache, an expert has the same rows and factors."""
        names = ("router.safetensors", "adapter_model.safetensors")

        def trained(**changes: Any) -> list[str]:
            prepared = prepare(recipe(training={"mode": "anchored"}, **changes))
            result = run_training(prepared, ignore)
            found = [file_digest(result / name) for name in names]
            shutil.rmtree(prepared.run)
            return found

        first = trained()
        other = trained(id="other", corpus={"seed": 6})
        assert trained() == first
        assert not set(first) & set(other)

    def test_killed_and_resumed(self, recipe: Any) -> None:
        """`cogen train` started again gives the files of an uninterrupted run."""
        path = recipe(training={"mode": "anchored"})
        names = ("router.safetensors", "adapter_model.safetensors")
        whole = [file_digest(run_training(prepare(path), ignore) / name) for name in names]
        shutil.rmtree(prepare(path).run)

        def kill(progress: Any) -> None:
            if progress.step == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            run_training(prepare(path), kill)
        assert [file_digest(run_training(prepare(path), ignore) / name) for name in names] == whole
