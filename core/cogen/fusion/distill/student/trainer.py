"""The run that teaches: transformers' Trainer with a loss that listens to teachers.

The loss of a step is

    language model's / its tokens  +  strength · Σ weight · scale · distillation / its chunks

where ``scale`` makes one distillation loss move the model as much as the language model's loss does (:mod:`.balance`):
losses have units of their own, and with a fixed factor one of the two does nothing (ALM, arXiv:2503.20083, table 5).
This module imports torch and transformers' Trainer; import it where a model is trained.
"""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from cogen.errors import UsageError
from cogen.fusion.distill.losses.balance import Balance
from cogen.fusion.distill.losses.gradient_norms import Look
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch, Loss
from cogen.fusion.distill.losses.rows import measured
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.corpus import Batches
from cogen.training.adapters import trainable
from cogen.training.trainer import Report, common_arguments, last_checkpoint, quiet_trainer, talker, threads

_STATE = "balance.json"


@dataclass(frozen=True)
class LossTerm:
    """One loss that listens to one teacher: ``teacher`` is its place in the batches' pairs."""

    loss: Loss
    teacher: int
    weight: float = 1.0


class StudentTrainer(Trainer):  # type: ignore[misc]
    """A batch of the dataset is one item; see :class:`Batches`."""

    def __init__(self, *, lessons: Sequence[LossTerm], wish: Distillation, vocabulary: int, **options: Any) -> None:
        self.lessons, self.wish, self.vocabulary = lessons, wish, vocabulary
        self.language = LanguageModel()
        self.balance = Balance(len(lessons))
        super().__init__(**options)
        # Sums are divided by what all micro-batches of a step hold, see get_batch_samples.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of a step, and how many tokens and chunks they hold on all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(1 + len(self.lessons), dtype=torch.float64, device=device)
        for sample in samples:
            counts[0] += (sample["targets"] != -100).sum()
            for number, lesson in enumerate(self.lessons, 1):
                counts[number] += sample["pairs"][lesson.teacher]["start"].shape[0]
        if self.accelerator.num_processes > 1:
            counts = self.accelerator.reduce(counts, "sum")
        return samples, counts

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The balanced sum; gradients of all processes are averaged, so it is multiplied by their number."""
        targets = inputs["targets"].reshape(-1)
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        logits = output.logits.reshape(len(targets), -1)
        pairs = [DistillBatch(targets=targets, **found) for found in inputs["pairs"]]
        asked = [(self.language, DistillBatch.alone(targets)), *((x.loss, pairs[x.teacher]) for x in self.lessons)]
        look = Look(len(asked))
        found = measured(logits, asked, vocabulary=self.vocabulary, look=look)
        counts = (
            num_items_in_batch
            if num_items_in_batch is not None
            else [max(1, int((targets != -100).sum())), *(pairs[lesson.teacher].chunks for lesson in self.lessons)]
        )
        nothing = logits.new_zeros(())
        (own, _), *others = [loss.total(seen, beside) for (loss, beside), seen in zip(asked, found, strict=True)]
        totals = [own, *(total if count else nothing for total, count in others)]
        means = [total / max(1.0, float(count)) for total, count in zip(totals, counts, strict=True)]
        scales = self.balance.scales(logits, means, look, training=self.model.training) if self.lessons else []
        weights = [lesson.weight for lesson in self.lessons]
        all_weights = sum(weights) or 1.0
        loss = means[0]
        for mean, weight, scale in zip(means[1:], weights, scales, strict=True):
            loss = loss + self.wish.strength * weight / all_weights * scale * mean
        loss = loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """One micro-batch, forward and backward, and what the balance learns on the way back."""
        loss = super().training_step(*arguments, **options)
        self.balance.settle()
        return loss

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.args.should_save:  # before the rest: what the Trainer writes last says that all is there
            folder = Path(self.args.output_dir) / f"checkpoint-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _STATE).write_text(json.dumps(self.balance.state()))
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.balance.load(json.loads((Path(resume_from_checkpoint) / _STATE).read_text()))


def teach(
    model: Any,
    batches: Batches,
    lessons: Sequence[LossTerm],
    wish: Distillation,
    run: Path,
    report: Report,
    vocabulary: int,
) -> Any:
    """Train in ``run``, where a killed run left its checkpoints, and return the model.

    :param model: the pivot, in float32 or bfloat16; in bfloat16 frozen weights stay so, trained ones are float32.
    :param lessons: empty: the plain language-model loss, which is the control.
    :param vocabulary: of the pivot's tokenizer; columns of its logits beyond are padding.
    """
    return run_trainer(student_trainer(lessons, wish, vocabulary), model, batches, wish, run, report)


def student_trainer(lessons: Sequence[LossTerm], wish: Distillation, vocabulary: int) -> Any:
    """Options of the Trainer → Trainer."""
    return functools.partial(StudentTrainer, lessons=lessons, wish=wish, vocabulary=vocabulary)


def run_trainer(make: Any, model: Any, batches: Any, wish: Distillation, run: Path, report: Report) -> Any:
    """Train with the Trainer that ``make`` makes, whose dataset gives whole batches, and return the model.

    :param batches: a dataset with ``learned`` tokens in all.
    """
    model = cached_training(make, model, batches, wish, run, report).model
    model.config.use_cache = True
    return model.eval()


def cached_training(make: Any, model: Any, batches: Any, wish: Distillation, run: Path, report: Report) -> Any:
    """The Trainer after its run, in one process or in each of several that a launcher started.

    A step has the same batches with any number of processes.

    :raises UsageError: the micro-batches of a step can't be shared out evenly.
    """
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if wish.accumulation % processes:
        raise UsageError(
            f"{processes} processes can't share the {wish.accumulation} batches of a step evenly",
            hint=f"distill.accumulation = {-(-wish.accumulation // processes) * processes}",
        )
    threads(wish.threads)
    torch.manual_seed(wish.seed)
    model.config.use_cache = False
    with quiet_trainer():
        model = trainable(model, wish.mode, wish.rank, wish.alpha)
        steps = -(-len(batches) // wish.accumulation)
        arguments = TrainingArguments(
            output_dir=str(run),
            max_steps=steps,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=wish.accumulation // processes,
            learning_rate=wish.learning_rate,
            lr_scheduler_type=wish.schedule,
            warmup_steps=round(wish.warmup * steps),
            weight_decay=wish.weight_decay,
            max_grad_norm=wish.max_grad_norm,
            seed=wish.seed,
            data_seed=wish.seed,
            save_steps=wish.save_every,
            ddp_find_unused_parameters=False,
            **common_arguments(),
        )
        trainer = make(
            model=model,
            args=arguments,
            train_dataset=batches,
            data_collator=lambda items: items[0],
            callbacks=[talker(report, batches.learned / steps)],
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(run))
    return trainer
