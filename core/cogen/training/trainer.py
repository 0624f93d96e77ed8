"""How transformers' Trainer is used here, for experts and for distillation alike."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.gguf import quiet_transformers
from cogen.devices import CPU, device, threads


@dataclass(frozen=True)
class StepProgress:
    """One optimiser step: loss, tokens a second, seconds left.

    The loss is the cross-entropy in nats a token; what else is learned from (the router's in mode anchored, a
    distillation loss) is added.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


#: Called after every optimiser step.
OnStep = Callable[[StepProgress], None]


def step_callback(on_step: OnStep, tokens_a_step: float) -> Any:
    """A callback of the Trainer that reports each logged step of this process."""
    from transformers import TrainerCallback

    class StepCallback(TrainerCallback):
        began = 0.0
        first = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began, self.first = time.monotonic(), state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs and state.global_step > self.first:
                speed = (state.global_step - self.first) / (time.monotonic() - self.began)
                left = (state.max_steps - state.global_step) / speed
                on_step(StepProgress(state.global_step, state.max_steps, logs["loss"], speed * tokens_a_step, left))

    return StepCallback()


def common_arguments() -> dict[str, Any]:
    """Arguments of the Trainer that every training has: arithmetic, and nothing that prints or reorders."""
    import torch

    place = device()
    return {
        "optim": "adamw_torch",
        "use_cpu": place == CPU,
        "bf16": place == CPU or (place.startswith("cuda") and torch.cuda.is_bf16_supported()),
        "logging_steps": 1,
        "save_total_limit": 2,
        "save_strategy": "steps",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_num_workers": 0,
        "remove_unused_columns": False,
        "dataloader_pin_memory": False,
    }


def in_order(trainer: Any) -> Any:
    """The trainer, which then reads its data in the order that they have: that is the recipe's alone.

    transformers 5.24 has an argument ``train_sampling_strategy`` for it, earlier versions have not.
    """
    from torch.utils.data import SequentialSampler

    trainer._get_train_sampler = lambda dataset=None: SequentialSampler(
        trainer.train_dataset if dataset is None else dataset
    )
    return trainer


def one_gpu(arguments: Any) -> Any:
    """Trainer's arguments such that a process trains on the one GPU that was chosen.

    transformers would take ``cuda:0``, and all others beside it by ``nn.DataParallel``. With a launcher every process
    has its own GPU already.
    """
    import torch

    place = device()
    if place.startswith("cuda") and "WORLD_SIZE" not in os.environ:
        torch.cuda.set_device(place)
        vars(arguments)["_setup_devices"] = torch.device(place)
        arguments._n_gpu = 1
    return arguments


def last_checkpoint(run: Path) -> str | None:
    """The newest checkpoint that is whole; the Trainer writes trainer_state.json last, so a killed save lacks it."""
    for folder in sorted(run.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2])):
        with contextlib.suppress(OSError, ValueError):
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            return str(folder)
    return None


def set_threads(count: int) -> int:
    """Set torch's CPU threads (0: leave them) and return how many there are; --threads has the last word."""
    import torch

    if chosen := threads() or count:
        torch.set_num_threads(chosen)
    return torch.get_num_threads()


@contextlib.contextmanager
def quiet_trainer() -> Iterator[None]:
    """Silence the Trainer's advice and console tables."""
    from transformers.trainer_callback import PrinterCallback

    on_log = PrinterCallback.on_log
    setattr(PrinterCallback, "on_log", lambda *_, **__: None)  # noqa: B010 (a method of another's class)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        setattr(PrinterCallback, "on_log", on_log)  # noqa: B010
