"""benchmarks/distill.py --tiny: every loss beside its control, with really trained models of two vocabularies."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "distill.py"


@pytest.mark.parametrize("size", [["--quick"], pytest.param([], marks=pytest.mark.slow)], ids=["quick", "full"])
def test_alm_beats_the_control_and_every_loss_is_in_the_table(tmp_path: Path, size: list[str]) -> None:
    file = tmp_path / "tiny.json"
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--tiny", *size, "--work", str(tmp_path / "work"), "--json", str(file)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = json.loads(file.read_text())["rows"]
    assert set(rows) == {"teacher", "control", "alm", "uld", "p_kl", "piece_kl", "h_kl", "graph", "gold", "mined"}
    assert rows["control"]["difference"] == 0
    assert rows["teacher"]["high"] < 0  # there is something to learn
    assert rows["alm"]["high"] < 0
    for row in rows.values():
        assert row["low"] <= row["difference"] <= row["high"]
        assert abs(row["value"] - row["control"] - row["difference"]) < 1e-9
