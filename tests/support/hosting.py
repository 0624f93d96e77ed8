"""A folder behind ``python -m http.server``: the plainest web server there is."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hosted(folder: Path) -> Iterator[str]:
    """Its URL, without a slash at the end."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert server.stdout is not None
        match = re.search(r"port (\d+)", server.stdout.readline())
        assert match
        yield f"http://127.0.0.1:{match[1]}"
    finally:
        server.terminate()
        server.wait()
        if server.stdout is not None:
            server.stdout.close()
