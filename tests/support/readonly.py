"""Folders that may only be read, and processes that obey: root does not, unless it gives up two privileges."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

#: prctl: take a capability out of the set that a program can have; of those that let root ignore permissions.
_DROP, _OVERRIDE = 24, (1, 2)


def _obey() -> None:
    libc = ctypes.CDLL(None)
    for capability in _OVERRIDE:
        libc.prctl(_DROP, capability, 0, 0, 0)


def run_obeying(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command in a process that permissions bind, whoever runs the tests."""
    return subprocess.run(
        command,
        preexec_fn=_obey if os.geteuid() == 0 else None,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def run_without_privileges(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_obeying([sys.executable, "-c", code], **environment)


@contextlib.contextmanager
def obeying() -> Iterator[None]:
    """This thread obeys permissions in the meantime, also as root."""
    if os.geteuid() != 0:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this thread
    sets = (ctypes.c_uint32 * 6)()  # effective, permitted, inheritable: the lower 32, then the upper
    assert libc.capget(header, sets) == 0
    before = sets[0]
    sets[0] &= ~sum(1 << capability for capability in _OVERRIDE)
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        sets[0] = before
        assert libc.capset(header, sets) == 0


@contextlib.contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """No file or folder in ``folder`` can be written in the meantime."""
    places = [folder, *folder.rglob("*")]
    modes = [path.stat().st_mode for path in places]
    for path in places:
        path.chmod(path.stat().st_mode & ~0o222)
    try:
        yield
    finally:
        for path, mode in zip(places, modes, strict=True):
            path.chmod(mode)
