"""What a distillation will do and cost, from manifests, tokenizers and texts alone."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_expert_tokenizer, load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.errors import CompatibilityError, UsageError
from cogen.evals import calibration_texts, general_suites, suites_of
from cogen.fusion.compatible import check_licenses, license_of
from cogen.fusion.costs import planned_suites
from cogen.fusion.details import DistillDetails, PlannedTeacher
from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.costs import cost_of, stages
from cogen.fusion.distill.groups import ModelGroup, Roles, assign_roles
from cogen.fusion.distill.losses.names import PREFERENCES
from cogen.fusion.distill.losses.plugin import PluginLoss, plugin_losses
from cogen.fusion.distill.losses.registry import check_parameters, needs_of
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.sources import OpenModel, parameters_of
from cogen.fusion.distill.student.corpus import select_texts
from cogen.fusion.distill.student.preference.pairs import read_preferences
from cogen.fusion.distill.texts import Item, read_items, texts_digest
from cogen.fusion.merge.inputs import Inputs
from cogen.fusion.plan import Note, Plan
from cogen.fusion.recipe import FuseRecipe
from cogen.fusion.review import reviewed
from cogen.fusion.samples import sample_texts
from cogen.fusion.selection import chosen_experts, planned_expert, side_file_notes, unmeasured
from cogen.fusion.strategies import find_strategy
from cogen.host import Expert, Host
from cogen.reporter import SILENT, Reporter

#: The loss if the recipe names none.
DEFAULT = "alm"


@dataclass(frozen=True)
class DistillInputs:
    """What a plan talks about, opened. ``common`` is as of any plan: its base is the student's."""

    common: Inputs
    student: OpenModel
    teachers: tuple[OpenModel, ...]
    items: Sequence[Item]


def plan_distillation(host: Host, recipe: FuseRecipe, *, reporter: Reporter = SILENT) -> tuple[Plan, DistillInputs]:
    """
    :raises UsageError: unknown loss, student or text file, or an option of another strategy.
    :raises CompatibilityError: no teacher, no text, or a license that forbids it.
    """
    method = recipe.method if "method" in recipe.model_fields_set else DEFAULT
    extra = plugin_losses(host, method)
    _check_options(recipe, method, extra)
    chosen = chosen_experts(host, recipe)
    settings = recipe.distill
    roles = assign_roles(chosen, settings, alone=method == "dpo")
    _check_weights(recipe, roles)
    check_licenses(chosen)
    items, notes = training_texts(chosen, recipe, method)
    sources = [_open(host, group, recipe, reporter) for group in (roles.student, *roles.teachers)]
    student, teachers = sources[0], sources[1:]
    encoded = Encoder(student.tokenizer).encode(items, settings.max_length)
    suites = [suite for expert in sorted(chosen, key=lambda e: e.id) for suite in suites_of(expert)] + general_suites()
    planned = planned_suites(suites, recipe, student.tokenizer)
    distillation = DistillDetails(
        pivot=_teacher(student, recipe),
        teachers=tuple(_teacher(source, recipe) for source in teachers),
        settings=settings,
        texts=len(items),
        text_bytes=sum(len(item.answer.encode()) for item in items),
        texts_digest=texts_digest(items),
        tokens=settings.tokens,
    )
    read_by_teachers = range(len(encoded)) if method in PREFERENCES else select_texts(encoded, settings)
    read = sum(len(encoded[index].ids) for index in read_by_teachers)
    needs = needs_of(method, recipe.parameters, extra)
    steps = stages(distillation, student, teachers, read, needs, planned, recipe.level, recipe.matrix)
    base = roles.student.base
    plan = Plan(
        cogen=importlib.metadata.version("cogen-core"),
        strategy="distill",
        method=method,
        why=_why(roles, settings),
        base=base,
        tokenizer_digest=student.tokenizer_digest,
        architecture=student.inputs.base.config.get("architectures", ["unknown"])[0],
        dtype=base.dtype,
        experts=tuple(planned_expert(expert, recipe) for expert in sorted(chosen, key=lambda e: e.id)),
        parameters=dict(sorted(recipe.parameters.items())),
        scales=(1.0,),
        level=recipe.level,
        eval_dtype="float32" if recipe.level == "full" else "bfloat16",
        suites=planned,
        matrix=recipe.matrix,
        license=license_of(chosen, base),
        tensors=len(student.inputs.base.tensors),
        changed_tensors=len(student.inputs.base.tensors),
        cost=cost_of(steps, student, teachers, settings),
        notes=tuple(dict.fromkeys([*notes, *_student_notes(student), *unmeasured(chosen)])),
        details=distillation.model_copy(update={"stages": tuple(steps)}),
    )
    opened = {expert.id: source.inputs.experts[expert.id] for source in sources for expert in source.group.experts}
    common = Inputs(host, student.inputs.base, dict(sorted(opened.items())), student.tokenizer, suites)
    return reviewed(host, plan), DistillInputs(common, student, tuple(teachers), items)


def _student_notes(student: OpenModel) -> tuple[Note, ...]:
    """What the student takes over of the files beside weights, and how several experts become it."""
    if student.plan is not None:
        return student.plan.notes
    for id, expert in student.inputs.experts.items():
        if expert.adapter is None:
            return side_file_notes(expert.folder, id)
    return side_file_notes(student.inputs.base.folder, student.group.base.name)


def _why(roles: Roles, settings: Distillation) -> str:
    if not roles.teachers:
        return f"{roles.student.name} learns from preferences alone"
    ids = ", ".join(group.name for group in roles.teachers)
    reason = "every expert stands for itself" if settings.groups == "apart" else "they have other bases or tokenizers"
    return f"{ids} teach {roles.student.name}: {reason}"


#: Options about a model that is made of experts' weights.
_FOREIGN = (
    "scale",
    "search",
    "space",
    "routing",
    "top_k",
    "public",
    "public_expert",
    "embedder",
    "ensemble",
    "tokenizer",
    "chat_template",
    "generation_config",
)


def _check_options(recipe: FuseRecipe, method: str, extra: Mapping[str, PluginLoss]) -> None:
    check_parameters(method, recipe.parameters, extra)
    for name in _FOREIGN:
        if getattr(recipe, name) != type(recipe).model_fields[name].get_default(call_default_factory=True):
            raise UsageError(
                f"{name} does not apply to strategy distill", hint="leave it out, or choose another strategy"
            )


def _check_weights(recipe: FuseRecipe, roles: Roles) -> None:
    for group in (roles.student, *roles.teachers):
        for id in group.ids:
            if not isinstance(recipe.options(id).weight, int | float):
                raise UsageError(
                    f"the weight of {id} is not a number", hint="strategy distill takes one number per expert"
                )


def training_texts(chosen: Sequence[Expert], recipe: FuseRecipe, method: str) -> tuple[list[Item], tuple[Note, ...]]:
    """The texts of the run: files of the recipe, or the experts' samples and a general text.

    Of preferences all better answers, then all worse ones.
    """
    if method in PREFERENCES:
        if not recipe.distill.texts:
            raise UsageError(
                f"{method} needs pairs of answers, and no file is given",
                hint='--texts pairs.jsonl, with lines like {"prompt": "…", "chosen": "…", "rejected": "…"}',
            )
        sides = [read_preferences(Path(path)) for path in recipe.distill.texts]
        return [item for side in (0, 1) for pair in sides for item in pair[side]], ()
    if recipe.distill.texts:
        return [item for path in recipe.distill.texts for item in read_items(Path(path))], ()
    items, notes = [], []
    for expert in sorted(chosen, key=lambda expert: expert.id):
        if expert.spec.samples is None or expert.spec.samples.path is None:
            message = (
                f"{expert.id} ships no sample texts, so its field is missing from the training data; "
                "--texts FILE gives others"
            )
            notes.append(Note(severity="warning", source="cogen", message=message))
            continue
        items += [Item(answer=text, owner=expert.id) for text in sample_texts(expert)]
    if not items:
        ids = ", ".join(sorted(expert.id for expert in chosen))
        raise CompatibilityError(
            f"no expert ships sample texts ({ids}), so there is no training data",
            hint='give files: texts = ["texts.jsonl"]',
        )
    return [*items, *(Item(answer=text) for text in calibration_texts())], tuple(notes)


def _open(host: Host, group: ModelGroup, recipe: FuseRecipe, reporter: Reporter) -> OpenModel:
    """A group as one model: with a plan of its own where it has several experts."""
    if len(group.experts) > 1:
        strategy = find_strategy(host, recipe.distill.groups)
        own = strategy.group_recipe({id: recipe.options(id) for id in group.ids}, recipe.level)
        plan, inputs = strategy.plan(host, own, reporter)
        return OpenModel(group, inputs.tokenizer, plan.tokenizer_digest, plan, inputs)
    base: Checkpoint = open_weights(group.base, reporter=reporter)
    tokenizer, experts = None, {}
    for expert in group.experts:
        bases = {group.base.model_dump_json(): base}
        experts[expert.id] = open_weights(expert.spec.model, reporter=reporter, bases=bases)
        tokenizer = load_expert_tokenizer(host, expert.spec, experts[expert.id])
    tokenizer = tokenizer or load_tokenizer(base.folder)
    return OpenModel(group, tokenizer, tokenizer_digest(tokenizer), None, Inputs(host, base, experts, tokenizer, []))


def _teacher(source: OpenModel, recipe: FuseRecipe) -> PlannedTeacher:
    weights = [float(recipe.options(id).weight) for id in source.group.ids]  # type: ignore[arg-type]  # checked above
    return PlannedTeacher(
        name=source.group.name,
        experts=source.group.ids,
        tokenizer_digest=source.tokenizer_digest,
        parameters=parameters_of(source),
        weight=sum(weights) / len(weights) if weights else 1.0,
        composed=source.plan.strategy if source.plan else "",
    )
