"""`cogen cache`: what was downloaded, converted and measured."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from cogen.cli.arguments import choice
from cogen.cli.output import out


def command(
    action: Annotated[
        str, choice("action", ("show", "clear"), help="Show its size, or clear it.", argument=True)
    ] = "show",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Clear without asking.")] = False,
) -> None:
    """Show or clear the cache: weights, texts, results, training runs. The Hub's own cache is not touched."""
    from cogen.files import cache_dir

    home = cache_dir()
    sizes = {entry.name: _size(entry) for entry in sorted(home.iterdir()) if not entry.name.endswith(".lock")}
    if action == "clear":
        if out.confirm(f"delete {sum(sizes.values()) / 1e6:,.0f} MB in {home}?", yes=yes):
            for entry in home.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
            out.success(f"cleared {home}")
        return
    out.table([{"folder": name, "MB": f"{size / 1e6:,.1f}"} for name, size in sizes.items()], title=str(home))
    out.result({"folder": str(home), "bytes": sizes})


def _size(path: Path) -> int:
    if not path.is_dir():
        return path.stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
