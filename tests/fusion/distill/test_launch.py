"""Training by processes that a launcher started, on tiny models and the CPU (gloo)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from fusion.distill.test_run import bits, built, recipe
from safetensors.torch import load_file

from cogen.errors import TrainError, UsageError
from cogen.fusion.distill.compose import compose_group
from cogen.fusion.distill.plan import plan_distillation
from cogen.training import launch
from cogen.training.launch import MARK, command

TWO = "torchrun --standalone --nproc_per_node 2"
#: On CPUs of one machine accelerate starts one process, however many it is told to.
ACCELERATE = "accelerate launch --cpu --num_processes 1 --num_machines 1 --mixed_precision no --dynamo_backend no"


class Listener:
    def __init__(self) -> None:
        self.labels: list[str] = []

    def describe(self, label: str) -> None:
        self.labels.append(label)

    def advance(self, n: float = 1) -> None:
        pass

    def losses(self, of: str) -> list[float]:
        """By step."""
        return [float(label.rpartition(" ")[2]) for label in self.labels if label.startswith(f"{of}: step")]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor.float() for name, tensor in load_file(folder / "model.safetensors").items()}


def moved(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> float:
    """Euclidean length of the difference."""
    return float(sum((a[name] - b[name]).square().sum() for name in a)) ** 0.5


@pytest.mark.slow
def test_accelerate_starts_the_same_training(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process of a launcher: the same bits."""
    alone = built(mixed, recipe(texts, "uld+alm", mode="full"), tmp_path / "alone")
    monkeypatch.setenv("COGEN_LAUNCH", ACCELERATE)
    launched = built(mixed, recipe(texts, "uld+alm", mode="full"), tmp_path / "launched")
    assert bits(alone.folder) == bits(launched.folder)


@pytest.mark.parametrize("mode", ["full", pytest.param("lora", marks=pytest.mark.slow)])
def test_two_processes_learn_what_one_does(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    """The same batches in every step and sums over all of them, so the control has the same losses.

    The balance is measured on two batches at a time instead of one after the other, so the student moves a little
    otherwise.
    """
    settings = {"accumulation": 2, "mode": mode, "tokens_a_step": 256}
    one, two = Listener(), Listener()
    alone = weights(built(mixed, recipe(texts, "uld+alm", **settings), tmp_path / "alone", reporter=one).folder)
    monkeypatch.setenv("COGEN_LAUNCH", TWO)
    together = weights(built(mixed, recipe(texts, "uld+alm", **settings), tmp_path / "both", reporter=two).folder)
    student = weights(compose_group(plan_distillation(mixed, recipe(texts))[1].student).folder)
    control = "the control, without teachers"
    assert len(one.losses(control)) == 4
    assert two.losses(control) == pytest.approx(one.losses(control), rel=5e-4)
    assert two.losses("distilling") == pytest.approx(one.losses("distilling"), rel=0.03)
    assert 0 < moved(alone, together) < 0.12 * moved(alone, student)


def test_a_step_that_cannot_be_shared_out(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COGEN_LAUNCH", TWO)
    with pytest.raises(UsageError, match="2 processes can't share the 3 batches of a step") as caught:
        built(mixed, recipe(texts, accumulation=3), tmp_path / "out")
    assert caught.value.hint == "distill.accumulation = 4"
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("*.job"))


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("no-such-launcher --fast", "command not found: no-such-launcher"),
        ("torchrun 'a", "COGEN_LAUNCH is not a valid command"),
    ],
)
def test_a_launcher_that_is_none(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, words: str
) -> None:
    monkeypatch.setenv("COGEN_LAUNCH", how)
    with pytest.raises(UsageError, match=words) as caught:
        built(mixed, recipe(texts), tmp_path / "out")
    assert caught.value.hint


def test_a_launcher_that_fails_says_its_last_error(
    mixed: Any, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = tmp_path / "launcher.py"
    script.write_text("import sys; print('noise'); print('RuntimeError: no device'); print('more'); sys.exit(9)")
    monkeypatch.setenv("COGEN_LAUNCH", f"{sys.executable} {script}")
    with pytest.raises(TrainError, match="exit code 9: RuntimeError: no device") as caught:
        built(mixed, recipe(texts), tmp_path / "out")
    assert "goes on at its last checkpoint" in (caught.value.hint or "")


def test_lines_of_others_do_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Progress is read also where another process has begun a line, and nowhere else."""
    output = '{"step": 1, "steps": 2, "loss": 0.5, "tokens_per_second": 9.0, "seconds_left": 1.0}'
    script = tmp_path / "noisy.py"
    script.write_text(f"print('half a '+{MARK!r}+{output!r}); print('{{\"step\": 7}}')")
    assert [one.step for one in launch.follow([sys.executable, str(script)])] == [1]


def test_words_of_a_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COGEN_LAUNCH", "accelerate launch --config_file 'my config.yaml'")
    assert command()[1:] == ["launch", "--config_file", "my config.yaml"]
    assert Path(command()[0]).name == "accelerate"
