"""What a manifest says of weights, against the weights: the part of it that a worker does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.checkpoints.facts import facts_of, first_mismatch
from cogen.checkpoints.finite import first_not_finite
from cogen.spec.model import BaseRef, ModelSpec


def problem_of(path: str, kind: str, claim: str) -> dict[str, Any]:
    """The first difference, a tensor with NaN or infinity in it, or null.

    :param path: folder of the weights. :param kind: "model" or "base". :param claim: the manifest's table, as JSON.
    """
    ref = (ModelSpec if kind == "model" else BaseRef).model_validate_json(claim)
    wrong = first_mismatch(ref, Path(path))
    if wrong is not None:
        return {"problem": wrong.message[:1000]}
    tensor = None if ref.format == "gguf" else first_not_finite(facts_of(Path(path)).tensors)
    return {"problem": None if tensor is None else f"{tensor[:200]} holds NaN or infinity: nobody can use them"}
