"""The privacy audit of a real base that has read a few letters too often: it must be caught."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest
from support.documents import ROOT

import cogen


@pytest.mark.slow
def test_an_over_trained_expert_is_caught(real_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """57 letters, ten times: `cogen train` itself says that it leaks, and that passes are the risk."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    path = importlib.import_module("audit").write_recipe(tmp_path / "letters", 10, None)
    audit = cogen.train(path).expert.data.audit
    assert audit is not None
    assert audit.verdict == "leaks"
    assert audit.canaries == 10
    assert audit.passes > 9
    assert any(note.startswith("risk: training read the corpus") for note in audit.notes)
