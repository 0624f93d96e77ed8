"""benchmarks/gpu.py as far as a machine without a GPU can run it."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks/gpu.py"


@pytest.fixture(scope="module")
def bench() -> Any:
    spec = importlib.util.spec_from_file_location("gpu_benchmark", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tiny_on_the_cpu(bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All sections but the one that needs a GPU, which says so; figures agree with the CPU's: they are the CPU's."""
    threads = torch.get_num_threads()
    try:
        assert bench.main(["--device", "cpu", "--tiny", "--json", str(tmp_path / "cpu.json")]) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads((tmp_path / "cpu.json").read_text())
    assert found["device"] == "cpu"
    sections = found["sections"]
    assert list(sections) == list(bench.SECTIONS)
    assert sections["fp8"] == {"skipped": "FP8 products need a GPU"}
    assert "fp8: skipped, FP8 products need a GPU" in capsys.readouterr().out
    for name in ("training", "teaching", "evaluation", "routing"):
        assert sections[name]["tokens_per_second"] > 0
    assert sections["training"]["steps"] == 2
    assert sections["evaluation"]["batch"] == 1
    assert sections["evaluation"]["apart_from_float32"] < 0.05
    assert sections["routing"]["apart_from_the_cpu"] == 0


def test_a_device_that_is_not_there(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--device", "cuda:7", "--tiny"]) == 3
    assert "there is no device cuda:7" in capsys.readouterr().err


def test_rows_of_float8(bench: Any) -> None:
    """Scales by row: what comes back is within the type's rounding."""
    matrix = torch.randn(8, 32, generator=torch.Generator().manual_seed(0)) * torch.logspace(-3, 3, 8)[:, None]
    codes, scale = bench._quantized(matrix.bfloat16())
    assert (codes.dtype, tuple(scale.shape)) == (torch.float8_e4m3fn, (8, 1))
    back = codes.float() * scale
    assert float(((back - matrix.bfloat16().float()).abs() / matrix.abs().amax(1, keepdim=True)).max()) < 2**-4
