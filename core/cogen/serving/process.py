"""An engine's process: started, waited for until it answers, and ended with us."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import FrameType

from cogen.errors import CogenError, UsageError
from cogen.serving.engines import Command

#: Loading a large model from a slow disk takes minutes.
START_SECONDS = 1800.0
_STOP_SECONDS = 15.0
#: Bytes of an engine's output that are kept for its last line.
_KEPT = 20_000


class ServingError(CogenError):
    """An engine did not start, or ended by itself."""


def free_port(host: str, port: int) -> int:
    """``port``, or any free one for 0.

    :raises UsageError: it is in use, or the address is not one of this machine.
    """
    if not host.strip():
        raise UsageError("--host is empty", hint="leave it out for 127.0.0.1, or 0.0.0.0 for every address")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"cannot listen on {host}:{port}: {reason}", hint="give another --port or --host") from error


@contextlib.contextmanager
def started(command: Command, url: str, *, seconds: float = START_SECONDS) -> Iterator[subprocess.Popen[bytes]]:
    """The engine while it answers ``url``; it ends with the block, and with SIGTERM.

    :raises ServingError: it ended before it answered, or took longer than ``seconds``; the message has its last line.
    """
    with _terminated():
        environment = os.environ | {"HF_HUB_OFFLINE": "1"}
        try:
            process = subprocess.Popen(
                list(command.arguments),
                cwd=command.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                env=environment,
            )
        except OSError as error:
            raise ServingError(
                f"{command.engine} cannot be started: {error.strerror}", hint="is it installed?"
            ) from error
        output = _Output(process)
        try:
            _wait(process, url, seconds, command.engine, output)
            yield process
        finally:
            stop(process)
            output.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process: politely, then not."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def answers(url: str) -> bool:
    """Does a server list its models at ``url``?"""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            json.load(answer)
            return True
    except (OSError, ValueError, urllib.error.URLError):
        return False


def _wait(process: subprocess.Popen[bytes], url: str, seconds: float, engine: str, output: _Output) -> None:
    end = time.monotonic() + seconds
    while not answers(url):
        code = process.poll()
        if code is not None:
            raise ServingError(f"{engine} ended with exit code {code}: {output.last_line()}", hint=_HINT)
        if time.monotonic() > end:
            raise ServingError(f"{engine} did not answer within {seconds:.0f} s: {output.last_line()}", hint=_HINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


_HINT = "try another --engine, or run the engine by itself to see all of its output: --print shows its command"


class _Output:
    """What an engine writes, read all the time; only its end is kept, however long the engine runs."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None  # a pipe
        self._pipe, self._end = process.stdout, bytearray()
        self._thread = threading.Thread(target=self._read, name="engine output", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError, ValueError):  # closed
            while part := os.read(self._pipe.fileno(), 1 << 16):
                self._end += part
                del self._end[:-_KEPT]

    def last_line(self) -> str:
        """Of an engine that has ended: a child of it may hold the pipe open."""
        self._thread.join(2)
        lines = [line.strip() for line in bytes(self._end).decode(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it wrote nothing"

    def close(self) -> None:
        self._thread.join(2)
        if not self._thread.is_alive():
            self._pipe.close()


@contextlib.contextmanager
def _terminated() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that the engine does not outlive us."""

    def leave(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    try:
        former = signal.signal(signal.SIGTERM, leave)
    except ValueError:  # not the main thread: whoever called ends the process
        yield
        return
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)
