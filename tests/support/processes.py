"""`cogen-registry serve` in a process of its own, without a second and a half of imports for each.

It is forked from a program that has imported everything (:mod:`support.fork_server`); the command is the same. The
fixture ``running`` of tests/registry/packages starts it as an operator does.
"""

from __future__ import annotations

import atexit
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any


class _ForkServer:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-P", Path(__file__).with_name("fork_server.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        atexit.register(self.close)

    def ask(self, request: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


_server = cache(_ForkServer)


class Running:
    """As :class:`subprocess.Popen`, as far as the tests need it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def poll(self) -> int | None:
        """The exit code, negative for a signal; ``None``: it runs."""
        code: int | None = _server().ask({"poll": self.pid})
        return code

    def wait(self, timeout: float) -> int:
        """:raises TimeoutExpired: it runs for longer."""
        end = time.monotonic() + timeout
        while (code := self.poll()) is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("cogen-registry serve", timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def serve(arguments: Sequence[str], log: Path, environment: Mapping[str, str]) -> Running:
    """Start `cogen-registry serve …`; its standard error is appended to ``log``."""
    return Running(_server().ask({"start": [["serve", *arguments], str(log), dict(environment), str(Path.cwd())]}))
