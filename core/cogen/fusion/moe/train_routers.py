"""Routing "trained": a short calibration in which nothing but the routers learns.

It starts from the discriminant rows. Each step reads one window of every expert's samples and one of the general text,
and makes the mixture predict as the text's own expert does: the loss is the divergence KL(expert ‖ mixture) of the next
token's distributions. The teacher costs no second model: a mixture whose routers all choose one slot *is* that expert.
A whole distribution a token says far more than the token alone, so a few dozen steps are enough. A small load-balancing
loss (Switch Transformers, arXiv:2101.03961) keeps every expert in use. All experts are seen together, so these routers
belong to just this set: with another set they are trained again.

What is taken is the mean of the second half of the steps (Polyak averaging): a step sees a few hundred tokens, and the
mean is steadier than any single one.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.cache import cached, scratch
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.devices import mark
from cogen.evals import calibration_texts
from cogen.files import atomic_folder
from cogen.fusion.merge.inputs import calibration_of
from cogen.fusion.moe.write import write_mixture
from cogen.reporter import SILENT, Reporter
from cogen.routing.rows import step_sizes
from cogen.routing.states import windows
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails
    from cogen.fusion.merge.inputs import Inputs
    from cogen.fusion.merge.outputs import MergeJob

#: Optimiser steps; in each, one window of every expert's samples and one of the general text.
STEPS = 64
#: Tokens of a window.
LENGTH = 192
#: Adam's step; see :func:`cogen.routing.rows.step_sizes`.
LEARNING_RATE = 0.008
#: Weight of the load-balancing loss.
BALANCE = 0.001
SEED = 0
_VERSION = 4


def training_tokens(experts: int) -> int:
    """Tokens that the training reads at most."""
    return STEPS * (experts + 1) * LENGTH


def trained_rows(
    mixture: MoeDetails,
    inputs: Inputs,
    job: MergeJob,
    scale: float,
    rows: Mapping[str, torch.Tensor],
    *,
    key: str,
    tokenizer_digest: str,
    reporter: Reporter = SILENT,
) -> dict[str, torch.Tensor]:
    """Rows by slot, shape (layers, hidden), float32; kept in the cache for the same plan and texts.

    :param job, scale: as for :func:`~cogen.fusion.moe.write.write_mixture`.
    :param rows: where it starts: those of routing "hidden".
    :param key: digest of what decides the mixture.
    """
    from cogen.fusion.moe.routers import anchor_of, rows_of, write_rows

    slots = mixture.slots
    own = [calibration_of(inputs, id, tokenizer_digest, reporter) for id in slots if id != "base"]
    texts = [calibration_texts(), *own]
    settings = [_VERSION, STEPS, LENGTH, LEARNING_RATE, BALANCE, SEED, *mark(deciding=True)]
    key = canonical_digest([key, texts, settings]).removeprefix("sha256:")[:32]
    folder = cached("routers", key)
    if not folder.is_dir():
        anchor = anchor_of(inputs, tokenizer_digest)
        sizes = step_sizes(anchor.general).float()
        anchor.release()
        with scratch("mixture") as place:
            whole = place / "mixture"
            whole.mkdir()
            write_mixture(mixture, job, scale, rows, whole)
            model = load_model(open_folder(whole), "bfloat16", deciding=True)
        start = _stacked(rows, slots)
        owners = ["base", *(id for id in slots if id != "base")]
        pools = [
            Pool(windows(inputs.tokenizer, pool, LENGTH), slots.index(id) if id in slots else None)
            for id, pool in zip(owners, texts, strict=True)
        ]
        found = tune(model, start, sizes, pools, reporter)
        with atomic_folder(folder) as part:
            write_rows({id: found[:, slot] for slot, id in enumerate(slots)}, part)
    return rows_of(folder)


@dataclass(frozen=True)
class Pool:
    """Windows of token ids, and the slot whose expert is their teacher; ``None``: the text itself teaches."""

    windows: list[list[int]]
    teacher: int | None


def tune(
    model: Any, start: torch.Tensor, scale: torch.Tensor, pools: list[Pool], reporter: Reporter = SILENT
) -> torch.Tensor:
    """Train the routers of a transformers mixture.

    :param model: its routers are replaced by what is trained.
    :param start: rows, shape (layers, slots, hidden).
    :param scale: of a step in every dimension, shape (layers, hidden).
    :param pools: in a step each gives one window.
    :returns: rows, shape (layers, slots, hidden), float32.
    """
    import torch
    from torch.nn.utils import parametrize

    from cogen.fusion.moe.insight import gates, only

    class TrainingRow(torch.nn.Module):
        """Weight of a router: where it started plus a scaled float32 change, rounded as the mixture will store it."""

        def __init__(self, start: torch.Tensor, scale: torch.Tensor, dtype: torch.dtype) -> None:
            super().__init__()
            self.start, self.scale, self.dtype = start, scale, dtype

        def forward(self, change: torch.Tensor) -> torch.Tensor:
            return (self.start + change * self.scale).to(self.dtype)

    model.requires_grad_(False)
    changes = []
    routers = gates(model)
    for layer, gate in enumerate(routers):
        kind = gate.weight.dtype
        change = torch.nn.Parameter(torch.zeros_like(start[layer]))
        gate.weight = change
        parametrize.register_parametrization(gate, "weight", TrainingRow(start[layer], scale[layer], kind), unsafe=True)
        changes.append(gate.parametrizations.weight.original)
    optimiser = torch.optim.Adam(changes, lr=LEARNING_RATE)
    order = random.Random(SEED)
    queues: list[list[list[int]]] = [[] for _ in pools]
    sums = [torch.zeros_like(change) for change in changes]
    model.eval()  # a base that was trained with dropout would give other rows every time
    for step in range(STEPS):
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * min(1.0, (step + 1) / 5)
        optimiser.zero_grad()
        total = 0.0
        for pool, queue in zip(pools, queues, strict=True):
            if not queue:
                queue += order.sample(pool.windows, len(pool.windows))
            ids = torch.tensor([queue.pop()], device=model.device)
            wanted = None
            if pool.teacher is not None:
                with torch.no_grad(), only(model, pool.teacher):
                    wanted = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
            output = model(input_ids=ids, use_cache=False, output_router_logits=True)
            found = output.logits.float().log_softmax(-1)
            if wanted is None:
                loss = torch.nn.functional.nll_loss(found[0, :-1], ids[0, 1:])
            else:
                loss = torch.nn.functional.kl_div(found[0], wanted[0], log_target=True, reduction="batchmean")
            ((loss + BALANCE * output.aux_loss) / len(pools)).backward()
            total += float(loss.detach()) / len(pools)
            reporter.advance(4 * ids.numel())
        reporter.describe(f"training routers, step {step + 1} of {STEPS}, loss {total:.3f}")
        optimiser.step()
        if step >= STEPS // 2:
            for total_change, change in zip(sums, changes, strict=True):
                total_change += change.detach()
    count = STEPS - STEPS // 2
    return torch.stack([start[i] + total_change / count * scale[i] for i, total_change in enumerate(sums)])


def _stacked(rows: Mapping[str, torch.Tensor], slots: tuple[str, ...]) -> torch.Tensor:
    import torch

    return torch.stack([rows[id] for id in slots], dim=1)
