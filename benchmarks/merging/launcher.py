"""Runs a command and prints its time and its peak memory as JSON.

    python -I -S launcher.py COMMAND ...

A process of its own, and a small one: Linux counts in a child's peak what its parent had when it was started, and the
benchmark itself has read models by then.
"""

import json
import os
import subprocess
import sys
import time


def main() -> int:
    """The command's exit code."""
    began = time.perf_counter()
    process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    print(json.dumps({"seconds": seconds, "peak": usage.ru_maxrss * unit}))
    return process.returncode


if __name__ == "__main__":
    sys.exit(main())
