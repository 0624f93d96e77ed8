"""The process before and after a plugin's hook: what a hook prints and changes must not reach the run around it.

What is restored is cheap to read, and changes results or breaks files elsewhere: random numbers and torch's defaults
decide bits, the working directory is where relative paths begin, the locale changes how numbers are parsed. This is
order, not safety: a hook is code that the user chose to run.
"""

from __future__ import annotations

import contextlib
import locale
import os
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path


@contextlib.contextmanager
def guarded() -> Iterator[None]:
    """stdout goes to stderr inside, and afterwards the process is as it was, also where the hook failed."""
    undo = [_folder(), _locale(), _random(), *_numpy(), *_torch()]
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout belongs to the result of the verb
            yield
    finally:
        for restore in undo:
            restore()


def _folder() -> Callable[[], None]:
    try:
        before = Path.cwd()
    except FileNotFoundError:  # it was deleted: there is nothing to go back to
        return lambda: None

    def restore() -> None:
        with contextlib.suppress(OSError):
            if Path.cwd() == before:
                return
        os.chdir(before)

    return restore


def _locale() -> Callable[[], None]:
    before = locale.setlocale(locale.LC_ALL)

    def restore() -> None:
        if locale.setlocale(locale.LC_ALL) != before:
            locale.setlocale(locale.LC_ALL, before)

    return restore


def _random() -> Callable[[], None]:
    before = random.getstate()
    return lambda: random.setstate(before)


def _numpy() -> list[Callable[[], None]]:
    if (numpy := sys.modules.get("numpy")) is None:
        return []
    before = numpy.random.get_state()
    return [lambda: numpy.random.set_state(before)]


def _torch() -> list[Callable[[], None]]:
    if (torch := sys.modules.get("torch")) is None:
        return []
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    state = torch.get_rng_state()

    def restore() -> None:
        torch.set_rng_state(state)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    return [restore]
