"""What any run gives, whatever its strategy."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.artifacts.lock import Lock
    from cogen.evals import Matrix
    from cogen.fusion.merge.measure import Trial
    from cogen.fusion.plan import Plan
    from cogen.fusion.route.plan import RoutePlan


@dataclass(frozen=True)
class Outcome:
    """What a run gave.

    :param lock: None for a route, which writes no weights.
    :param matrix: None at the level none.
    :param trials: the candidates of a search, in the order in which they were measured.
    :param scale: the scaling factor that was used; ``parameters``: what was chosen beside it, a weight as ``weight.ID``.
    :param seconds: by stage.
    :param report: the HTML report, where the strategy writes one.
    :param details: the strategy's own: :class:`~cogen.fusion.moe.insight.Insight` of a mixture that was measured,
        :class:`~cogen.runs.route.RouteOutcome` of a route.
    """

    folder: Path
    plan: Plan | RoutePlan
    lock: Lock | None
    matrix: Matrix | None
    trials: list[Trial]
    scale: float
    parameters: dict[str, float]
    seconds: dict[str, float]
    report: Path | None
    details: Any = None
