"""mergekit in an environment of its own, so that neither its version pins nor its licence touch ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

VERSION = "0.1.5"
REQUIREMENTS = ("torch>=2.6,<2.14", f"mergekit=={VERSION}")


@dataclass(frozen=True)
class Job:
    """One recipe to run. ``options`` are long options of `mergekit-yaml` with underscores, e.g. ``random_seed``."""

    recipe: str
    out: Path
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    error: str | None
    warnings: tuple[str, ...]


class Mergekit:
    """mergekit, installed in ``folder`` on first use."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "bin" / "python"
        if not self._installed():
            print(f"installing {' and '.join(REQUIREMENTS)} into {folder}", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run([str(self.python), "-m", "pip", "install", "--quiet", *REQUIREMENTS], check=True)

    def _installed(self) -> bool:
        if not self.python.exists():
            return False
        asked = "from importlib.metadata import version; print(version('mergekit'))"
        told = subprocess.run([str(self.python), "-c", asked], capture_output=True, text=True, check=False)
        return told.stdout.strip() == VERSION

    def command(self, recipe: Path, out: Path, **options: Any) -> list[str]:
        """The command line that a user would type."""
        extra = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
        return [str(self.folder / "bin" / "mergekit-yaml"), str(recipe), str(out), "--quiet", *extra]

    def environment(self, hash_seed: int = 0) -> dict[str, str]:
        """Offline; ``hash_seed`` fixes the order of Python's sets of strings, which is random otherwise."""
        return os.environ | {"PYTHONHASHSEED": str(hash_seed), "HF_HUB_OFFLINE": "1"}

    def run(self, jobs: Sequence[Job], hash_seed: int = 0) -> list[Outcome]:
        """Run all jobs in one process, in their order."""
        with tempfile.TemporaryDirectory() as folder:
            asked, told = Path(folder, "jobs.json"), Path(folder, "results.json")
            asked.write_text(
                json.dumps([{"recipe": job.recipe, "out": str(job.out), "options": job.options} for job in jobs])
            )
            command = [str(self.python), str(Path(__file__).with_name("peer_worker.py")), str(asked), str(told)]
            done = subprocess.run(command, env=self.environment(hash_seed), capture_output=True, text=True, check=False)
            if not told.exists():
                raise SystemExit(f"mergekit's process ended with {done.returncode}:\n{done.stderr[-2000:]}")
            results = json.loads(told.read_text())
        return [Outcome(result["error"], tuple(result["warnings"])) for result in results]
