"""Training of the student: transformers' Trainer with distillation losses.

The loss of a step is

    language model's / its tokens  +  strength · Σ weight · scale · distillation / its chunks

where ``scale`` makes one distillation loss move the model as much as the language model's loss does (:mod:`.balance`):
losses have units of their own, and with a fixed factor one of the two does nothing (ALM, arXiv:2503.20083, table 5).
This module imports torch and transformers' Trainer; import it where a model is trained.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer, TrainingArguments

from cogen.errors import failure
from cogen.fusion.distill.losses.balance import Balance
from cogen.fusion.distill.losses.foreign import ForeignLoss
from cogen.fusion.distill.losses.gradient_norms import GradientNorms
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch, Loss
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.corpus import Batches
from cogen.host.foreign import plugin_error
from cogen.training.adapters import trainable
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
from cogen.untrusted.border import passes

_STATE = "balance.json"


@dataclass(frozen=True)
class LossTerm:
    """One loss of one teacher: ``teacher`` is its place in the batches' pairs."""

    loss: Loss
    teacher: int
    weight: float = 1.0


class StudentTrainer(Trainer):
    """A batch of the dataset is one item; see :class:`Batches`."""

    def __init__(self, *, terms: Sequence[LossTerm], settings: Distillation, vocabulary: int, **options: Any) -> None:
        self.terms, self.settings, self.vocabulary = terms, settings, vocabulary
        self.language = LanguageModel()
        self.balance = Balance(len(terms))
        super().__init__(**options)
        # Sums are divided by what all micro-batches of a step hold, see get_batch_samples.
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of a step, and how many tokens and chunks they hold on all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        counts = torch.zeros(1 + len(self.terms), dtype=torch.float64, device=device)
        for sample in samples:
            counts[0] += (sample["targets"] != -100).sum()
            for number, term in enumerate(self.terms, 1):
                counts[number] += sample["pairs"][term.teacher]["start"].shape[0]
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
        batches = [DistillBatch(targets=targets, **found) for found in inputs["pairs"]]
        pairs = [(self.language, DistillBatch.alone(targets)), *((x.loss, batches[x.teacher]) for x in self.terms)]
        norms = GradientNorms(len(pairs))
        found = read_logits(logits, pairs, vocabulary=self.vocabulary, norms=norms)
        counts = (
            num_items_in_batch
            if num_items_in_batch is not None
            else [max(1, int((targets != -100).sum())), *(batches[term.teacher].chunks for term in self.terms)]
        )
        nothing = logits.new_zeros(())
        (own, _), *others = [loss.total(seen, batch) for (loss, batch), seen in zip(pairs, found, strict=True)]
        totals = [own, *(total if count else nothing for total, count in others)]
        means = [total / max(1.0, float(count)) for total, count in zip(totals, counts, strict=True)]
        scales = self.balance.scales(logits, means, norms, training=model.training) if self.terms else []
        weights = [term.weight for term in self.terms]
        all_weights = sum(weights) or 1.0
        loss = means[0]
        for mean, weight, scale in zip(means[1:], weights, scales, strict=True):
            loss = loss + self.settings.strength * weight / all_weights * scale * mean
        loss = loss * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss

    def training_step(self, *arguments: Any, **options: Any) -> torch.Tensor:
        """One micro-batch, forward and backward, and what the balance learns on the way back."""
        try:
            loss = super().training_step(*arguments, **options)
        except Exception as error:
            if (blamed := self._blamed(error)) is None:
                raise
            raise blamed from error
        self.balance.settle()
        return loss

    def _blamed(self, error: Exception) -> Exception | None:
        """The error of a step in whose way back losses of plugins took part, as theirs; ``None``: it is not theirs."""
        foreign = [term.loss for term in self.terms if isinstance(term.loss, ForeignLoss)]
        if not foreign or passes(error) or isinstance(error, torch.OutOfMemoryError):
            return None
        names = ", ".join(sorted({loss.what for loss in foreign}))
        return plugin_error(foreign[0].target, f"a step with {names} failed: {failure(error)}")

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.args.should_save:  # before the rest: the Trainer's last file marks the checkpoint as whole
            folder = Path(str(self.args.output_dir)) / f"checkpoint-{self.state.global_step}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / _STATE).write_text(json.dumps(self.balance.state()))
        super()._save_checkpoint(model, trial)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        self.balance.load(json.loads((Path(resume_from_checkpoint) / _STATE).read_text()))


def train_student(
    model: Any,
    batches: Batches,
    terms: Sequence[LossTerm],
    settings: Distillation,
    run: Path,
    on_step: OnStep,
    vocabulary: int,
) -> Any:
    """Train in ``run``, where a killed run left its checkpoints, and return the model.

    :param model: the student, in float32 or bfloat16; in bfloat16 frozen weights stay so, trained ones are float32.
    :param terms: empty: the plain language-model loss, which is the control.
    :param vocabulary: of the student's tokenizer; columns of its logits beyond are padding.
    """
    return run_trainer(student_trainer(terms, settings, vocabulary), model, batches, settings, run, on_step)


def student_trainer(terms: Sequence[LossTerm], settings: Distillation, vocabulary: int) -> Any:
    """Options of the Trainer → Trainer."""
    return functools.partial(StudentTrainer, terms=terms, settings=settings, vocabulary=vocabulary)


def run_trainer(make: Any, model: Any, batches: Any, settings: Distillation, run: Path, on_step: OnStep) -> Any:
    """Train with the Trainer that ``make`` makes, whose dataset gives whole batches, and return the model.

    :param batches: a dataset with ``learned`` tokens in all.
    """
    model = finish_training(make, model, batches, settings, run, on_step).model
    model.config.use_cache = True
    return model.eval()


def finish_training(make: Any, model: Any, batches: Any, settings: Distillation, run: Path, on_step: OnStep) -> Any:
    """The Trainer after its run, in one process or in each of several that a launcher started.

    A step has the same batches with any number of processes.

    :raises UsageError: the micro-batches of a step can't be shared out evenly.
    """
    accumulation = share_out(settings.accumulation, "distill.accumulation")
    set_threads(settings.threads)
    torch.manual_seed(settings.seed)
    model.config.use_cache = False
    with quiet_trainer():
        model = trainable(model, settings.mode, settings.rank, settings.alpha)
        steps = -(-len(batches) // settings.accumulation)
        arguments = one_gpu(
            TrainingArguments(
                output_dir=str(run),
                max_steps=steps,
                per_device_train_batch_size=1,
                gradient_accumulation_steps=accumulation,
                learning_rate=settings.learning_rate,
                lr_scheduler_type=settings.schedule,
                warmup_steps=round(settings.warmup * steps),
                weight_decay=settings.weight_decay,
                max_grad_norm=settings.max_grad_norm,
                seed=settings.seed,
                data_seed=settings.seed,
                save_steps=settings.save_every,
                ddp_find_unused_parameters=False,
                **common_arguments(),
            )
        )
        trainer = in_order(
            make(
                model=model,
                args=arguments,
                train_dataset=batches,
                data_collator=lambda items: items[0],
                callbacks=[step_callback(on_step, batches.learned / steps)],
            )
        )
        trainer.train(resume_from_checkpoint=last_checkpoint(run))
    return trainer
