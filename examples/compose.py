"""The same as `cogen fuse power materials --scale 0.6 --level none`, from Python.

python examples/compose.py composite
"""

from __future__ import annotations

import sys
from pathlib import Path

from cogen import Host
from cogen.fusion.planner import make_plan, resolve_method
from cogen.fusion.recipe import FuseRecipe
from cogen.runs.fuse import fuse


def main(output: Path) -> None:
    """Plan, look at the plan, build."""
    host = Host.discover()
    recipe = FuseRecipe(experts={"power": 1.0, "materials": 1.0}, scale=0.6, level="none")
    plan, inputs = make_plan(host, recipe)
    print(f"{plan.why}; {plan.changed_tensors} of {plan.tensors} tensors will be merged")
    experts = [host.expert(expert.id) for expert in plan.experts]
    outcome = fuse(plan, inputs, resolve_method(host, plan.method, plan.parameters), experts, output)
    print(f"{outcome.folder}: {outcome.lock.weights_digest}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "composite"))
