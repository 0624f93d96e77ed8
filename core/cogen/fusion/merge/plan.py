"""The fields that the plans of all models of one lineage share."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Sequence

from cogen.fusion.compatible import license_of
from cogen.fusion.details import Details
from cogen.fusion.merge.generation import difference_notes
from cogen.fusion.merge.inputs import OpenedInputs
from cogen.fusion.merge.tokenizer import planned_vocabulary
from cogen.fusion.plan import Cost, Plan, PlannedSuite
from cogen.fusion.review import reviewed
from cogen.fusion.selection import notes_on, planned_expert, side_file_notes, warnings


def lineage_plan(
    opened: OpenedInputs,
    suites: tuple[PlannedSuite, ...],
    details: Details,
    *,
    why: str,
    cost: Cost,
    tensors: int,
    changed_tensors: int,
    remarks: Sequence[str] = (),
) -> Plan:
    """The plan, reviewed by plugins.

    :param remarks: notes of the strategy, beside those on any expert.

    :raises CompatibilityError: a plugin vetoes it.
    """
    recipe, search, composite = opened.recipe, opened.search, opened.inputs.composite_tokenizer
    vocabulary, base = opened.vocabulary, opened.inputs.base
    plan = Plan(
        cogen=importlib.metadata.version("cogen-core"),
        strategy=details.strategy,
        method=recipe.method,
        why=why,
        base=opened.base,
        tokenizer_digest=opened.digest,
        architecture=opened.chosen[0].spec.model.architecture,
        dtype=opened.base.dtype,
        experts=tuple(planned_expert(expert, recipe) for expert in opened.order),
        parameters=dict(sorted(recipe.parameters.items())),
        scales=search.scales,
        search=search.search,
        space=search.space,
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=suites,
        matrix=recipe.matrix,
        license=license_of(opened.chosen, opened.base),
        tensors=tensors,
        changed_tensors=changed_tensors,
        cost=cost,
        notes=(
            *notes_on(opened.chosen),
            *side_file_notes(opened.inputs.base.folder, opened.base.name),
            *warnings([*remarks, *difference_notes(recipe, base, opened.inputs.experts)]),
        ),
        tokenizer=recipe.tokenizer,
        transplant=recipe.transplant,
        chat_template=recipe.chat_template,
        generation_config=recipe.generation_config,
        vocabulary=None
        if composite is None or vocabulary is None
        else planned_vocabulary(vocabulary, composite.digest),
        details=details,
    )
    return reviewed(opened.inputs.host, plan)
