"""cogen's side: the one place that knows its command line."""

from __future__ import annotations

import contextlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any


def command(recipe: Path, out: Path, **options: Any) -> list[str]:
    """The command line that a user would type."""
    extra = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    return [sys.executable, "-m", "cogen", "merge", "--quiet", str(recipe), "-o", str(out), *extra]


def fuse(recipe: str, out: Path, **options: Any) -> str | None:
    """Run the command inside this process; ``None`` if it went well, else what it wrote on stderr."""
    from cogen.cli.main import main

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "recipe.yml"
        path.write_text(recipe)
        told = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(told):
            code = main(command(path, out, **options)[3:])
    return None if code == 0 else told.getvalue().strip() or f"exit code {code}"
