"""The sink: stdout is data, stderr is talk, and each mode says what it should."""

from __future__ import annotations

import io
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from cogen.cli.output import Column, Mode, Output
from cogen.cli.progress import CommandReporter
from cogen.errors import UsageError

ROWS = [{"id": "power", "bpb": 0.91}, {"id": "a-long-name", "bpb": None}]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def sink(mode: Mode = "human", stream: type[io.StringIO] = io.StringIO) -> tuple[Output, io.StringIO, io.StringIO]:
    stdout, stderr = stream(), stream()
    return Output(mode, stdout, stderr), stdout, stderr


def test_plain_table_is_aligned() -> None:
    """Into a pipe: columns of equal width, numbers to the right, nothing cut off."""
    out, stdout, _ = sink()
    out.table(ROWS, ["id", Column("bpb", "bits per byte", "right")])
    assert stdout.getvalue() == "id           bits per byte\npower                 0.91\na-long-name\n"


def test_terminal_table_says_the_same() -> None:
    """On a terminal: drawn by rich, brackets in names are not markup."""
    out, stdout, _ = sink(stream=Terminal)
    out.table([["[red]x", 1]], ["name", "n"])
    assert "[red]x" in stdout.getvalue()


@pytest.mark.parametrize(("mode", "expected"), [("json", ""), ("quiet", "power\na-long-name\n")])
def test_tables_of_other_modes(mode: Mode, expected: str) -> None:
    """json leaves tables to result(); quiet prints the first column."""
    out, stdout, _ = sink(mode)
    out.text("a line")
    out.table(ROWS)
    assert stdout.getvalue() == expected


def test_result_is_one_json_document() -> None:
    """Paths, tuples, dataclasses and numbers that JSON does not know become what it knows."""

    @dataclass
    class Point:
        x: float

    out, stdout, stderr = sink("json")
    out.result({"a": (1, 2), "path": Path("x"), "point": Point(math.nan), "b": True, "n": None}, human="not this")
    assert json.loads(stdout.getvalue()) == {"a": [1, 2], "path": "x", "point": {"x": None}, "b": True, "n": None}
    assert stderr.getvalue() == ""


def test_result_for_people() -> None:
    """human prints the sentence, quiet nothing."""
    for mode, expected in (("human", "done\n"), ("quiet", "")):
        out, stdout, _ = sink(mode)  # type: ignore[arg-type]
        out.result({"done": True}, human="done")
        assert stdout.getvalue() == expected


def test_talk_goes_to_stderr() -> None:
    """status, success, warn, error and hint never touch stdout; quiet keeps warnings and errors."""
    for mode, expected in (
        ("human", ["s", "ok", "warning: w", "error: e", "hint: h"]),
        ("quiet", ["warning: w", "error: e"]),
    ):
        out, stdout, stderr = sink(mode)  # type: ignore[arg-type]
        out.status("s")
        out.success("ok")
        out.warn("w")
        out.error("e")
        out.hint("h")
        assert stdout.getvalue() == ""
        assert stderr.getvalue().splitlines() == expected


def test_colour_only_where_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colour on a terminal; none with NO_COLOR, none in a pipe."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    out, _, stderr = sink(stream=Terminal)
    out.error("e")
    assert "\x1b[" in stderr.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    out, _, stderr = sink(stream=Terminal)
    out.error("e")
    assert stderr.getvalue() == "error: e\n"


@pytest.mark.parametrize("mode", ["json", "quiet"])
def test_progress_is_silent_for_scripts(mode: Mode) -> None:
    """No bar and no line, but the same calls."""
    out, stdout, stderr = sink(mode)
    with out.progress(3, "working") as bar:
        bar.advance()
        bar.describe("more")
        assert bar.done == 1
    assert (stdout.getvalue(), stderr.getvalue()) == ("", "")


def test_progress_in_a_log_is_plain_lines() -> None:
    """Where stderr is not a terminal, short work says nothing and no control characters are written."""
    out, _, stderr = sink()
    with out.progress(None, "working", "tokens") as bar:
        bar.advance(5)
    assert "\x1b" not in stderr.getvalue()


def test_a_stage_that_fails_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it took."""
    out, _, stderr = sink()
    monkeypatch.setattr("cogen.cli.progress.out", out)
    seconds = itertools.count(step=10)
    monkeypatch.setattr("time.monotonic", lambda: float(next(seconds)))

    def run() -> None:
        with CommandReporter() as reporter:
            reporter.begin("reading", None, "")
            reporter.begin("merging", None, "")
            raise UsageError("a model is missing")

    with pytest.raises(UsageError):
        run()
    assert "reading: done in " in stderr.getvalue()
    assert "merging: done" not in stderr.getvalue()


def test_progress_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bar that follows advance(), describe() and a total that is learnt later."""
    monkeypatch.setenv("TERM", "xterm")
    out, _, stderr = sink(stream=Terminal)
    with out.progress(None, "working") as bar:
        bar.total = 2
        bar.advance(2)
        bar.describe("finished")
    assert "finished" in stderr.getvalue()


def test_confirm_never_waits_for_nobody() -> None:
    """Without a terminal only --yes agrees."""
    out, _, _ = sink()
    assert out.confirm("sure?", yes=True)
    with pytest.raises(UsageError) as caught:
        out.confirm("sure?")
    assert caught.value.hint == "pass --yes to agree"
