"""`cogen train` by processes that a launcher started, and what watches a training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import llama, save_model
from transformers import TrainerCallback

from cogen.checkpoints.model import open_folder
from cogen.errors import TrainError, UsageError
from cogen.forge.blocks import Blocks
from cogen.forge.launch import launch_training, uses_launcher
from cogen.forge.recipe import TrainingRecipe
from cogen.forge.train import Tracking, check_trackers, train

ONE = "torchrun --standalone --nproc_per_node 1"
TWO = "torchrun --standalone --nproc_per_node 2"
SMALL = TrainingRecipe(
    rank=2,
    alpha=4,
    learning_rate=0.01,
    sequence_length=16,
    batch_size=2,
    gradient_accumulation=2,
    tokens=16 * 4 * 4,
    threads=1,
    save_every=2,
    seed=3,
)


class Steps(TrainerCallback):
    """In a module that a worker can import."""

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        seen.append(state.global_step)


seen: list[int] = []


@pytest.fixture(autouse=True)
def _threads() -> Any:
    count = torch.get_num_threads()
    seen.clear()
    yield
    torch.set_num_threads(count)


def blocks(training: TrainingRecipe) -> Blocks:
    count = training.steps * training.batch_size * training.gradient_accumulation
    ids = torch.randint(0, 300, (count, training.sequence_length), generator=torch.Generator().manual_seed(0))
    return Blocks(ids)


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: p.detach().float().clone() for name, p in model.named_parameters()}


@pytest.mark.parametrize(
    ("how", "mode", "tolerance"),
    [(ONE, "ffn", 0.0), pytest.param(TWO, "ffn", 2e-3, marks=pytest.mark.slow), (TWO, "full", 2e-3)],
)
def test_the_same_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, mode: Any, tolerance: float
) -> None:
    """One process of a launcher gives the same bits; two, the same batches in every step."""
    training = SMALL.model_copy(update={"mode": mode})
    dtype = "float32" if mode == "full" else "bfloat16"
    save_model(tmp_path / "base", 7, "float32")
    base = open_folder(tmp_path / "base")
    from cogen.checkpoints.load import load_model

    losses: list[list[float]] = [[], []]
    alone = train(
        load_model(base, dtype), blocks(training), training, tmp_path / "a", lambda step: losses[0].append(step.loss)
    )
    monkeypatch.setenv("COGEN_LAUNCH", how)
    together = launch_training(
        base, blocks(training), training, tmp_path / "b", lambda step: losses[1].append(step.loss)
    )
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    one, other = weights(alone), weights(together)
    assert one.keys() == other.keys()
    assert max(float((one[name] - other[name]).abs().max()) for name in one) <= tolerance
    assert not list(tmp_path.glob("*.job"))


def test_a_step_that_cannot_be_shared_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    with pytest.raises(UsageError, match="3 processes can't share the 2 batches of a step evenly") as caught:
        train(llama(), blocks(SMALL), SMALL, tmp_path, lambda step: None)
    assert caught.value.hint == "training.gradient_accumulation = 3"


def test_what_it_does_not_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    """That is said, and trained in this process."""
    reporter = Notes()
    assert not uses_launcher(SMALL, reporter)
    monkeypatch.setenv("COGEN_LAUNCH", ONE)
    assert uses_launcher(SMALL, reporter)
    assert reporter.notes == []
    assert not uses_launcher(SMALL.model_copy(update={"mode": "anchored"}), reporter)
    assert reporter.notes == ["COGEN_LAUNCH does not serve a training of mode anchored: it runs in this process alone"]


def test_a_launcher_that_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_model(tmp_path / "base", 7, "bfloat16")
    monkeypatch.setenv("COGEN_LAUNCH", "no-such-launcher")
    with pytest.raises(UsageError, match="command not found: no-such-launcher"):
        launch_training(open_folder(tmp_path / "base"), blocks(SMALL), SMALL, tmp_path / "b", lambda step: None)
    monkeypatch.setenv("COGEN_LAUNCH", "false")
    with pytest.raises(TrainError, match="exit code 1"):
        launch_training(open_folder(tmp_path / "base"), blocks(SMALL), SMALL, tmp_path / "b", lambda step: None)


class TestTracking:
    def test_callbacks(self, tmp_path: Path) -> None:
        """Objects and classes; the weights are those of a training that nobody watches."""
        plain = weights(train(llama(), blocks(SMALL), SMALL, tmp_path / "a", lambda step: None))
        watched = train(
            llama(), blocks(SMALL), SMALL, tmp_path / "b", lambda step: None, tracking=Tracking(callbacks=(Steps(),))
        )
        assert seen == [1, 2, 3, 4]
        assert all(torch.equal(plain[name], value) for name, value in weights(watched).items())

    def test_report_to(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What the recipe names reaches the Trainer; nothing does if it names none."""
        from transformers.integrations import integration_utils

        monkeypatch.setitem(integration_utils.INTEGRATION_TO_CALLBACK, "tensorboard", Steps)
        tracking = Tracking(("tensorboard",), "my run")
        trained = train(llama(), blocks(SMALL), SMALL, tmp_path / "a", lambda step: None, tracking=tracking)
        assert trained is not None
        assert seen == [1, 2, 3, 4]
        seen.clear()
        train(llama(), blocks(SMALL), SMALL, tmp_path / "b", lambda step: None)
        assert seen == []

    def test_trackers_that_are_none(self, monkeypatch: pytest.MonkeyPatch) -> None:
        check_trackers(())
        monkeypatch.setattr("transformers.integrations.get_available_reporting_integrations", lambda: ["mlflow"])
        check_trackers(("mlflow",))
        with pytest.raises(UsageError, match="unknown tracker 'wandbb'") as caught:
            check_trackers(("wandbb",))
        assert "wandb" in str(caught.value.hint)
        with pytest.raises(UsageError, match="the tracker wandb is not installed") as caught:
            check_trackers(("wandb",))
        assert "pip install wandb" in str(caught.value.hint)

    def test_not_in_the_digest(self) -> None:
        """A run that is watched is the same run."""
        watched = SMALL.model_copy(update={"report_to": ("wandb",), "run_name": "x"})
        assert json.dumps(watched.model_dump(mode="json")) == json.dumps(SMALL.model_dump(mode="json"))
        read = TrainingRecipe.model_validate({"report_to": ["wandb"], "run_name": "x"})
        assert (read.report_to, read.run_name) == (("wandb",), "x")


class Notes:
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def describe(self, label: str) -> None: ...

    def advance(self, n: float = 1) -> None: ...
