"""Where a long run says how far it is: one small interface in the place of callbacks of four kinds."""

from __future__ import annotations

from typing import Protocol, runtime_checkable


@runtime_checkable
class Reporter(Protocol):
    """Told by every long function what it does; a progress bar, a log, a notebook or a service implements it.

    Methods are called from the thread that runs, and must return at once. What they raise ends the run.
    """

    def describe(self, label: str) -> None:
        """What is being done from now on, e.g. ``"measuring clinical"``."""

    def advance(self, n: float = 1) -> None:
        """``n`` more units of the run's total (tokens, bytes, steps) are done."""

    def note(self, text: str) -> None:
        """One line that is worth keeping, e.g. where a download comes from."""


class Silent:
    """Keeps everything to itself."""

    def describe(self, label: str) -> None: ...

    def advance(self, n: float = 1) -> None: ...

    def note(self, text: str) -> None: ...


#: The default of every ``reporter=``.
SILENT: Reporter = Silent()
