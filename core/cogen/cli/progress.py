"""A progress bar that also tells the plugins' hook ``cogen_progress``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cogen.cli.output import Progress, out

if TYPE_CHECKING:
    from cogen.host import Host

#: Seconds between two events: a hook must not slow the run down.
_PAUSE = 0.5


class Messages:
    """A reporter for what is done before a bar is drawn: its notes become lines on stderr."""

    def describe(self, label: str) -> None: ...

    def advance(self, n: float = 1) -> None: ...

    def note(self, text: str) -> None:
        """One line."""
        out.status(text)


class PluginProgress(Progress):
    """Forwards to ``bar``; every label and, at most twice a second, every advance becomes a ``ProgressEvent``."""

    def __init__(self, bar: Progress, host: Host, stage: str) -> None:
        super().__init__(bar.total)
        self._bar, self._host, self._stage, self._label = bar, host, stage, ""
        self._last = 0.0

    def advance(self, n: float = 1) -> None:
        self.done += n
        self._bar.advance(n)
        if time.monotonic() - self._last >= _PAUSE:
            self._tell()

    def note(self, text: str) -> None:
        out.status(text)

    def describe(self, label: str) -> None:
        self._label = label
        self._bar.describe(label)
        self._tell()

    def _tell(self) -> None:
        from cogen.host import ProgressEvent

        self._last = time.monotonic()
        self._host.hooks.tell(ProgressEvent(self._stage, self._label, self.done, self.total))
