"""`cogen export`: what it says at its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from cogen.cli.main import main
from cogen.exports.formats import read_format


@pytest.mark.parametrize("format", ["gguf:Q4_K_M", "fp8", "int8", "onnx"])
def test_the_next_step_is_one_that_works(
    format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No engine of `cogen serve` reads ONNX."""
    made = SimpleNamespace(
        folder=tmp_path / "out", format=read_format(format), bytes=61, before=100, details={}, cost=None, notes=()
    )
    monkeypatch.setattr("cogen.api.exports.export", lambda *_, **__: made)
    assert main(["export", str(tmp_path), "--to", format, "--level", "none"]) == 0
    out, err = capsys.readouterr()
    assert "61% of the composite's" in err
    assert ("cogen serve" in out) == (format != "onnx")
    assert ("onnxruntime_genai.Model(" in out) == (format == "onnx")
