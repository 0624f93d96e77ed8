"""`cogen eval` on a model folder with the suites of an installed expert."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cogen.cli.main import main
from cogen.evals import BoundSuite


@pytest.fixture
def folder(tmp_path: Path, model: Any, tokenizer: Any) -> Path:
    """The tiny model as a plain checkpoint folder."""
    path = tmp_path / "model"
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch, heldout: Any, texts: Any) -> BoundSuite:
    """One expert with one suite is installed; no general suite."""
    bound: BoundSuite = heldout(texts(3, seed=2), texts(6))
    spec = SimpleNamespace(id="power", suites=(bound.suite,), model=SimpleNamespace(base=None))
    expert = SimpleNamespace(id="power", spec=spec, root=bound.root)
    host = SimpleNamespace(experts=lambda: (expert,))
    monkeypatch.setattr("cogen.host.Host.discover", lambda: host)
    monkeypatch.setattr("cogen.evals.general_suites", list)
    return bound


def test_the_table_and_the_json_say_the_same(
    folder: Path, installed: BoundSuite, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Value, interval and n in both; the figure is that of run_suites."""
    arguments = ["eval", str(folder), "--dtype", "float32", "--level", "full"]
    assert main(arguments) == 0
    table = capsys.readouterr().out
    assert main([*arguments, "--json", "--against", str(folder)]) == 0
    found = json.loads(capsys.readouterr().out)
    (result,) = found["results"]
    (expected,) = run([installed], use_cache=False)
    assert (result["value"], result["n"], result["cached"]) == (expected.value, 6, True)
    assert f"{result['value']:.4f} [{result['low']:.4f}, {result['high']:.4f}]" in table
    assert "power/heldout" in table
    assert found["comparisons"][0]["verdict"] == "same"
    assert found["settings"]["max_length"] == 1024


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["./nowhere"], "./nowhere is not a model folder"),
        (["MODEL", "--suite", "medicine"], "unknown suite 'medicine'"),
        (["base"], "have no single base (found: none)"),
    ],
)
def test_a_wrong_name_is_explained(
    arguments: list[str], message: str, folder: Path, installed: BoundSuite, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 3, one line and a hint."""
    assert main(["eval", *(str(folder) if a == "MODEL" else a for a in arguments)]) == 3
    captured = capsys.readouterr()
    assert captured.out == ""
    assert message in captured.err
    assert "hint:" in captured.err
