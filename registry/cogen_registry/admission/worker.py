"""A process that reads what strangers uploaded, and can be killed: ``python -m cogen_registry.admission.worker``.

It gets jobs as :mod:`cogen_registry.admission.wire` writes them, one after the other, and says what it found. Each has
its own seconds of the processor; memory and sizes of files are limited; there is no network. Whatever a job
breaks of that ends the process, and the pool starts another one.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cogen_registry.admission import wire
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

_NEWNET, _NEWUSER, _NO_NEW_PRIVILEGES = 0x40000000, 0x10000000, 38
#: Open files: the upload, what is unpacked of it, and a few of Python's.
_FILES = 64
#: Says that memory ran out, where nothing that needs memory can be said any longer.
OUT_OF_MEMORY = 77


def wheel(path: str, filename: str, limits: dict[str, Any], scratch: str) -> dict[str, Any]:
    from cogen_registry.admission.wheel import check_wheel

    return wire.of_wheel(check_wheel(Path(path), filename, Limits.model_validate(limits), Path(scratch)))


def weight(path: str, name: str) -> dict[str, Any]:
    from cogen_registry.admission.weights import check_weight_file

    check_weight_file(path, name)
    return {}


def lock(path: str) -> dict[str, Any]:
    """A ``cogen.lock``: the experts that it names."""
    from cogen_registry.admission.locks import read

    return {"experts": [[one.id, one.version, one.spec_digest] for one in read(Path(path)).plan.experts]}


def openable(path: str, kind: str, claim: str) -> dict[str, Any]:
    """What a manifest says of weights and is not so; or null."""
    from cogen_registry.admission.described import problem_of

    return problem_of(path, kind, claim)


def metadata(text: str) -> dict[str, Any]:
    """The metadata at the top of a README: what is wrong with it, or null."""
    from cogen_registry.admission.readmes import problem

    return {"problem": problem(text)}


JOBS: dict[str, Callable[..., dict[str, Any]]] = {
    "wheel": wheel,
    "weight": weight,
    "lock": lock,
    "openable": openable,
    "metadata": metadata,
}


def answer(job: dict[str, Any]) -> dict[str, Any]:
    """Do one job.

    :raises MemoryError: the process can't be trusted to go on.
    """
    try:
        return {"found": JOBS[job["kind"]](**job["of"])}
    except Refused as refused:
        return {"refused": [refused.status, refused.message, refused.hint]}
    except RecursionError:
        return {"refused": [422, "it is nested too deeply", "a file of models is flat"]}
    except MemoryError:
        raise
    except OSError as error:
        return {"failed": str(error.strerror or error), "errno": error.errno}
    except Exception as error:  # noqa: BLE001 - as the next line says
        # A reader that fails at a stranger's bytes in a way that nobody thought of: these bytes are not taken.
        print(f"{job['kind']}: {error!r}"[:2000], file=sys.stderr, flush=True)  # noqa: T201 - the service's log
        return {"refused": [422, f"it cannot be read: {type(error).__name__}", "write it again with a current tool"]}


def confine(memory: int) -> None:
    """Limits for good. ``memory``: bytes beyond what is in use now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if Path("/proc/self/statm").exists() else 0
    left = pages * resource.getpagesize() + memory
    resource.setrlimit(resource.RLIMIT_AS, (left, left))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_FILES, _FILES))
    try:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        # As root at once; as anybody else with an own name space of users, where the system lets them.
        if libc.unshare(_NEWNET) != 0:
            libc.unshare(_NEWUSER | _NEWNET)
    except (OSError, AttributeError):  # not Linux: the other limits hold all the same
        pass


def allow(seconds: float, file_size: int) -> None:
    """For one job: seconds of the processor, beyond which the system ends this process (SIGXCPU), and bytes of a file
    that it writes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (file_size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    used = sum(resource.getrusage(resource.RUSAGE_SELF)[:2])
    _, hard = resource.getrlimit(resource.RLIMIT_CPU)
    resource.setrlimit(resource.RLIMIT_CPU, (int(used + seconds) + 1, hard))


def main() -> None:
    """Serve until the pipe ends, that is as long as the service lives."""
    jobs, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is no answer
    os.nice(10)  # whoever reads comes first
    for name in (
        "wheel",
        "weights",
        "locks",
        "readmes",
        "contents",
        "described",
    ):  # before memory is limited, and not in a job's time
        importlib.import_module(f"cogen_registry.admission.{name}")
    import cogen.conformance.static
    import cogen.evals  # noqa: F401

    first = wire.receive(jobs)
    if first is None:
        return
    confine(int(first["memory"]))
    wire.send(answers, {"ready": True})
    while (job := wire.receive(jobs)) is not None:
        allow(float(job["seconds"]), int(job["file_size"]))
        try:
            found = answer(job)
        except MemoryError:
            os._exit(OUT_OF_MEMORY)
        wire.send(answers, found)


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:  # the service was killed: nobody waits for an answer
        os._exit(1)
