"""Every reader against mutated files: a value or one line, in 5 s, within 1 GB; see ``support.fuzzing``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.fuzz_targets import TARGETS
from support.fuzzing import Hang, fuzz, in_time

from cogen.untrusted.border import border

TESTS = Path(__file__).parents[1]
COUNT = 10_000


@pytest.mark.parametrize("name", TARGETS)
def test_the_files_that_are_changed_are_right(name: str, tmp_path: Path) -> None:
    """Else every input would be refused for the same reason."""
    target = TARGETS[name]
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / target.file
    for content in target.seeds(tmp_path):
        path.write_bytes(content)
        target.read(path)


@pytest.mark.parametrize("name", TARGETS)
def test_two_hundred_inputs(name: str) -> None:
    """The same ones in every run."""
    seen = fuzz(name, 200)
    assert sum(seen.values()) >= 200


def test_a_hang_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.fuzzing.SECONDS", 0.05)
    with pytest.raises(Hang):
        _loop()


def test_a_hang_behind_a_border_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A border turns it into a line, as everything else."""
    monkeypatch.setattr("support.fuzzing.SECONDS", 0.05)
    with pytest.raises(Hang):
        _loop(border("it cannot be read"))


def _loop(around: contextlib.AbstractContextManager[None] | None = None) -> None:
    with in_time(), around or contextlib.nullcontext():
        while True:
            pass


@pytest.mark.slow
@pytest.mark.parametrize("name", TARGETS)
def test_ten_thousand_inputs(name: str) -> None:
    """Other ones in every run, in a process that may have 1 GB beyond what it begins with; the seed is in the error."""
    number = int.from_bytes(os.urandom(4), "little")
    done = subprocess.run(
        [sys.executable, "-m", "support.fuzzing", name, str(COUNT), str(number)],
        capture_output=True,
        text=True,
        check=False,
        cwd=TESTS,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in [str(TESTS), *sys.path] if entry)},
    )
    assert done.returncode == 0, f"seed {number}: {done.stderr[-3000:]}"
    found = json.loads(done.stdout)
    assert found["read"] + found["refused"] >= COUNT
