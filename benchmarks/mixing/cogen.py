"""`cogen` as whole processes, and models of the installed experts as plain folders."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Cells = dict[str, dict[str, Any]]


def cogen(*words: str) -> dict[str, Any]:
    """One command with ``--json``; its document.

    :raises SystemExit: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "cogen", *words, "--json"], stdout=subprocess.PIPE, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"cogen {' '.join(words)} ended with {done.returncode}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def experts(relation: str = "ffn") -> list[str]:
    """Ids of the installed experts of one relation."""
    return sorted(row["expert"] for row in cogen("list")["experts"] if row["relation"] == relation)


def dense(folder: Path, id: str | None = None) -> Path:
    """An expert, or the base, as a plain checkpoint folder; kept from run to run."""
    out = folder / (id or "base")
    if not (out / "config.json").is_file():
        scale = "1" if id else "0"
        cogen("fuse", id or experts()[0], "--strategy", "merge", "--scale", scale, "--level", "none", "-o", str(out))
    return out


def measured(model: Path, level: str, part: str = "test") -> dict[str, Any]:
    """column → value, low, high, n of a model folder, in float32 at the level full."""
    dtype = "float32" if level == "full" else "bfloat16"
    found = cogen("eval", str(model), "--level", level, "--part", part, "--dtype", dtype)
    return {f"{cell['owner']}/{cell['suite']}": cell for cell in found["results"]}


def geometric(cells: dict[str, Any], ids: Sequence[str]) -> float:
    """Mean logarithm of bits per byte over the experts' suites: what every search of cogen minimises."""
    import math

    return math.fsum(math.log(cells[column]["value"]) for column in cells if column.split("/")[0] in ids) / len(ids)
