"""Worker processes that read what was uploaded, so that no upload can fill the memory or the time of the service.

One pool a process serves every registry that is open in it: a worker knows nothing but the job that it has.
"""

from __future__ import annotations

import atexit
import errno
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen_registry.admission import wire
from cogen_registry.admission.worker import OUT_OF_MEMORY
from cogen_registry.errors import Refused
from cogen_registry.settings import MB, Limits

if TYPE_CHECKING:
    from cogen_registry.admission.wheel import Wheel

#: Bytes of a file for which a job has one second more.
_BYTES_A_SECOND = 4 * MB
#: Wall-clock seconds for each second of the processor: the machine may be busy.
_PATIENCE = 4
#: Until a worker has loaded what it needs.
_START = 120.0
#: Jobs after which a worker is replaced: memory that went to pieces comes together again.
_JOBS = 2000
#: Of the service's environment; secrets (AWS_*, the database's URL) are not for who reads strangers' bytes.
_ENVIRONMENT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "SYSTEMROOT", "TMPDIR")
#: Errors that say something of the service's own disk, and nothing of what was uploaded.
_SERVERS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EIO,
    errno.EROFS,
    errno.EMFILE,
    errno.ENFILE,
    errno.EACCES,
    errno.EPERM,
    errno.ENOENT,
}
#: What a job names by paths. Workers live in a folder of their own, so relative ones would mean something else there.
_PATHS = {"path", "scratch"}
_HINT = "an ordinary wheel takes a second; ship less, or in several plugins"


class _Died(Exception):
    """The worker ended in the middle of a job. ``code``: as of :mod:`subprocess`; ``None``: it took too long."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class _Worker:
    """One process, and the pipes to it."""

    def __init__(self, memory: int) -> None:
        known = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cogen_registry.admission.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            cwd=tempfile.gettempdir(),
            env=known | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        self.jobs, self._ready = 0, False
        self._buffer = bytearray()
        try:
            self._send({"memory": memory})
        except BaseException:
            self.end()  # killed before it read a word: its pipes are closed, whoever asks for another worker
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def alive(self) -> bool:
        return self._process.poll() is None

    def do(self, job: dict[str, Any], seconds: float) -> dict[str, Any]:
        """:raises _Died: it ended, or was ended after ``seconds``. :raises wire.Garbled: it speaks another language."""
        if not self._ready:
            self._receive(_START)
            self._ready = True
        self.jobs += 1
        self._send(job)
        return self._receive(seconds)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def _send(self, value: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        try:
            wire.send(self._process.stdin, value)
        except BrokenPipeError:
            raise _Died(self._process.wait()) from None

    def _receive(self, seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        head = self._read(4, until)
        length = int.from_bytes(head, "big")
        if length > wire.LARGEST:
            raise wire.Garbled("it is too long")
        return wire.parse(self._read(length, until))

    def _read(self, size: int, until: float) -> bytes:
        assert self._process.stdout is not None
        handle, poll = self._process.stdout.fileno(), select.poll()
        poll.register(handle, select.POLLIN)
        while len(self._buffer) < size:
            left = until - time.monotonic()
            if left <= 0 or not poll.poll(left * 1000):
                raise _Died(None)
            data = os.read(handle, 1 << 16)
            if not data:
                raise _Died(self._process.wait())
            self._buffer += data
        found = bytes(self._buffer[:size])
        del self._buffer[:size]
        return found


class Pool:
    """:param size: processes; :param memory: bytes that each may take; :param seconds: of the processor for one job, to
    which come those that its bytes need.

    All methods may be called from any thread; as many callers as there are workers are served at once.
    """

    def __init__(self, size: int, memory: int, seconds: float) -> None:
        self._size, self._memory, self._seconds = size, memory, seconds
        self._free = threading.Condition()
        self._idle: list[_Worker] = []
        self._count, self._closed = 0, False

    def start(self) -> None:
        """Begin to start all workers, and don't wait for them."""
        with self._free:
            while self._count < self._size and not self._closed:
                try:
                    self._idle.append(_Worker(self._memory))
                except _Died:
                    break  # the first job starts another one
                self._count += 1
            self._free.notify_all()

    def close(self) -> None:
        """End all that wait for a job; those at work end with theirs."""
        with self._free:
            self._closed = True
            workers, self._idle = self._idle, []
            self._count -= len(workers)
            self._free.notify_all()
        for worker in workers:
            worker.end()

    def processes(self) -> list[int]:
        """Process ids of the workers that wait for a job."""
        with self._free:
            return [worker.pid for worker in self._idle]

    def wheel(self, path: str, filename: str, limits: Limits, scratch: Path) -> Wheel:
        """See :func:`cogen_registry.admission.wheel.check_wheel`; whatever was unpacked is gone afterwards."""
        from cogen_registry.admission.wheel import check_filename

        project, version = check_filename(filename)
        with tempfile.TemporaryDirectory(prefix="wheel-", dir=scratch, ignore_cleanup_errors=True) as place:
            of = {"path": path, "filename": filename, "limits": limits.model_dump(), "scratch": place}
            found = self.run("wheel", of, Path(path).stat().st_size, limits.unpacked)
        try:
            wheel = wire.to_wheel(found)
        except wire.Garbled as error:
            raise _unreadable("wheel") from error
        if (wheel.project, wheel.version, wheel.filename) != (project, version, filename):
            raise _unreadable("wheel")
        return wheel

    def weight(self, path: str, name: str) -> None:
        """See :func:`cogen_registry.admission.weights.check_weight_file`."""
        size = Path(path).stat().st_size
        self.run("weight", {"path": path, "name": name}, min(size, 256 * MB) if name.endswith(".safetensors") else size)

    def run(self, kind: str, of: dict[str, Any], size: int = 0, file_size: int = MB) -> dict[str, Any]:
        """Let a worker do a job of :data:`cogen_registry.admission.worker.JOBS`.

        :param size: bytes that it reads. :param file_size: the largest file that it may write.
        :raises Refused: what the worker says; 413 or 422, it would take more than there is for one upload.
        :raises OSError: of the service's own disk.
        """
        seconds = self._seconds + size / _BYTES_A_SECOND
        of = {key: str(Path(value).absolute()) if key in _PATHS else value for key, value in of.items()}
        job = {"kind": kind, "of": of, "seconds": seconds, "file_size": file_size}
        for last in (False, True):
            try:
                worker = self._take()
            except _Died as died:
                if last:
                    raise _beyond(died, kind, seconds) from None
                continue
            whole = False
            try:
                answer = worker.do(job, seconds * _PATIENCE)
                whole = True
                return _found(answer, kind)
            except _Died as died:
                # Somebody may have ended it who doesn't know of this upload; twice in a row is not an accident.
                if last or died.code not in (-signal.SIGKILL, -signal.SIGTERM, 0):
                    raise _beyond(died, kind, seconds) from None
            except wire.Garbled as error:
                raise _unreadable(kind) from error
            finally:
                self._give(worker, whole)
        raise AssertionError("unreachable")

    def _take(self) -> _Worker:
        with self._free:
            while True:
                if self._closed:
                    raise Refused(503, "the registry is closing", hint="try again", headers={"Retry-After": "10"})
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive():
                        return worker
                    worker.end()
                    self._count -= 1
                if self._count < self._size:
                    self._count += 1
                    break
                self._free.wait()
        try:
            return _Worker(self._memory)
        except BaseException:
            with self._free:
                self._count -= 1
                self._free.notify()
            raise

    def _give(self, worker: _Worker, whole: bool) -> None:
        """Back to the others; in place of one that broke a limit another one is started at once."""
        fresh: _Worker | None = worker
        if not whole or worker.jobs >= _JOBS or self._closed:
            worker.end()
            try:
                fresh = None if self._closed else _Worker(self._memory)
            except (OSError, _Died):
                fresh = None
        with self._free:
            if fresh is None:
                self._count -= 1
            else:
                self._idle.append(fresh)
            self._free.notify()


def _found(answer: dict[str, Any], kind: str) -> dict[str, Any]:
    if isinstance(found := answer.get("found"), dict):
        return found
    refused = answer.get("refused")
    if isinstance(refused, list) and len(refused) == 3 and refused[0] in range(400, 500):
        message, hint = (" ".join(str(part).split())[:1000] for part in refused[1:])
        raise Refused(int(refused[0]), message, hint=hint)
    if (number := answer.get("errno")) == errno.EFBIG:
        raise Refused(413, f"a file of this {kind} is larger than it may be", hint=_HINT)
    if number in _SERVERS:
        raise OSError(number, os.strerror(number))
    raise _unreadable(kind)


def _beyond(died: _Died, kind: str, seconds: float) -> Refused:
    if died.code == OUT_OF_MEMORY or died.code == -signal.SIGABRT:
        return Refused(413, f"this {kind} takes more memory to read than one upload may", hint=_HINT)
    if died.code is None or died.code == -signal.SIGXCPU:
        return Refused(422, f"this {kind} takes longer to read than {seconds:.0f} seconds", hint=_HINT)
    return _unreadable(kind)


def _unreadable(kind: str) -> Refused:
    return Refused(422, f"this {kind} cannot be read", hint="write it again with a current tool")


_pools: dict[tuple[int, int, float], Pool] = {}
_making = threading.Lock()


def pool_of(limits: Limits) -> Pool:
    """The pool of this process for a service with these limits."""
    key = (limits.workers, limits.memory, limits.seconds)
    with _making:
        if key not in _pools:
            _pools[key] = made = Pool(*key)
            atexit.register(made.close)
        return _pools[key]
