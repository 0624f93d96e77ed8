"""Every kind of composite in other engines, each in an environment of its own: benchmarks/engines.py.

An hour or more, most of it vLLM's start. `COGEN_ENGINES` names a folder with environments that are there already.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ENGINES = ("transformers4", "mlx", "llamacpp", "vllm")
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "engines.py"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The composites, which are made once for all engines."""
    return tmp_path_factory.mktemp("engines")


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("engine", ENGINES)
def test_same_logits(engine: str, work: Path, tmp_path: Path) -> None:
    """As docs/compatibility.md says: the same, or what is named there."""
    environments = Path(os.environ.get("COGEN_ENGINES", work / "environments"))
    command = [sys.executable, str(SCRIPT), "--engines", engine, "--environments", str(environments)]
    command += ["--work", str(work), "--json", str(tmp_path / "rows.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    assert {row["engine"] for row in rows} == {"transformers5", engine}
    assert all(row["verdict"] == row["expected"] for row in rows)
