"""A folder of installed plugins that stands in for site-packages."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import cogen.host.discovery


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty folder at the front of ``sys.path``; no other plugin is seen, and the cache is a new one."""
    folder = tmp_path / "site"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith("COGEN_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COGEN_CACHE", str(tmp_path / "cache"))
    monkeypatch.syspath_prepend(str(folder))
    real = cogen.host.discovery.scan
    monkeypatch.setattr("cogen.host.discovery.scan", lambda path=None: real([str(folder)] if path is None else path))
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(folder) in str(sys.modules[name].__file__):
            del sys.modules[name]


def run_python(code: str, folder: Path, cache: Path) -> str:
    """Run Python code in a new process that sees the plugins of ``folder``; its stdout."""
    core = Path(cogen.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(core)]), "COGEN_CACHE": str(cache)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout
