"""The command line in processes that need not import anything: those take longer to start than to do tiny work."""

from __future__ import annotations

import os
import signal
import sys

#: Imported once by the server that processes are forked from.
PRELOADED = ["support.commands", "torch", "cogen.cli.main", "cogen.cli.merge", "cogen.merging.mergekit.run"]


def run_cogen(*arguments: str) -> None:
    """``cogen …`` as a fresh process has it, without output."""
    from cogen.cli.main import main

    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs inherit that it is ignored
    sys.exit(main(list(arguments)))
