"""The same as `cogen fuse power materials --scale 0.6 --level none`, from Python.

python examples/compose.py composite
"""

from __future__ import annotations

import sys
from pathlib import Path

from cogen import Host
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.execute import execute
from cogen.runs.prepare import prepare


def main(output: Path) -> None:
    """Plan, look at the plan, build."""
    recipe = FuseRecipe(experts={"power": 1.0, "materials": 1.0}, scale=0.6, level="none")
    prepared = prepare(Host.discover(), recipe)
    plan = prepared.plan
    print(f"{plan.why}; {plan.changed_tensors} of {plan.tensors} tensors will be merged")
    outcome = execute(prepared, output)
    print(f"{outcome.folder}: {outcome.lock.weights_digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "composite"))
