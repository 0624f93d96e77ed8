"""The reference experts once more, trained as `anchored`: what `moe.py quality --anchored` takes.

    python benchmarks/anchored.py --work anchored --tokens 25000

For every plugin of this repository: its own recipe with ``mode = "anchored"``, going on from its own weights for a few
tokens more, trained into a plugin called ID-anchored, which is installed into this environment with pip. Prints the
ids. Five minutes an expert on two cores.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

#: Half of what the shipped experts began with: these go on from them.
_LEARNING_RATE = 5e-4
_PLUGINS = Path(__file__).parents[1] / "plugins"


def recipe(id: str, new: str, tokens: int) -> str:
    """The recipe of a shipped expert in the mode anchored, going on from its weights."""
    start = _PLUGINS / f"cogen-plugin-{id}" / "src" / f"cogen_plugin_{id}" / "weights"
    text = (_PLUGINS / f"cogen-plugin-{id}" / "recipe.toml").read_text(encoding="utf-8")
    for pattern, value in {
        r"^id = .*$": f'id = "{new}"',
        r"^plugin = .*$": f'plugin = "src/cogen_plugin_{new.replace("-", "_")}"',
        r"^mode = .*$": 'mode = "anchored"',
        r"^tokens = .*$": f"tokens = {tokens}",
        r"^learning_rate = .*$": f"learning_rate = {_LEARNING_RATE}\nstart = {str(start)!r}",
    }.items():
        text, count = re.subn(pattern, value, text, count=1, flags=re.M)
        if not count:
            raise SystemExit(f"the recipe of {id} has no line {pattern}")
    return text


def main() -> None:
    """Train and install one after the other; an expert that is there already is kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("experts", nargs="*", help="default: every plugin of this repository")
    parser.add_argument("--work", type=Path, default=Path("anchored"))
    parser.add_argument("--tokens", type=int, default=25_000)
    arguments = parser.parse_args()
    ids = arguments.experts or sorted(f.name.removeprefix("cogen-plugin-") for f in _PLUGINS.iterdir() if f.is_dir())
    arguments.work.mkdir(parents=True, exist_ok=True)
    for id in ids:
        new = f"{id}-anchored"
        folder = arguments.work / f"cogen-plugin-{new}"
        if not folder.is_dir():
            subprocess.run([sys.executable, "-m", "cogen", "new", new], check=True, cwd=arguments.work)
            (folder / "recipe.toml").write_text(recipe(id, new, arguments.tokens), encoding="utf-8")
        subprocess.run([sys.executable, "-m", "cogen", "train", str(folder / "recipe.toml")], check=True)
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", str(folder)], check=True)
        print(new)


if __name__ == "__main__":
    main()
