"""A virtual environment of its own for real pip; torch is not installed again: it sees the running packages."""

from __future__ import annotations

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

import cogen


class Environment:
    """A virtual environment with its own site-packages, in front of those of the running one."""

    def __init__(self, folder: Path, keep: tuple[str, ...] = ("COGEN_CACHE",)) -> None:
        venv.create(folder, with_pip=True)
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        self.home = folder
        #: Settings of ours that are handed on as they stand when a command is run.
        self.keep = keep
        (packages,) = folder.glob("[Ll]ib/**/site-packages")
        seen = [*site.getsitepackages(), str(Path(cogen.__file__).parent.parent)]
        (packages / "running.pth").write_text("\n".join(seen) + "\n")

    def run(self, *command: str, cwd: Path) -> str:
        env = {key: value for key, value in os.environ.items() if not key.startswith(("COGEN_", "PYTHON"))}
        env |= {key: os.environ[key] for key in self.keep if key in os.environ}
        executable = [str(self.bin / Path(sys.executable).name), "-m", *command]
        run = subprocess.run(executable, cwd=cwd, env=env, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{command}: {run.stdout}\n{run.stderr}"
        return run.stdout

    def cogen(self, *arguments: str, cwd: Path) -> Any:
        return json.loads(self.run("cogen", *arguments, "--json", cwd=cwd))
