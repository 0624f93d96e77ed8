"""Running plans in tests as commands and Python callers do."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def carry_out(machine: Any, recipe: Any, output: Path, **options: Any) -> Any:
    """Plan and fuse: the outcome."""
    from cogen.runs.execute import execute
    from cogen.runs.prepare import prepare

    return execute(prepare(machine, recipe), output, **options)


def execute_plan(machine: Any, plan: Any, inputs: Any, output: Path, **options: Any) -> Any:
    """Carry out a plan that was made, or changed, before."""
    from cogen.fusion.strategies import strategy_of
    from cogen.runs.execute import execute
    from cogen.runs.prepare import Prepared

    return execute(Prepared(machine, strategy_of(plan, machine), plan, inputs), output, **options)
