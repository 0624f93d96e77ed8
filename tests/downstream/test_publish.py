"""A third party's way: `cogen new`, real pip, `cogen check`, `cogen list`, in an environment of its own.

torch is not installed again for it: the new environment sees the packages of the one that runs the tests.
"""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import pytest

import cogen

pytestmark = [pytest.mark.slow, pytest.mark.network]


class Environment:
    """A virtual environment with its own site-packages, in front of those of the running one."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.home = folder
        (packages,) = folder.glob("[Ll]ib/**/site-packages")
        seen = [*site.getsitepackages(), str(Path(cogen.__file__).parent.parent)]
        (packages / "running.pth").write_text("\n".join(seen) + "\n")

    def run(self, *command: str, cwd: Path) -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("COGEN_", "PYTHON"))}
        if cache := os.environ.get("COGEN_CACHE"):
            env["COGEN_CACHE"] = cache
        executable = [str(self.bin / Path(sys.executable).name), "-m", *command]
        run = subprocess.run(executable, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{command}: {run.stdout}\n{run.stderr}"
        return run.stdout

    def cogen(self, *arguments: str, cwd: Path) -> Any:
        return json.loads(self.run("cogen", *arguments, "--json", cwd=cwd))


def test_scaffold_installs_and_passes_check(tmp_path: Path) -> None:
    """From nothing to an expert that the host lists and that passes the checks with its weights."""
    environment = Environment(tmp_path / "env")
    made = environment.cogen("new", "my-law", cwd=tmp_path)
    assert made["folder"] == "cogen-plugin-my-law"
    environment.run("pip", "install", "--quiet", "--no-deps", "./cogen-plugin-my-law", cwd=tmp_path)
    experts = {row["expert"]: row for row in environment.cogen("list", cwd=tmp_path)["experts"]}
    assert experts["my-law"]["state"] == "ok"
    assert experts["my-law"]["distribution"] == "cogen-plugin-my-law"
    report = environment.cogen("check", "my-law", "--level", "smoke", cwd=tmp_path)
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"] if not check["ok"]] == []
    own_tests = environment.run("pytest", "-q", "-p", "no:cacheprovider", "cogen-plugin-my-law/tests", cwd=tmp_path)
    assert "1 passed" in own_tests
