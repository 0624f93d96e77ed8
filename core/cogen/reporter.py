"""Where a long run says how far it is: one small interface in the place of callbacks of four kinds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Called by every long function; a progress bar, a log, a notebook or a service implements it.

    Methods are called from the thread that runs, and must return at once. What they raise ends the run.
    One that shows a total may implement :class:`Counter`, too.
    """

    def describe(self, label: str) -> None:
        """What is being done from now on, e.g. ``"measuring clinical"``."""

    def advance(self, n: float = 1) -> None:
        """``n`` more units of the run's total (tokens, bytes, steps) are done."""

    def note(self, text: str) -> None:
        """One line that is worth keeping, e.g. where a download comes from."""


@runtime_checkable
class Counter(Protocol):
    """What a :class:`Reporter` may implement to learn how much :meth:`Reporter.advance` will count up to."""

    def begin(self, label: str, total: float | None, unit: str) -> None:
        """A stage begins: ``total`` units lie ahead, ``None`` where nobody knows; a later call begins the next one."""


class Silent:
    """Keeps everything to itself."""

    def describe(self, label: str) -> None: ...

    def advance(self, n: float = 1) -> None: ...

    def note(self, text: str) -> None: ...


#: The default of every ``reporter=``.
SILENT: Reporter = Silent()


def begin(reporter: Reporter, label: str, total: float | None, unit: str = "") -> None:
    """Begin a stage: its total for reporters that show one, its label for all others."""
    if isinstance(reporter, Counter):
        reporter.begin(label, total, unit)
    else:
        reporter.describe(label)
