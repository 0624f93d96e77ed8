"""benchmarks/bpb_reference.py computes on its own what the suites report."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest

from cogen.evals import Settings

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "bpb_reference.py"


def test_the_benchmarks_reference_agrees_with_run_suites(
    run: Any, heldout: Any, texts: Any, model: Any, tokenizer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Same windows, written twice: short texts, a text of several windows, and one of exactly one window."""
    spec = importlib.util.spec_from_file_location("bpb_reference", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    monkeypatch.setattr(script, "WINDOW", 32)
    exact = tokenizer.decode(tokenizer.encode(texts(1, words=60)[0])[:32])
    assert len(tokenizer.encode(exact)) == 32
    bound = heldout(texts(2, seed=2), [*texts(3), exact, texts(1, words=80)[0]])
    (result,) = run([bound], settings=Settings(dtype="float32", max_length=32))
    found = script.reference(model, tokenizer, bound.root / "test.jsonl", "full")
    assert found["bits_per_byte"] == pytest.approx(result.value, rel=1e-5)
    assert (found["documents"], found["tokens"]) == (result.n, result.tokens)
    assert json.loads(json.dumps(found)) == found
