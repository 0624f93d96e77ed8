"""Which folders a merge or fusion may replace, and that one run at a time writes a folder."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from cogen.cache import one_process
from cogen.errors import UsageError

#: A folder that holds one of these was written by CoGen.
MARKS = ("cogen.lock", "merge.json", "route.json", "export.json")


def check_output_folder(output: Path) -> None:
    """Allow only a new folder, an empty one, or one that CoGen wrote.

    :raises UsageError: ``output`` is a file, or holds something else.
    """
    if output.exists() and not output.is_dir():  # a file, or a device such as /dev/null
        raise UsageError(f"{output} is {'a file' if output.is_file() else 'no folder'}", hint="give a folder with -o")
    if output.is_dir() and any(output.iterdir()) and not any((output / mark).is_file() for mark in MARKS):
        raise UsageError(
            f"{output} exists and was not written by CoGen", hint="give another folder with -o, or move it away"
        )


def other_recipe(output: Path, what: str) -> UsageError:
    """The refusal to replace what another recipe gave; ``what`` describes it."""
    return UsageError(f"{output} holds {what}", hint="give another folder with -o, or replace it with --replace")


@contextlib.contextmanager
def one_writer(output: Path) -> Iterator[None]:
    """No other process of this user and machine writes ``output`` in the meantime.

    :raises UsageError: one does.
    """
    name = hashlib.sha256(os.fsencode(output.resolve())).hexdigest()[:32]
    with one_process("writing", name) as alone:
        if not alone:
            raise UsageError(
                f"another run is writing {output}", hint="wait until it is done, or give another folder with -o"
            )
        yield
