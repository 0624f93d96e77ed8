"""The README's table: every installed expert and their merged composite on every suite, all test documents, float32.

    python benchmarks/matrix.py --json matrix.json        # about a quarter of an hour on two cores

Prints Markdown. Behind each figure its change against the base; the last lines say how sure that is.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any


def table(matrix: dict[str, dict[str, Any]]) -> list[str]:
    """Markdown rows: bits per byte, and the change against the base in percent."""
    columns = list(matrix["base"])
    heads = [name.split("/")[0] for name in columns]
    lines = ["| bits per byte | " + " | ".join(heads) + " |", "|---" * (len(columns) + 1) + "|"]
    for row, cells in matrix.items():
        texts = []
        for name in columns:
            value, base = cells[name]["value"], matrix["base"][name]["value"]
            change = "" if row == "base" else f" ({100 * (value / base - 1):+.1f} %)"
            own = name.split("/")[0] == row or row == "composite"
            texts.append(f"**{value:.3f}**{change}" if own else f"{value:.3f}{change}")
        lines.append(f"| {row} | " + " | ".join(texts) + " |")
    return lines


def main() -> None:
    """Fuse at the level full and print what the README shows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, help="keep the composite in this folder")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        output = arguments.output or Path(folder) / "composite"
        command = ["fuse", "--level", "full", "--matrix", "full", "--json", "-o", str(output)]
        done = subprocess.run([sys.executable, "-m", "cogen", *command], check=True, stdout=subprocess.PIPE, text=True)
    result = json.loads(done.stdout)
    print("\n".join(table(result["matrix"])))
    print(f"\nscale {result['scale']:g}; n = {sorted({c['n'] for r in result['matrix'].values() for c in r.values()})}")
    for column, gain in result["gains"]["composite"].items():
        bounds = f"[{gain['ratio_low'] - 1:+.1%}, {gain['ratio_high'] - 1:+.1%}]"
        kept = result["kept"].get(column)
        print(f"composite on {column}: {gain['ratio'] - 1:+.1%} {bounds}" + (f", keeps {kept:.0%}" if kept else ""))
    print(result["verdict"])
    if arguments.json:
        facts = result | {"cores": os.cpu_count(), "machine": platform.machine(), "python": platform.python_version()}
        arguments.json.write_text(json.dumps(facts, indent=2) + "\n")


if __name__ == "__main__":
    main()
