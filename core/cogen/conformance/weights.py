"""Checks that read the weights and run the model once (``smoke``), and that measure it (``full``)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from cogen.conformance.result import Check, Failed, attempt
from cogen.conformance.tokens import check_round_trip
from cogen.evals import BoundSuite
from cogen.host import Expert, Host

#: A claim differs from our measurement by more than this share: other harness settings, or another model.
TOLERANCE = 0.02


class Opened:
    """An expert's checkpoint, tokenizer and model, each opened when a check first asks for it."""

    def __init__(self, host: Host, expert: Expert) -> None:
        self.host, self.expert = host, expert

    @cached_property
    def checkpoint(self) -> Any:
        from cogen.checkpoints.model import open_weights

        return open_weights(self.expert.spec.model)

    @cached_property
    def tokenizer(self) -> Any:
        from cogen.checkpoints.load import load_expert_tokenizer

        return load_expert_tokenizer(self.host, self.expert.spec, self.checkpoint)

    def model(self, dtype: str) -> Any:
        from cogen.checkpoints.load import load_expert

        return load_expert(self.host, self.expert.spec, self.checkpoint, dtype)


def smoke(opened: Opened) -> Iterator[Check]:
    """Fetch and open the weights: digests, shapes, parameters, tokenizer and router rows; run each suite once."""
    for name, check in (("weights", _weights), ("tokenizer", _tokenizer), ("round trip", _round_trip)):
        for outcome in attempt(name, partial(check, opened)):
            yield outcome
            if not outcome.ok:
                return  # the others would say the same again
    if opened.expert.spec.router:
        yield from attempt("router rows", partial(_router, opened))
    yield from _runs(opened)


def full(opened: Opened) -> Iterator[Check]:
    """Measure every suite on its test part and compare it with what the publisher claims."""
    from cogen.evals import model_digest, run_suites, suites_of

    spec = opened.expert.spec
    if not spec.suites:
        yield Check(
            "claims", None, "no suite is shipped: private figures are its publisher's, and nobody can repeat them"
        )
        return
    results = run_suites(
        lambda: opened.model("float32"),
        opened.tokenizer,
        suites_of(opened.expert),
        model_digest=model_digest(opened.checkpoint),
        tokenizer_digest=spec.tokenizer.digest,
        split="test",
        level="full",
        dtype="float32",
    )
    claims = {suite.id: suite.claim for suite in spec.suites}
    for result in results:
        yield from attempt(f"claim {result.suite}", partial(_claim, claims[result.suite], result))


def _weights(opened: Opened) -> str:
    checkpoint, promised = opened.checkpoint, opened.expert.spec.model.parameters
    own = checkpoint.adapter.tensors() if checkpoint.adapter else checkpoint.tensors
    shapes = [info.shape for info in own.values()]
    count = sum(math.prod(shape) for shape in shapes)
    if count != promised:
        raise Failed(f"the weights hold {count:,} parameters, the manifest says {promised:,}", "correct `parameters`")
    return f"digests and shapes are as promised: {len(shapes)} tensors, {count:,} parameters"


def _tokenizer(opened: Opened) -> str:
    from cogen.checkpoints.digests import tokenizer_digest

    tokenizer, promised = opened.tokenizer, opened.expert.spec.tokenizer
    if (found := tokenizer_digest(tokenizer)) != promised.digest:
        raise Failed(f"the tokenizer has digest {found}, {promised.digest} was promised", "correct [tokenizer] digest")
    if len(tokenizer) != promised.vocab_size:
        raise Failed(f"the tokenizer has {len(tokenizer):,} entries, not {promised.vocab_size:,}", "correct vocab_size")
    return f"digest as promised, {promised.vocab_size:,} entries"


def _round_trip(opened: Opened) -> str:
    rows = int(opened.checkpoint.config.get("vocab_size") or len(opened.tokenizer))
    return check_round_trip(opened.expert, opened.tokenizer, rows)


def _router(opened: Opened) -> str:
    from cogen.checkpoints.safetensors_file import read_tensor
    from cogen.conformance.shipped import router_rows

    rows = router_rows(opened.expert)
    config = opened.checkpoint.config
    shape = config["num_hidden_layers"], config["hidden_size"]
    if rows.shape != shape:
        raise Failed(f"`rows` has shape {rows.shape}, the base {shape}", "train the expert again on this base")
    if not read_tensor(rows).isfinite().all():
        raise Failed("`rows` holds values that are not finite", "train again with a smaller `router_learning_rate`")
    return f"one row for each of {shape[0]} layers"


def _runs(opened: Opened) -> Iterator[Check]:
    """The cheapest document of every suite, by the model in its published type."""
    from cogen.evals import suites_of

    model: list[Any] = []  # loaded by the first suite, and forgotten with the last

    def run(bound: BoundSuite) -> str:
        from cogen.evals import try_suite

        dtype = opened.expert.spec.model.dtype
        model[:] = model or [opened.model(dtype)]
        value = try_suite(model[0], opened.tokenizer, bound, dtype)
        if not math.isfinite(value):
            raise Failed(
                f"the model gives {value} ({bound.suite.metric})", "are there values that are not finite in it?"
            )
        return f"{value:.3f} ({bound.suite.metric}) on one dev document"

    for bound in suites_of(opened.expert):
        yield from attempt(f"run {bound.suite.id}", partial(run, bound))


def _claim(claim: Any, result: Any) -> str:
    measured = f"measured {result.value:.4f} ({result.metric}, {result.n} documents)"
    if claim is None:
        return f"{measured}; nothing is claimed"
    if abs(result.value - claim.value) > TOLERANCE * max(abs(claim.value), 1e-9):
        raise Failed(f"{measured}, claimed {claim.value:.4f}", "measure again with `cogen eval` and correct the claim")
    return f"{measured}, claimed {claim.value:.4f}"
