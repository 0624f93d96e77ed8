"""``file:///absolute/path`` or ``file://relative/path``: what lies on this machine already."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from cogen.checkpoints.sources._fetch import Request
from cogen.errors import SourceError


def fetch(request: Request) -> Path:
    """The path itself; nothing is copied."""
    try:
        path = Path(unquote(request.location)).expanduser()
        found = path.exists()
    except (OSError, RuntimeError) as error:  # a name too long, a folder that may not be read, no such user
        raise SourceError(
            f"{request.uri} cannot be read: {error}", hint="check the path and your permissions"
        ) from error
    if not found:
        raise SourceError(
            f"{path} does not exist", hint="file:// takes an absolute path, or one relative to this folder"
        )
    return path
