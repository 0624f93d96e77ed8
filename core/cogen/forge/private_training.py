"""Training with differential privacy: DP-SGD (Abadi et al. 2016, arXiv:1607.00133) by Opacus, for low-rank modes.

The unit of privacy is one document, cut at ``sequence_length`` tokens: blocks that several documents are packed into
would be no unit that a person is in. Each step takes every document with the same probability (Poisson sampling, as
the accountant assumes), clips each document's gradient to ``max_grad_norm``, and adds Gaussian noise to their sum.
Sampling and noise are seeded by the system's randomness, not by the recipe: who knew the seed could take the noise
off again. So two runs differ.
"""

from __future__ import annotations

import json
import math
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogen.errors import TrainError
from cogen.extras import require
from cogen.files import atomic_write
from cogen.forge.recipe import TrainingRecipe
from cogen.forge.train import trainable
from cogen.privacy.losses import batches
from cogen.spec.data import DifferentialPrivacy
from cogen.spec.sizes import round_up
from cogen.training.trainer import OnStep, StepProgress, quiet_trainer, set_threads


def calibrate(training: TrainingRecipe, documents: int) -> DifferentialPrivacy:
    """The noise that gives the recipe's ε and δ, by Opacus' accountant of privacy loss distributions (PRV).

    :param documents: in the corpus.
    :raises TrainError: bounds that cannot be kept, or mean nothing for so many documents.
    """
    require("privacy", "training with `privacy`")
    from opacus.accountants import PRVAccountant
    from opacus.accountants.utils import get_noise_multiplier

    asked = training.privacy
    assert asked is not None
    batch = _batch(training)
    if batch > documents:
        raise TrainError(
            f"a step reads {batch} documents, and there are only {documents}",
            hint="lower batch_size or gradient_accumulation",
        )
    if asked.delta >= 1 / documents:
        raise TrainError(
            f"delta = {asked.delta:g} allows one of {documents:,} documents to be revealed entirely",
            hint=f"delta must be below {1 / documents:.1g}, one divided by the number of documents",
        )
    accountant = PRVAccountant()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rounding, deep in the convolutions of distributions
        try:
            noise = get_noise_multiplier(
                target_epsilon=asked.epsilon,
                target_delta=asked.delta,
                sample_rate=batch / documents,
                steps=training.steps,
                accountant="prv",
            )
            noise = math.ceil(noise * 1e6) / 1e6  # as the card says it; upwards
            accountant.history = [(noise, batch / documents, training.steps)]
            epsilon = accountant.get_epsilon(delta=asked.delta)
        except (ValueError, RuntimeError, MemoryError) as error:
            raise TrainError(
                f"no noise gives epsilon = {asked.epsilon:g} with delta = {asked.delta:g} in {training.steps:,} steps",
                hint="raise epsilon or delta, or train on fewer tokens",
            ) from error
    return DifferentialPrivacy(
        epsilon=round(float(epsilon), 4),
        delta=asked.delta,
        noise_multiplier=noise,
        max_grad_norm=training.max_grad_norm,
        accountant=(
            f"PRV of Opacus {_version()}; one document of at most {training.sequence_length} tokens, Poisson sampling "
            f"with probability {batch}/{documents}, {training.steps} steps"
        ),
    )


def published(spent: DifferentialPrivacy, training: TrainingRecipe, *, sizes: bool) -> DifferentialPrivacy:
    """What the card says of the privacy that a run had.

    :param spent: of :func:`calibrate`.
    :param sizes: may the number of documents be known? Otherwise all that it follows from is left out: the sampling
        probability, the noise, and the digits of ε. The ε that was asked for holds, too, and is said instead.
    """
    if sizes:
        return spent
    asked = training.privacy
    assert asked is not None
    return DifferentialPrivacy(
        epsilon=round_up(max(asked.epsilon, spent.epsilon)),
        delta=spent.delta,
        noise_multiplier="unknown",
        max_grad_norm=spent.max_grad_norm,
        accountant=(
            f"{spent.accountant.partition(';')[0]}; one document of at most {training.sequence_length} tokens, Poisson "
            f"sampling, {training.steps} steps; its publisher has the probability and the noise"
        ),
    )


def keep_privacy(spent: DifferentialPrivacy, folder: Path) -> None:
    """Write the exact numbers to ``privacy.json``: with them ε can be computed again.

    :param folder: ``private/`` beside the recipe.
    """
    content = json.dumps(spent.model_dump(mode="json"), indent=2) + "\n"
    atomic_write(folder / "privacy.json", content.encode(), 0o600)


def train_private(
    model: Any,
    documents: Sequence[Sequence[int]],
    training: TrainingRecipe,
    run: Path,
    on_step: OnStep,
    home: Path = Path(),
) -> tuple[Any, DifferentialPrivacy]:
    """The trained model and the privacy that its training had; a killed run resumes from its last save in ``run``.

    :param model: any dtype; trained in float32.
    :param documents: token ids of each document, at least two.
    :param home: the recipe's folder.
    :raises TrainError: see :func:`calibrate`.
    """
    import torch
    from transformers import get_scheduler

    spent = calibrate(training, len(documents))
    from opacus.grad_sample import GradSampleModule
    from opacus.optimizers import DPOptimizer

    assert spent.noise_multiplier != "unknown"
    set_threads(training.threads)
    torch.manual_seed(training.seed)
    model.config.use_cache = False
    with quiet_trainer():
        model = trainable(model.float(), training, home).train()
    # Sums of the documents' losses, divided by the expected number of them: the real one is not for others to know.
    wrapped = GradSampleModule(model, batch_first=True, loss_reduction="sum")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    inner = torch.optim.AdamW(trained, lr=training.learning_rate, weight_decay=training.weight_decay)
    random = torch.Generator().manual_seed(int.from_bytes(os.urandom(8)))
    optimizer = DPOptimizer(
        inner,
        noise_multiplier=spent.noise_multiplier,
        max_grad_norm=training.max_grad_norm,
        expected_batch_size=_batch(training),
        generator=random,
        secure_mode=True,
    )
    schedule = get_scheduler(training.schedule, inner, round(training.warmup * training.steps), training.steps)
    first = _resume(run, trained, inner, schedule)
    cut = [list(ids[: training.sequence_length]) for ids in documents]
    began, read = time.monotonic(), 0
    for step in range(first, training.steps):
        chosen = (torch.rand(len(cut), generator=random) < _batch(training) / len(cut)).nonzero().flatten().tolist()
        loss = _step(wrapped, optimizer, [cut[index] for index in chosen])
        schedule.step()
        read += sum(len(cut[index]) for index in chosen)
        if (step + 1) % training.save_every == 0:
            _save(run, step + 1, trained, inner, schedule)
        seconds = time.monotonic() - began
        left = seconds / (step + 1 - first) * (training.steps - step - 1)
        on_step(StepProgress(step + 1, training.steps, loss, read / max(seconds, 1e-9), left))
    model = wrapped.to_standard_module()
    model.config.use_cache = True
    return model.eval(), spent


def expected_tokens(documents: Sequence[Sequence[int]], training: TrainingRecipe) -> int:
    """Tokens that such a run reads on average."""
    mean = sum(min(len(ids), training.sequence_length) for ids in documents) / len(documents)
    return round(mean * _batch(training) * training.steps)


def _batch(training: TrainingRecipe) -> int:
    """Documents that a step reads on average."""
    return training.batch_size * training.gradient_accumulation


def _step(model: Any, optimizer: Any, documents: Sequence[Sequence[int]]) -> float:
    """One optimizer step over one Poisson sample, in as many passes as memory needs; the mean loss of its documents."""
    total = 0.0
    parts = list(batches([len(ids) for ids in documents]))
    if not parts:  # nothing was drawn: the step is noise alone, or its absence would tell
        for parameter in optimizer.params:
            parameter.grad_sample = parameter.new_zeros((0, *parameter.shape))
        optimizer.step()
    for number, part in enumerate(parts, 1):
        losses = _losses(model, [documents[index] for index in part])
        with warnings.catch_warnings():
            # The base is frozen, so the first layers get no gradient for their inputs; theirs is not asked for.
            warnings.filterwarnings("ignore", message="Full backward hook is firing")
            losses.sum().backward()
        total += float(losses.detach().sum())
        optimizer.signal_skip_step(do_skip=number < len(parts))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    optimizer.zero_grad(set_to_none=True)
    return total / max(1, len(documents))


def _losses(model: Any, documents: Sequence[Sequence[int]]) -> Any:
    """Mean cross-entropy of each document in nats a token, shape (documents,)."""
    import torch

    width = max(map(len, documents))
    ids = torch.zeros((len(documents), width), dtype=torch.int64)
    mask, after = torch.zeros_like(ids), torch.full_like(ids, -100)
    for row, document in enumerate(documents):
        ids[row, : len(document)] = torch.tensor(document)
        mask[row, : len(document)] = 1
        after[row, : len(document) - 1] = ids[row, 1 : len(document)]
    logits = model(input_ids=ids, attention_mask=mask, use_cache=False).logits
    losses = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), after.flatten(), reduction="none")
    return losses.view_as(after).sum(dim=1) / (mask.sum(dim=1) - 1).clamp(min=1)


def _state(run: Path) -> Path:
    return run / "private.pt"


def _save(run: Path, step: int, trained: Sequence[Any], optimizer: Any, schedule: Any) -> None:
    """Everything but the state of the noise: a resumed run draws new noise, which is as private."""
    import torch

    run.mkdir(parents=True, exist_ok=True)
    half = _state(run).with_suffix(".half")
    weights = [parameter.detach() for parameter in trained]
    state = {"step": step, "weights": weights, "optimizer": optimizer.state_dict(), "schedule": schedule.state_dict()}
    torch.save(state, half)
    half.replace(_state(run))


def _resume(run: Path, trained: Sequence[Any], optimizer: Any, schedule: Any) -> int:
    """The steps that are done already."""
    import torch

    if not _state(run).is_file():
        return 0
    state = torch.load(_state(run), weights_only=True)
    with torch.no_grad():
        for parameter, value in zip(trained, state["weights"], strict=True):
            parameter.copy_(value)
    optimizer.load_state_dict(state["optimizer"])
    schedule.load_state_dict(state["schedule"])
    return int(state["step"])


def _version() -> str:
    from importlib.metadata import version

    return version("opacus")
