"""Training a base on a domain corpus or on conversations: transformers' Trainer and peft do the work."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.forge.blocks import Blocks
from cogen.forge.recipe import TrainingRecipe
from cogen.training import adapters
from cogen.training.trainer import (
    OnStep,
    common_arguments,
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


def train(
    model: Any,
    blocks: Blocks | torch.Tensor,
    training: TrainingRecipe,
    run: Path,
    on_step: OnStep,
    start: Start | None = None,
    home: Path = Path(),
) -> Any:
    """Train in ``run`` (checkpoints live there; a killed run resumes from the last) and return the model.

    :param model: a model in float32 or bfloat16; in bfloat16 frozen weights stay so, trained ones are float32.
    :param blocks: token ids, shape (steps · batch · accumulation, sequence_length), or these with their labels.
    :param start: in mode anchored, what its router begins with; the model that is returned then holds the rows too.
    :param home: the recipe's folder.
    """
    import torch
    from transformers import Trainer, TrainingArguments, default_data_collator

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
            gradient_accumulation_steps=training.gradient_accumulation,
            learning_rate=training.learning_rate,
            lr_scheduler_type=training.schedule,
            warmup_steps=round(training.warmup * training.steps),
            weight_decay=training.weight_decay,
            max_grad_norm=training.max_grad_norm,
            seed=training.seed,
            data_seed=training.seed,
            save_steps=training.save_every,
            **common_arguments(),
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
        trainer = kind(
            model=model,
            args=arguments,
            train_dataset=data,
            data_collator=default_data_collator,
            callbacks=[step_callback(on_step, training.tokens_a_step)],
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(run))
    model.config.use_cache = True
    return model.eval()
