"""Which folders a merge or fusion may replace."""

from __future__ import annotations

from pathlib import Path

from cogen.errors import UsageError

#: A folder that holds one of these was written by CoGen.
MARKS = ("cogen.lock", "merge.json", "route.json")


def check_output_folder(output: Path) -> None:
    """Allow only a new folder, an empty one, or one that CoGen wrote.

    :raises UsageError: ``output`` is a file, or holds something else.
    """
    if output.is_file():
        raise UsageError(f"{output} is a file", hint="give a folder with -o")
    if output.is_dir() and any(output.iterdir()) and not any((output / mark).is_file() for mark in MARKS):
        raise UsageError(
            f"{output} exists and was not written by CoGen", hint="give another folder with -o, or move it away"
        )
