"""Training a base on a domain corpus or on conversations: transformers' Trainer and peft do the work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.choices import check_choice
from cogen.errors import UsageError
from cogen.forge.blocks import Blocks
from cogen.forge.recipe import TrainingRecipe
from cogen.training import adapters
from cogen.training.launch import share_out
from cogen.training.trainer import (
    OnStep,
    common_arguments,
    in_order,
    last_checkpoint,
    one_gpu,
    quiet_trainer,
    set_threads,
    step_callback,
)

if TYPE_CHECKING:
    import torch

    from cogen.forge.router_init import Start


def trainable(model: Any, training: TrainingRecipe, home: Path = Path()) -> Any:
    """The model with only the weights trainable that the recipe's mode changes.

    :param home: what ``training.start`` is relative to.
    :raises TrainError: that is not an adapter of this mode and base.
    """
    model = adapters.trainable(model, training.mode, training.rank, training.alpha, training.dropout)
    if training.start is not None:
        adapters.go_on_from(model, home / training.start, training.alpha)
    return model


@dataclass(frozen=True)
class Tracking:
    """What watches a training and changes nothing of it.

    :param report_to: trackers by transformers' names, such as wandb, trackio, tensorboard, mlflow.
    :param run_name: what the trackers call the run.
    :param callbacks: ``transformers.TrainerCallback`` objects or classes.
    """

    report_to: tuple[str, ...] = ()
    run_name: str | None = None
    callbacks: tuple[Any, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.report_to or self.callbacks)


UNTRACKED = Tracking()


def check_trackers(names: Sequence[str]) -> None:
    """:raises UsageError: transformers does not know one of them, or it is not installed."""
    if not names:
        return
    from transformers import integrations as untyped

    integrations: Any = untyped
    known = sorted({*integrations.integration_utils.INTEGRATION_TO_CALLBACK, "all", "none"})
    installed = integrations.get_available_reporting_integrations()
    for name in names:
        check_choice("tracker", name, known)
        if name not in (*installed, "all", "none"):
            raise UsageError(f"the tracker {name} is not installed", hint=f"pip install {name}, or leave it out")


def train(
    model: Any,
    blocks: Blocks | torch.Tensor,
    training: TrainingRecipe,
    run: Path,
    on_step: OnStep,
    start: Start | None = None,
    home: Path = Path(),
    tracking: Tracking = UNTRACKED,
) -> Any:
    """Train in ``run`` (checkpoints live there; a killed run resumes from the last) and return the model.

    :param model: a model in float32 or bfloat16; in bfloat16 frozen weights stay so, trained ones are float32.
    :param blocks: token ids, shape (steps · batch · accumulation, sequence_length), or these with their labels.
    :param start: in mode anchored, what its router begins with; the model that is returned then holds the rows too.
    :param home: the recipe's folder.
    """
    trainer = finish_training(model, blocks, training, run, on_step, start, home, tracking)
    trainer.model.config.use_cache = True
    return trainer.model.eval()


def finish_training(
    model: Any,
    blocks: Blocks | torch.Tensor,
    training: TrainingRecipe,
    run: Path,
    on_step: OnStep,
    start: Start | None = None,
    home: Path = Path(),
    tracking: Tracking = UNTRACKED,
) -> Any:
    """The Trainer after its run, in one process or in each of several that a launcher started; see :func:`train`.

    :raises UsageError: the micro-batches of a step can't be shared out evenly.
    """
    import torch
    from transformers import Trainer, TrainingArguments, default_data_collator

    accumulation = share_out(training.gradient_accumulation, "training.gradient_accumulation")
    set_threads(training.threads)
    torch.manual_seed(training.seed)
    model.config.use_cache = False
    with quiet_trainer():
        model = trainable(model, training, home)
    if start is not None:
        from cogen.forge.anchored_block import pair_up

        model = pair_up(model, start.rows, start.scale)

    arguments = one_gpu(
        TrainingArguments(
            output_dir=str(run),
            max_steps=training.steps,
            per_device_train_batch_size=training.batch_size,
            gradient_accumulation_steps=accumulation,
            learning_rate=training.learning_rate,
            lr_scheduler_type=training.schedule,
            warmup_steps=round(training.warmup * training.steps),
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed,
            data_seed=training.seed,
            save_steps=training.save_every,
            **common_arguments() | _tracked(tracking),
        )
    )
    read = blocks if isinstance(blocks, Blocks) else Blocks(blocks)
    data = read.rows()
    kind: Any = Trainer
    if start is not None:
        from cogen.forge.anchored import AnchoredTrainer

        kind = partial(AnchoredTrainer, recipe=training)
        for index, item in enumerate(data):
            item["general"] = start.general[index // training.batch_size]
            if read.rehearsed is not None:
                item["rehearsed"] = read.rehearsed[index]
    with quiet_trainer():
        trainer = in_order(
            kind(
                model=model,
                args=arguments,
                train_dataset=data,
                data_collator=default_data_collator,
                callbacks=[step_callback(on_step, training.tokens_a_step), *tracking.callbacks],
            )
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(run))
    return trainer


def _tracked(tracking: Tracking) -> dict[str, Any]:
    found: dict[str, Any] = {"report_to": list(tracking.report_to)}
    return found | ({"run_name": tracking.run_name} if tracking.run_name else {})
