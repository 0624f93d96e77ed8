"""The command line's reporter: a progress bar for each stage, and notes on stderr."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Self

from cogen.cli.output import Progress, out


class CommandReporter:
    """A :class:`~cogen.reporter.Reporter` that draws; used with ``with``, which ends the last bar.

    No bar is drawn before there is something to count: notes while planning are plain lines.
    """

    def __init__(self, label: str = "") -> None:
        self._label = label
        self._stack = ExitStack()
        self._bar: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)  # a stage that failed is not "done"

    def begin(self, label: str, total: float | None, unit: str) -> None:
        """End the bar that is there, and draw one for the next stage."""
        self._stack.close()
        self._bar = self._stack.enter_context(out.progress(total, label, unit))

    def describe(self, label: str) -> None:
        if self._bar is None:
            self.begin(label, None, "")
        else:
            self._bar.describe(label)

    def advance(self, n: float = 1) -> None:
        if self._bar is None:
            self.begin(self._label, None, "")
        assert self._bar is not None
        self._bar.advance(n)

    def note(self, text: str) -> None:
        out.status(text)
