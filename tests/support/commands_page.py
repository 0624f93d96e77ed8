"""``docs/commands.md``: the help text of every command. ``python tests/support/commands_page.py`` writes it again."""

from __future__ import annotations

import contextlib
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "commands.md"
_INTRODUCTION = """\
# Commands

Results go to stdout, progress and messages to stderr. Every command takes `--json` and then prints one JSON document
with the same figures as its tables. Exit codes: 0 success, 1 failure, 2 a plan or lock no longer holds, 3 wrong usage.

This page is the output of `--help`. `cogen methods` documents the merge methods in the same way.
"""


def helps() -> Iterator[tuple[str, str]]:
    """Each command line, such as ``cogen key rotate``, and its help text; groups before their sub-commands."""
    from cogen.cli.main import VERBS
    from cogen.cli.main import main as cogen
    from cogen_registry.cli import main as registry

    for verb in VERBS:
        yield from _with_commands("cogen", cogen, [verb])
    yield from _with_commands("cogen-registry", registry, [])


def names(text: str) -> set[str]:
    """The options that a help text, or a section of the page, names."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text))


def sections(page: str) -> dict[str, str]:
    """Command line → its section of the page."""
    found = re.split(r"^#{2,3} `(.+)`$", page, flags=re.M)[1:]
    return dict(zip(found[::2], found[1::2], strict=True))


def _with_commands(program: str, main: Callable[[list[str]], int], words: list[str]) -> Iterator[tuple[str, str]]:
    text = _help(main, words)
    yield " ".join([program, *words]), text
    _, _, commands = text.partition("Commands:\n")
    for command in re.findall(r"^  ([a-z][a-z-]*) ", commands, flags=re.M):
        yield from _with_commands(program, main, [*words, command])


def _help(main: Callable[[list[str]], int], words: list[str]) -> str:
    text = io.StringIO()
    with contextlib.redirect_stdout(text):
        code = main([*words, "--help"])
    if code:
        raise RuntimeError(f"{' '.join(words)} --help ends with {code}")
    return "\n".join(line.rstrip() for line in text.getvalue().strip().splitlines())


def write() -> None:
    """Write the page with the help texts of today."""
    os.environ["COLUMNS"] = "100"
    parts = [_INTRODUCTION]
    for line, text in helps():
        parts.append(f"{'#' * (2 + (line.count(' ') > 1))} `{line}`\n\n```text\n{text}\n```\n")
    PAGE.write_text("\n".join(parts), encoding="utf-8")


if __name__ == "__main__":
    write()
