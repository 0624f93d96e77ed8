"""Preference optimisation on transformers' Trainer. Imports torch; import it where a model is trained."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.preference.loss import Rule, fuse_references, preference_loss
from cogen.fusion.distill.student.preference.pairs import PreferenceBatches
from cogen.fusion.distill.student.trainer import run_trainer
from cogen.training.trainer import OnStep


class PreferenceTrainer(Trainer):
    """A batch of the dataset is one item; see :class:`PreferenceBatches`."""

    def __init__(self, *, beta: float, rule: Rule, vocabulary: int, **options: Any) -> None:
        self.beta, self.rule, self.vocabulary = beta, rule, vocabulary
        super().__init__(**options)
        self.model_accepts_loss_kwargs = True
        self.loss_is_scaled_for_ga = True

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], Any]:
        """The micro-batches of a step, and how many pairs they hold on all processes."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        count = torch.tensor(float(sum(len(s["scores_better"]) for s in samples)), device=device)
        if self.accelerator.num_processes > 1:
            count = self.accelerator.reduce(count, "sum")
        return samples, count

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The mean over all pairs of a step."""
        targets = inputs["targets"]
        output = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"], use_cache=False)
        means = mean_logprobs(output.logits, targets, self.vocabulary)
        n = len(means) // 2
        better, worse = (
            fuse_references(inputs[name][:, :-1], inputs[name][:, -1], better=name == "scores_better", rule=self.rule)
            for name in ("scores_better", "scores_worse")
        )
        losses = preference_loss(means[:n], means[n:], better, worse, self.beta)
        count = n if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / count * self.accelerator.num_processes
        return (loss, output) if return_outputs else loss


def mean_logprobs(logits: torch.Tensor, targets: torch.Tensor, vocabulary: int) -> torch.Tensor:
    """Mean log-probability of each text's learned tokens, shape (B,).

    :param logits: shape (B, T, V); ``targets``: shape (B, T), -100 where nothing is learned.
    """
    flat = targets.reshape(-1)
    language, own = LanguageModel(), DistillBatch.alone(flat)
    (seen,) = read_logits(logits.reshape(len(flat), -1), [(language, own)], vocabulary=vocabulary)
    text = torch.arange(len(targets), device=flat.device).repeat_interleave(targets.shape[1])[language.rows(own)]
    sums = seen.lse.new_zeros(len(targets)).index_add(0, text, seen.logprobs[:, 0])
    return sums / (targets != -100).sum(1).clamp(min=1)


def train_preference(
    model: Any,
    batches: PreferenceBatches,
    settings: Distillation,
    run: Path,
    on_step: OnStep,
    vocabulary: int,
    *,
    beta: float = 2.5,
    rule: Rule = "margin",
) -> Any:
    """Train in ``run``, where a killed run left its checkpoints, and return the model.

    :param beta: 2.5 is the authors' for normalised lengths.
    """
    make = functools.partial(PreferenceTrainer, beta=beta, rule=rule, vocabulary=vocabulary)
    return run_trainer(make, model, batches, settings, run, on_step)
