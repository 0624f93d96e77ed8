"""A program that has imported what `cogen-registry serve` imports, and forks a process for each that is asked for.

Requests come on standard input, a JSON value a line, and each is answered in a line on standard output:

    {"start": [arguments, log, environment, folder]}    → the new process's id
    {"poll": id}                                        → its exit code, negative for a signal; null: it runs

It ends with its standard input, and ends all that still run.
"""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from typing import Any

#: None of them starts a thread, nor opens anything that two processes must not share.
IMPORTED = (
    "cogen_registry.app",
    "cogen_registry.cli",
    "cogen_registry.connections",
    "cogen_registry.experts.routes",
    "cogen_registry.names.routes",
    "cogen_registry.operators.routes",
    "cogen_registry.packages.routes",
    "cogen_registry.pages.routes",
    "cogen_registry.weights.routes",
    "cogen_registry.weights.xet_shared",
    "alembic.command",
    "boto3.s3.transfer",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
)


def start(arguments: list[str], log: str, environment: dict[str, str], folder: str) -> int:
    """Fork; the new process runs `cogen-registry` and never comes back."""
    if (pid := os.fork()) != 0:
        return pid
    code = 70
    try:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDWR)
        os.dup2(nothing, 0)
        os.dup2(nothing, 1)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        from cogen_registry.cli import main

        code = main(arguments)
    finally:
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    for name in IMPORTED:
        try:
            importlib.import_module(name)
        except ImportError:  # an extra that is not installed
            continue
    running: set[int] = set()
    codes: dict[int, int] = {}
    for line in sys.stdin:
        request: dict[str, Any] = json.loads(line)
        answer: int | None
        if "start" in request:
            answer = start(*request["start"])
            running.add(answer)
        else:
            pid = int(request["poll"])
            if pid in running and (found := os.waitpid(pid, os.WNOHANG))[0]:
                running.remove(pid)
                codes[pid] = os.waitstatus_to_exitcode(found[1])
            answer = codes.get(pid)
        print(json.dumps(answer), flush=True)  # noqa: T201 - the answer
    for pid in running:
        os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
