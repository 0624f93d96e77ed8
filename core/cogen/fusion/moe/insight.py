"""What a mixture does with its experts: how often each is chosen, and what each contributes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import CompatibilityError
from cogen.evals import BoundSuite, Matrix, model_digest, quick_texts, run_suites
from cogen.evals.matrix import MatrixKind, S
from cogen.reporter import SILENT, Reporter
from cogen.routing.states import windows

if TYPE_CHECKING:
    from cogen.fusion.merge.measure import MeasureJob


@dataclass(frozen=True)
class Usage:
    """Of one suite's text: ``chosen[layer][slot]`` is the share of tokens for which a slot is among the ``top_k``,
    ``weight[layer][slot]`` the mean share that it has in the result (a row of it sums to 1).
    """

    column: str
    tokens: int
    chosen: list[list[float]]
    weight: list[list[float]]


@dataclass(frozen=True)
class Insight:
    """``contributions`` has the rows "composite" and "without ID" for every expert, level quick, on the test parts."""

    slots: tuple[str, ...]
    usage: list[Usage]
    contributions: Matrix | None = field(default=None)


def gates(model: Any) -> list[Any]:
    """The routers of a transformers mixture, one a layer; their output is (logits, weights, indices)."""
    found = [getattr(layer.mlp, "gate", None) for layer in model.get_decoder().layers]
    if not found or any(gate is None or not hasattr(gate, "top_k") for gate in found):
        raise CompatibilityError(f"{type(model).__name__} has no routers", hint="name a composite of strategy moe")
    return found


def measure_insight(
    slots: tuple[str, ...], evaluation: MeasureJob, composite: Path, reporter: Reporter = SILENT
) -> Insight:
    """Runs the composite over the quick texts of every suite, and again without each of its experts: over that
    expert's own texts, or with a full matrix over all.

    :param slots: of the mixture: "base" or experts' ids.
    """
    inputs, dtype = evaluation.inputs, evaluation.dtype
    whole = open_folder(composite)
    model = load_model(whole, dtype)
    texts = [bound for bound in inputs.suites if bound.suite.metric == "bits_per_byte"]
    used = [usage(model, inputs.tokenizer, bound, reporter) for bound in texts]
    if len(slots) == 1:
        return Insight(slots, used)
    rows = {}
    digest = model_digest(whole)
    for name, slot in {"composite": None, **{f"without {s}": i for i, s in enumerate(slots) if s != "base"}}.items():
        reporter.describe(name)
        with without(model, slot):
            rows[name] = run_suites(
                model,
                inputs.tokenizer,
                texts if slot is None else left_out_on(slots[slot], texts, evaluation.matrix),
                # The masked model is another one: its figures have a name of their own in the cache.
                model_digest=digest if slot is None else f"{digest} without slot {slot}",
                tokenizer_digest=evaluation.tokenizer_digest,
                split="test",
                level="quick",
                dtype=dtype,
                reporter=reporter,
                chooser=(inputs.tokenizer, evaluation.tokenizer_digest),
            )
    return Insight(slots, used, Matrix.of(rows, [bound.name for bound in texts]))


def left_out_on(expert: str, suites: Sequence[S], matrix: MatrixKind) -> list[S]:
    """The suites that a mixture is measured on when this expert is left out."""
    return [suite for suite in suites if matrix == "full" or suite.owner == expert]


def usage(model: Any, tokenizer: Any, bound: BoundSuite, reporter: Reporter = SILENT) -> Usage:
    """Which slots the routers choose on the test texts that level quick takes; the prefix token does not count."""
    import torch

    routers = gates(model)
    slots = routers[0].weight.shape[0]
    chosen = torch.zeros(len(routers), slots, dtype=torch.float64)
    weight = torch.zeros_like(chosen)
    tokens = 0

    def watch(layer: int) -> Any:
        def hook(_: Any, __: Any, output: Any) -> None:
            scores, indices = output[1][1:].double().cpu(), output[2][1:].cpu()
            weight[layer].index_add_(0, indices.reshape(-1), scores.reshape(-1))
            chosen[layer] += torch.bincount(indices.reshape(-1), minlength=slots)

        return hook

    handles = [gate.register_forward_hook(watch(layer)) for layer, gate in enumerate(routers)]
    try:
        for ids in windows(tokenizer, quick_texts(bound, tokenizer), 1023):
            tokens += len(ids) - 1
            with torch.no_grad():
                model.get_decoder()(input_ids=torch.tensor([ids], device=model.device), use_cache=False)
            reporter.advance(len(ids))
    finally:
        for handle in handles:
            handle.remove()
    return Usage(bound.name, tokens, (chosen / tokens).tolist(), (weight / tokens).tolist())


@contextlib.contextmanager
def without(model: Any, slot: int | None) -> Iterator[None]:
    """Inside the block no router chooses ``slot``: what the mixture computes when that expert is taken out."""
    import torch

    def hook(gate: Any, _: Any, output: Any) -> Any:
        logits = output[0].float()
        masked = logits.index_fill(1, torch.tensor([slot], device=logits.device), float("-inf"))
        top, indices = torch.topk(masked.softmax(-1), min(gate.top_k, logits.shape[1] - 1), dim=-1)
        return output[0], (top / top.sum(-1, keepdim=True)).to(output[1].dtype), indices

    handles = [] if slot is None else [gate.register_forward_hook(hook) for gate in gates(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextlib.contextmanager
def only(model: Any, slot: int) -> Iterator[None]:
    """Inside the block every router gives all weight to ``slot``: the mixture is that expert."""
    import torch

    def hook(gate: Any, _: Any, output: Any) -> Any:
        weights, indices = torch.zeros_like(output[1]), torch.empty_like(output[2])
        weights[:, 0] = 1.0
        # The others have no weight, but have to be others: each is taken once.
        indices[:] = (slot + torch.arange(indices.shape[1], device=indices.device)) % output[0].shape[1]
        return output[0], weights, indices

    handles = [gate.register_forward_hook(hook) for gate in gates(model)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def mean_weights(used: Usage) -> Sequence[float]:
    """Over all layers: each slot's mean share in the result."""
    layers = len(used.weight)
    return [sum(layer[slot] for layer in used.weight) / layers for slot in range(len(used.weight[0]))]
