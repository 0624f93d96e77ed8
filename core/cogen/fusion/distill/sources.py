"""A group's experts, opened: what the student and every teacher are made of."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.fusion.distill.groups import ModelGroup
from cogen.fusion.merge.inputs import Inputs
from cogen.fusion.plan import Plan


@dataclass(frozen=True)
class OpenModel:
    """A group's experts, opened, and the plan that makes them one model where they are several."""

    group: ModelGroup
    tokenizer: Any
    tokenizer_digest: str
    plan: Plan | None
    inputs: Inputs

    def alone(self, id: str, expert: Checkpoint) -> OpenModel:
        """One of its experts, as a group of its own."""
        only = replace(self.inputs, experts={id: expert})
        return replace(self, plan=None, inputs=only)


def parameters_of(source: OpenModel) -> int:
    """Parameters of the group's model, all of them."""
    base = sum(math.prod(info.shape) for info in source.inputs.base.tensors.values())
    return base if source.plan is None else source.plan.details.size(base)
