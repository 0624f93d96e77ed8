"""`cogen list` fits a terminal of 100 columns, whatever publishers call their experts."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from support.manifests import install

from cogen.cli.main import main


def test_it_fits(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Chinese characters take two columns each; ids, lineage and states are never cut."""
    install(site, "power", title="A very long title of an expert that says everything about power grids at once " * 2)
    install(site, "dianwang", title="电网调度与配电自动化运行规程专家模型,适用于省级电力公司" * 3)
    assert main(["list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert all(cell_len(line) <= 100 for line in lines)
    assert lines[1].startswith("dianwang  ")
    assert lines[1].split()[-1] == lines[2].split()[-1] == "ok"
    # the columns stand below each other
    position = cell_len(lines[0][: lines[0].index("lineage")])
    for line in lines[1:]:
        before = next(i for i in range(len(line)) if cell_len(line[:i]) == position)
        assert line[before - 1] == " " != line[before]
