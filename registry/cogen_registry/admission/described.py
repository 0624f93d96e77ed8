"""What a manifest says of weights, against the weights: the part of it that a worker does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.checkpoints.facts import first_mismatch
from cogen.spec.model import BaseRef, ModelSpec


def problem_of(path: str, kind: str, claim: str) -> dict[str, Any]:
    """The first difference, or null.

    :param path: folder of the weights. :param kind: "model" or "base". :param claim: the manifest's table, as JSON.
    """
    ref = (ModelSpec if kind == "model" else BaseRef).model_validate_json(claim)
    wrong = first_mismatch(ref, Path(path))
    return {"problem": None if wrong is None else wrong.message[:1000]}
