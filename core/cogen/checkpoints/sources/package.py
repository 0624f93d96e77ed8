"""``package://module/path``: a file or folder inside an installed package, found without importing it."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from cogen.checkpoints.sources._fetch import Request
from cogen.errors import SourceError


def fetch(request: Request) -> Path:
    """The file's place in site-packages (or in the checkout, for an editable install)."""
    module, _, inside = request.location.partition("/")
    if not module.isidentifier() or ".." in inside.split("/") or inside.startswith("/"):
        raise SourceError(
            f"{request.uri} is not package://module/path", hint="name a top-level package and a path in it"
        )
    # find_spec of a top-level name only looks for the file: no code of the package runs.
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module that runs as a script has none
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise SourceError(f"no package {module} is installed here", hint=f"pip install the plugin that holds {module}")
    for root in spec.submodule_search_locations:
        path = Path(root) / inside
        if path.exists():
            return path
    raise SourceError(
        f"the installed package {module} holds no {inside}",
        hint="its wheel is incomplete: reinstall it, or ask its publisher",
    )
