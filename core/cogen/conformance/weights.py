"""Checks that read the weights (``smoke``) and that run the model (``full``)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import Any

from cogen.conformance.result import Check, Failed, attempt
from cogen.host import Expert

#: A claim differs from our measurement by more than this share: other harness settings, or another model.
TOLERANCE = 0.02


def smoke(expert: Expert) -> Iterator[Check]:
    """Fetch and open the weights: both digests, the base's shapes, the number of parameters, tokenizer, router rows."""
    yield from attempt("weights", partial(_weights, expert))
    yield from attempt("tokenizer", partial(_tokenizer, expert))
    if expert.spec.router:
        yield from attempt("router rows", partial(_router, expert))


def full(expert: Expert) -> Iterator[Check]:
    """Measure every suite on its test part and compare it with what the publisher claims."""
    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_weights
    from cogen.evals import model_digest, run_suites, suites_of

    spec = expert.spec
    checkpoint = open_weights(spec.model)
    results = run_suites(
        lambda: load_model(checkpoint, "float32"),
        load_tokenizer(checkpoint.folder),
        suites_of(expert),
        model_digest=model_digest(checkpoint),
        tokenizer_digest=spec.tokenizer.digest,
        part="test",
        level="full",
        dtype="float32",
    )
    claims = {suite.id: suite.claim for suite in spec.suites}
    for result in results:
        yield from attempt(f"claim {result.suite}", partial(_claim, claims[result.suite], result))


def _weights(expert: Expert) -> str:
    from cogen.checkpoints.model import open_weights

    model = expert.spec.model
    checkpoint = open_weights(model)
    pairs = checkpoint.adapter.pairs.values() if checkpoint.adapter else ()
    shapes = [info.shape for a, b, _ in pairs for info in (a, b)] or [i.shape for i in checkpoint.tensors.values()]
    count = sum(math.prod(shape) for shape in shapes)
    if count != model.parameters:
        raise Failed(
            f"the weights hold {count:,} parameters, the manifest says {model.parameters:,}", "correct `parameters`"
        )
    return f"digests and shapes are as promised: {len(shapes)} tensors, {count:,} parameters"


def _tokenizer(expert: Expert) -> str:
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.model import open_weights

    model, promised = expert.spec.model, expert.spec.tokenizer
    if promised.source not in (model.source, model.base.source if model.base else None):
        return "of a source of its own; not opened"
    tokenizer = load_tokenizer(open_weights(model).folder)
    if (found := tokenizer_digest(tokenizer)) != promised.digest:
        raise Failed(f"the tokenizer has digest {found}, {promised.digest} was promised", "correct [tokenizer] digest")
    if len(tokenizer) != promised.vocab_size:
        raise Failed(f"the tokenizer has {len(tokenizer):,} entries, not {promised.vocab_size:,}", "correct vocab_size")
    return f"digest as promised, {promised.vocab_size:,} entries"


def _router(expert: Expert) -> str:
    from cogen.checkpoints.model import open_weights
    from cogen.checkpoints.safetensors_file import read_tensor
    from cogen.conformance.shipped import router_rows

    rows = router_rows(expert)
    config = open_weights(expert.spec.model).config
    shape = config["num_hidden_layers"], config["hidden_size"]
    if rows.shape != shape:
        raise Failed(f"`rows` has shape {rows.shape}, the base {shape}", "train the expert again on this base")
    if not read_tensor(rows).isfinite().all():
        raise Failed("`rows` holds values that are not finite", "train again with a smaller `router_learning_rate`")
    return f"one row for each of {shape[0]} layers"


def _claim(claim: Any, result: Any) -> str:
    measured = f"measured {result.value:.4f} ({result.metric}, {result.n} documents)"
    if claim is None:
        return f"{measured}; nothing is claimed"
    if abs(result.value - claim.value) > TOLERANCE * max(abs(claim.value), 1e-9):
        raise Failed(f"{measured}, claimed {claim.value:.4f}", "measure again with `cogen eval` and correct the claim")
    return f"{measured}, claimed {claim.value:.4f}"
