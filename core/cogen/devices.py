"""Where models run, and on how many threads: one choice for a whole command or a block of Python.

``auto`` takes a GPU where there is one. What decides a composite's weights (Gram matrices, states for routers) stays on
the CPU unless a device is asked for: there it gives the same bits on every machine, on a GPU it does not.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cogen.errors import UsageError
from cogen.settings import settings

AUTO, CPU = "auto", "cpu"
#: What libraries read when they start their threads: OpenMP, its kin in BLAS libraries, and Rust's tokenizers.
THREAD_VARIABLES = (
    *("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "VECLIB_MAXIMUM_THREADS", "NUMEXPR_NUM_THREADS"),
    "RAYON_NUM_THREADS",
)
#: More than any machine has cores; OpenMP ends the process where the system gives it no more threads.
MOST_THREADS = 4096
#: Bytes of a GPU's memory for each text that is evaluated at once: windows of 1,024 tokens, 150,000 logits each.
_BYTES_A_TEXT, _MOST_TEXTS = 6_000_000_000, 16


@dataclass(frozen=True)
class _Choice:
    device: str | None = None
    threads: int | None = None


_choice = _Choice()


def check_device(name: str) -> str:
    """``name``, if it is auto, cpu, mps, cuda or cuda:N; whether it is there is found out when it is needed.

    :raises UsageError: it is none of them.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise UsageError(f"unknown device {name!r}; one of auto, cpu, cuda, cuda:N, mps", hint="leave --device out")
    return name


def choose(device: str | None = None, threads: int | None = None) -> None:
    """Set where models run and how many threads compute, for all that this process does from now on.

    :param device: auto, cpu, mps, cuda or cuda:N; ``None`` leaves it. :param threads: ``None`` leaves them.
    :raises UsageError: there is no such device, or no such number of threads.
    """
    global _choice
    if device is not None:
        check_device(device)
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(
            f"threads must be from 1 to {MOST_THREADS:,} (got {threads})", hint="leave it out to use all cores"
        )
    _choice = _Choice(device or _choice.device, threads or _choice.threads)
    if threads is not None:
        _set_threads(threads)


@contextlib.contextmanager
def compute(device: str | None = None, threads: int | None = None) -> Iterator[None]:
    """Inside the block models run on ``device``, and CPU work on ``threads`` threads, in every function of CoGen.

        with cogen.compute(device="cuda:1", threads=4):
            cogen.evaluate("composite")

    The choice is the process's, not the calling thread's.

    :raises UsageError: there is no such device, or no such number of threads.
    """
    global _choice
    before, variables = _choice, {name: os.environ.get(name) for name in THREAD_VARIABLES}
    torch = sys.modules.get("torch")
    count = torch.get_num_threads() if torch is not None else None
    try:
        choose(device, threads)
        yield
    finally:
        _choice = before
        if threads is not None:
            for name, value in variables.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
            if torch is not None and count is not None:
                torch.set_num_threads(count)


def threads() -> int | None:
    """The number that was asked for by --threads or :func:`compute`; ``None``: libraries choose."""
    return _choice.threads


def device(*, deciding: bool = False) -> str:
    """Where a model runs now: "cpu", "cuda:0", "mps", as torch names it.

    :param deciding: does what it computes decide weights that are written? Then auto is the CPU, unless asked for.
    :raises UsageError: what was asked for is not there.
    """
    asked = _choice.device or settings().device
    if asked is not None:
        check_device(asked)
    if asked is None and deciding:
        return CPU
    return _resolve(asked or AUTO)


def is_gpu(name: str) -> bool:
    """Whether a device's name is not the CPU's."""
    return name != CPU


def mark(*, deciding: bool = False) -> list[str]:
    """What a key of the cache needs to know of the device, where figures differ from the CPU's; nothing on the CPU."""
    name = device(deciding=deciding)
    return [] if name == CPU else ["device", describe(name)]


def describe(name: str) -> str:
    """Kind and model: "cuda NVIDIA H200"; "cpu"."""
    if name.startswith("cuda"):
        import torch

        return f"cuda {torch.cuda.get_device_name(name)}"
    return name


def batch_size(name: str) -> int:
    """Texts that are evaluated at once: one on a CPU, where padding costs time and changes bfloat16's last digits."""
    if not name.startswith("cuda"):
        return 1
    import torch

    total = int(torch.cuda.get_device_properties(name).total_memory)
    return max(1, min(_MOST_TEXTS, total // _BYTES_A_TEXT))


def place(model: Any, name: str) -> Any:
    """The model on a device; as it is where it is there already."""
    return model if str(model.device) == name or name == CPU == model.device.type else model.to(name)


def settle_threads() -> None:
    """Bring torch to the number of threads that was asked for before it was imported."""
    if _choice.threads is not None:
        import torch

        if torch.get_num_threads() != _choice.threads or torch.get_num_interop_threads() != _choice.threads:
            _set_threads(_choice.threads)


def _resolve(asked: str) -> str:
    if asked == CPU:
        return CPU
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if asked == AUTO:
        return f"cuda:{_current(torch)}" if count else CPU
    if asked == "mps":
        if not torch.backends.mps.is_available():
            raise UsageError("there is no device mps", hint="it exists on Apple computers alone: --device auto")
        return asked
    number = int(asked.partition(":")[2]) if ":" in asked else _current(torch) if count else 0
    if number >= count:
        there = f"this process sees {count} of them" if count else "this process sees no GPU"
        raise UsageError(
            f"there is no device {asked}: {there}",
            hint="--device cpu, or check the driver, CUDA_VISIBLE_DEVICES and that torch was installed with CUDA",
        )
    return f"cuda:{number}"


def _current(torch: Any) -> int:
    return int(torch.cuda.current_device())


def _set_threads(count: int) -> None:
    """Of this process, and of processes that it starts."""
    for name in THREAD_VARIABLES:
        os.environ[name] = str(count)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(count)
        with contextlib.suppress(RuntimeError):  # they can be set once, before the first parallel work
            torch.set_num_interop_threads(count)
