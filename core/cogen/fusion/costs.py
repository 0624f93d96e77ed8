"""What a run takes: the suites that are measured with their tokens, and bytes on disk and in memory."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import Checkpoint
from cogen.evals import BoundSuite, count_tokens
from cogen.evals.matrix import suites_for
from cogen.fusion.merge.shapes import nbytes
from cogen.fusion.merge.space import SearchSpace
from cogen.fusion.plan import Cost, PlannedSuite
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert
from cogen.merging.block import BLOCK
from cogen.merging.engine import usable_cores


def planned_suites(suites: list[BoundSuite], recipe: FuseRecipe, tokenizer: Any) -> tuple[PlannedSuite, ...]:
    """Those that the recipe's level measures, with digests and tokens; ``tokenizer``: the base's."""
    if recipe.level == "none":
        return ()
    wanted = [b for b in suites if recipe.level == "full" or b.suite.metric == "bits_per_byte"]
    test = count_tokens(tokenizer, wanted, "test", recipe.level)
    dev = count_tokens(tokenizer, [b for b in wanted if b.suite.metric == "bits_per_byte"], "dev", "quick")
    return tuple(
        PlannedSuite(
            owner=b.owner,
            id=b.suite.id,
            title=b.suite.title,
            metric=b.suite.metric,
            task_digest=file_digest(b.root / Path(b.suite.task)),
            dev_digest=b.suite.dev.digest,
            test_digest=b.suite.test.digest,
            dev_tokens=dev.get((b.owner, b.suite.id), 0),
            test_tokens=test[b.owner, b.suite.id],
        )
        for b in wanted
    )


def matrix_tokens(rows: Iterable[Collection[str] | None], suites: Sequence[PlannedSuite], recipe: FuseRecipe) -> int:
    """Tokens of all cells.

    :param rows: of each row the experts that it stands for; None: it is measured on all suites.
    """
    return sum(suite.test_tokens for owners in rows for suite in suites_for(owners, suites, recipe.matrix))


def planned_cost(
    found: Mapping[str, tuple[str, tuple[int, ...]]],
    scratch: Sequence[str],
    chosen: Sequence[Expert],
    suites: tuple[PlannedSuite, ...],
    search: SearchSpace,
    recipe: FuseRecipe,
    base: Checkpoint,
) -> Cost:
    """
    :param found: type and shape of the composite's tensors; ``scratch``: those that a candidate is written with.
    """
    sizes = {name: nbytes(dtype, shape) for name, (dtype, shape) in found.items()}
    wide = 4 if recipe.level == "full" else 2
    parameters = sum(math.prod(shape) for _, shape in found.values())
    return Cost(
        search_tokens=search.evaluations * sum(s.dev_tokens for s in suites if s.owner != "general"),
        # base and composite, then every expert
        matrix_tokens=matrix_tokens([None, None, *({expert.id} for expert in chosen)], suites, recipe),
        output_bytes=sum(sizes.values()),
        scratch_bytes=sum(sizes[name] for name in scratch) if search.evaluations else 0,
        # A model in the evaluation's type, the blocks under way, and 1 GB of libraries and activations.
        memory_bytes=(parameters * wide if recipe.level != "none" else 0)
        + usable_cores() * 4 * (len(chosen) + 4) * 4 * BLOCK
        + (1 << 30),
        parameters=sum(info.numel for info in base.tensors.values()),
    )
