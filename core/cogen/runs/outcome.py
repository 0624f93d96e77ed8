"""What a run gave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.artifacts.lock import LOCK_NAME as LOCK
from cogen.artifacts.report.report import REPORT_NAME as REPORT

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.evals import Matrix
    from cogen.fusion.merge.measure import Trial

__all__ = ["LOCK", "REPORT", "Outcome"]


@dataclass(frozen=True)
class Outcome:
    """Of every strategy the same.

    :param plan: as in :class:`~cogen.runs.prepare.Prepared`.
    :param lock: None where no weights are written (route).
    :param matrix: None at the level none.
    :param trials: candidates that were measured, in their order; empty where nothing was searched.
    :param parameters: what was chosen beside the scale; a weight is called ``weight.ID``.
    :param seconds: by stage.
    :param report: the file; None where there is no lock.
    :param details: the strategy's own: the :class:`~cogen.fusion.moe.insight.Insight` of moe, the
        :class:`~cogen.fusion.route.strategy.RouteResult` of route; else None.
    """

    folder: Path
    plan: Any
    lock: Lock | None
    matrix: Matrix | None
    trials: Sequence[Trial]
    scale: float
    parameters: dict[str, float]
    seconds: dict[str, float]
    report: Path | None
    details: Any = None
