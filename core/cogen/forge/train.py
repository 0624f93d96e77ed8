"""Continual pre-training of a base on a domain corpus: transformers' Trainer and peft do the work."""

from __future__ import annotations

import contextlib
import json
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.gguf import quiet_transformers
from cogen.errors import TrainError
from cogen.forge.recipe import Training

if TYPE_CHECKING:
    import torch

    from cogen.forge.start import Start

#: Feed-forward projections by the names that transformers' dense architectures use.
FFN_MODULES = (
    "gate_proj",
    "up_proj",
    "down_proj",
    "fc1",
    "fc2",
    "c_fc",
    "dense_h_to_4h",
    "dense_4h_to_h",
    "gate_up_proj",
    "wi",
    "wo",
)


@dataclass(frozen=True)
class Progress:
    """One optimiser step: loss, tokens a second, seconds left.

    The loss is the cross-entropy in nats a token; in mode anchored the router's is added.
    """

    step: int
    steps: int
    loss: float
    tokens_per_second: float
    seconds_left: float


Report = Callable[[Progress], None]


def trainable(model: Any, training: Training) -> Any:
    """The model with only the mode's weights trainable.

    full: everything. lora: LoRA on every linear layer but the head. ffn: LoRA on the feed-forward
    layers alone, everything else frozen — what stacking experts into a sparse model needs. anchored: as ffn;
    :func:`cogen.forge.pair.pair_up` adds the router rows.
    """
    if training.mode == "full":
        return model.requires_grad_(True)
    from peft import LoraConfig, get_peft_model

    targets: str | list[str] = "all-linear"
    if training.mode in ("ffn", "anchored"):
        leaves = {name.rsplit(".", 1)[-1] for name, _ in model.named_modules()}
        targets = sorted(leaves & set(FFN_MODULES))
        if not targets:
            raise TrainError(
                f"{type(model).__name__} has no feed-forward layers that mode '{training.mode}' knows",
                hint="use mode 'lora' for this base",
            )
    config = LoraConfig(
        r=training.rank, lora_alpha=training.alpha, lora_dropout=training.dropout, target_modules=targets,
        bias="none", task_type="CAUSAL_LM",
    )  # fmt: skip
    return get_peft_model(model, config)


def train(
    model: Any, blocks: torch.Tensor, training: Training, run: Path, report: Report, start: Start | None = None
) -> Any:
    """Train in ``run`` (checkpoints live there; a killed run resumes from the last) and return the model.

    :param model: a model in float32 or bfloat16; in bfloat16 frozen weights stay so, trained ones are float32.
    :param blocks: token ids, shape (steps · batch · accumulation, sequence_length).
    :param start: in mode anchored, what its router begins with; the model that is returned then holds the rows too.
    """
    import torch
    from transformers import Trainer, TrainerCallback, TrainingArguments, default_data_collator

    threads(training.threads)
    torch.manual_seed(training.seed)
    model.config.use_cache = False
    with quiet_trainer():
        model = trainable(model, training)
    if start is not None:
        from cogen.forge.pair import pair_up

        model = pair_up(model, start.rows, start.scale)

    class Talker(TrainerCallback):  # type: ignore[misc]
        began = 0.0
        first = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began, self.first = time.monotonic(), state.global_step

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs and state.global_step > self.first:
                speed = (state.global_step - self.first) / (time.monotonic() - self.began)
                left = (state.max_steps - state.global_step) / speed
                report(Progress(state.global_step, state.max_steps, logs["loss"], speed * training.tokens_a_step, left))

    arguments = TrainingArguments(
        output_dir=str(run),
        max_steps=training.steps,
        per_device_train_batch_size=training.batch_size,
        gradient_accumulation_steps=training.gradient_accumulation,
        learning_rate=training.learning_rate,
        lr_scheduler_type=training.schedule,
        warmup_steps=round(training.warmup * training.steps),
        weight_decay=training.weight_decay,
        max_grad_norm=training.max_grad_norm,
        optim="adamw_torch",
        seed=training.seed,
        data_seed=training.seed,
        use_cpu=not torch.cuda.is_available(),
        bf16=not torch.cuda.is_available() or torch.cuda.is_bf16_supported(),
        logging_steps=1,
        save_steps=training.save_every,
        save_total_limit=2,
        save_strategy="steps",
        report_to=[],
        disable_tqdm=True,
        dataloader_num_workers=0,
        # The blocks are already in their final order: keep it, so that the data order is the recipe's alone.
        train_sampling_strategy="sequential",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    data = [{"input_ids": block, "labels": block} for block in blocks]
    kind: Any = Trainer
    if start is not None:
        from cogen.forge.anchored import AnchoredTrainer

        kind = partial(AnchoredTrainer, recipe=training)
        for index, item in enumerate(data):
            item["general"] = start.general[index // training.batch_size]
    with quiet_trainer():
        trainer = kind(
            model=model, args=arguments, train_dataset=data, data_collator=default_data_collator, callbacks=[Talker()]
        )
        trainer.train(resume_from_checkpoint=_last_checkpoint(run))
    model.config.use_cache = True
    return model.eval()


def _last_checkpoint(run: Path) -> str | None:
    """The newest checkpoint that is whole; the Trainer writes trainer_state.json last, so a killed save lacks it."""
    for folder in sorted(run.glob("checkpoint-*"), key=lambda path: -int(path.name.rpartition("-")[2])):
        with contextlib.suppress(OSError, ValueError):
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
            return str(folder)
    return None


def threads(count: int) -> int:
    """Set torch's CPU threads (0: leave them) and return how many there are."""
    import torch

    if count:
        torch.set_num_threads(count)
    return torch.get_num_threads()


@contextlib.contextmanager
def quiet_trainer() -> Iterator[None]:
    """Only our own progress, no advice and no console tables of the Trainer."""
    from transformers.trainer_callback import PrinterCallback

    told = PrinterCallback.on_log
    PrinterCallback.on_log = lambda *_, **__: None
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    try:
        with quiet_transformers(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        PrinterCallback.on_log = told
