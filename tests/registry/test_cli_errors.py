"""What the operating system refuses is one line on `cogen-registry`, too."""

from __future__ import annotations

from pathlib import Path

import pytest

from cogen_registry.cli import main


def test_a_root_that_cannot_be_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert main(["publisher", "list", "--root", str(tmp_path / "file" / "root")]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(":")[0] for line in lines] == ["error", "hint"]
