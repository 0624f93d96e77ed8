"""A reporter that also informs the plugins' hook ``cogen_progress``."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cogen.reporter import Reporter, begin

if TYPE_CHECKING:
    from cogen.host import Host

#: Seconds between two events: a hook must not slow the run down.
_PAUSE = 0.5


class PluginProgress:
    """Forwards to ``reporter``; every label and, at most twice a second, every advance becomes a ``ProgressEvent``."""

    def __init__(self, reporter: Reporter, host: Host, stage: str) -> None:
        self._reporter, self._host, self._stage = reporter, host, stage
        self._label, self._last = "", 0.0
        self.done: float = 0
        self.total: float | None = None

    def begin(self, label: str, total: float | None, unit: str) -> None:
        """A new stage: counting starts again."""
        self._label, self.done, self.total = label, 0, total
        begin(self._reporter, label, total, unit)
        self._send()

    def describe(self, label: str) -> None:
        self._label = label
        self._reporter.describe(label)
        self._send()

    def advance(self, n: float = 1) -> None:
        self.done += n
        self._reporter.advance(n)
        if time.monotonic() - self._last >= _PAUSE:
            self._send()

    def note(self, text: str) -> None:
        self._reporter.note(text)

    def _send(self) -> None:
        from cogen.host import ProgressEvent

        self._last = time.monotonic()
        self._host.hooks.tell(ProgressEvent(self._stage, self._label, self.done, self.total))
