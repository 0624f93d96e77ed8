"""Which experts a recipe is about, what a plan records of each, and what a reader should know of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from cogen.errors import UsageError
from cogen.fusion.plan import Note, PlannedExpert
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert, Host
from cogen.spec.expert import canonical_digest


def chosen_experts(host: Host, recipe: FuseRecipe) -> list[Expert]:
    """Those that the recipe names, in its order; where it names none, all that are installed.

    :raises UsageError: an unknown one, or none is installed.
    """
    experts = [host.expert(id) for id in recipe.experts] if recipe.experts else list(host.experts(computed=True))
    if not experts:
        unusable = [plugin.name for plugin in host.plugins if plugin.state != "ok"]
        if unusable:
            raise UsageError(
                f"none of the installed plugins can be used: {', '.join(unusable[:5])}",
                hint="`cogen doctor` shows why and how to fix it",
            )
        raise UsageError(
            "no expert is installed", hint="pip install cogen-plugin-…; `cogen list` shows what is there and why not"
        )
    return experts


def planned_expert(expert: Expert, recipe: FuseRecipe) -> PlannedExpert:
    """What a plan records of an expert."""
    spec, options = expert.spec, recipe.options(expert.id)
    return PlannedExpert(
        id=spec.id,
        title=spec.title,
        distribution=expert.distribution,
        version=expert.version,
        publisher=spec.publisher,
        license=spec.license,
        derivatives=spec.derivatives,
        relation=spec.model.relation,
        spec_digest=spec.digest,
        file_digest=spec.model.file_digest,
        weights_digest=spec.model.weights_digest,
        data_digest=canonical_digest(spec.data.model_dump(mode="json")),
        weight=options.weight,
        parameters=dict(sorted(options.parameters.items())),
        tokenizer_digest=spec.tokenizer.digest,
    )


def notes_on(chosen: Sequence[Expert]) -> tuple[Note, ...]:
    """Warnings about licenses, personal data, and what cannot be measured here."""
    notes = []
    if len({expert.spec.license for expert in chosen}) > 1:
        notes.append("the experts have different licenses: read them before you publish")
    for expert in chosen:
        if expert.spec.data.personal_data in ("present", "unknown"):
            notes.append(f"{expert.id}: personal data in training: {expert.spec.data.personal_data}")
    return (*warnings(notes), *unmeasured(chosen))


def side_file_notes(folder: Path, whose: str) -> tuple[Note, ...]:
    """What of the files beside the weights of ``folder``, the model of that name, the composite will not have."""
    from cogen.merging.side_files import left_behind_note
    from cogen.merging.writer import MODEL_FILES

    return warnings(left_behind_note(folder, MODEL_FILES, whose))


def unmeasured(chosen: Sequence[Expert]) -> tuple[Note, ...]:
    """What cannot be measured here: experts whose held-out text stays with their publishers."""
    notes = []
    for expert in chosen:
        private = len(expert.spec.private_suites)
        if expert.spec.suites or not (private or expert.spec.schema_version > 1):
            continue
        notes.append(
            f"{expert.id} has no suite that can be run here: its field is not measured, and plays no part in a search"
            + ("; its publisher can measure the result on a private suite (please-measure.md)" if private else "")
        )
    return warnings(notes)


def warnings(messages: Sequence[str]) -> tuple[Note, ...]:
    """As notes of a plan, from CoGen."""
    return tuple(Note(severity="warning", source="cogen", message=message) for message in messages)
