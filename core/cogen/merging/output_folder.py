"""Which folders a fusion may replace."""

from __future__ import annotations

from pathlib import Path

from cogen.errors import UsageError

#: A folder that holds one of these was written by us.
MARKS = ("cogen.lock", "merge.json", "route.json")


def check_output_folder(output: Path) -> None:
    """Only a folder that we wrote, an empty one or none is replaced.

    :raises UsageError: ``output`` holds something else.
    """
    if output.is_file():
        raise UsageError(f"{output} is a file", hint="name a folder with -o")
    if output.is_dir() and any(output.iterdir()) and not any((output / mark).is_file() for mark in MARKS):
        raise UsageError(
            f"{output} exists and is not a composite of ours", hint="name another folder with -o, or move it away"
        )
