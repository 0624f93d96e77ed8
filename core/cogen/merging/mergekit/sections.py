"""A recipe as sections: groups of models, or of layers of models, that are merged together."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from cogen.errors import UsageError
from cogen.merging.mergekit.bind import bind
from cogen.merging.mergekit.methods import MergekitMethod
from cogen.merging.mergekit.models import Models
from cogen.merging.mergekit.recipe import InputModel, MergekitRecipe, OutputSlice, SliceSource
from cogen.merging.mergekit.reference import Reference
from cogen.merging.parameters import Setting


@dataclass(frozen=True)
class SectionSource:
    """One model of a section by its number; ``first``: its first layer there, ``None`` for the whole model."""

    model: int
    settings: dict[str, Setting]
    first: int | None = None


@dataclass(frozen=True)
class Section:
    """What is merged with one another. ``base`` is a place in ``sources``; ``length``: of the layers, if sliced.

    ``levels``: settings for all sources, the nearest first.
    """

    place: str
    sources: tuple[SectionSource, ...]
    base: int | None
    levels: tuple[dict[str, Setting], ...]
    length: int | None = None

    @property
    def experts(self) -> list[int]:
        """Places of the sources beside the base."""
        return [place for place in range(len(self.sources)) if place != self.base]


def references(recipe: MergekitRecipe) -> list[Reference]:
    """Every model that is merged, then the base; in the order of the file."""
    models, slices, _, _ = _body(recipe)
    found = [model.model for model in models]
    for part in slices:
        found += [source.model for source in part.sources]
        found += [part.base_model] if part.base_model else []
    return [*found, *([recipe.base_model] if recipe.base_model else [])]


def make_sections(
    recipe: MergekitRecipe, recipe_method: MergekitMethod, models: Models
) -> tuple[list[Section], list[str]]:
    """The sections in the order of the result's layers, and notes on what has no effect.

    :raises UsageError: a base or a number of models that the method cannot take, a parameter that it doesn't have.
    """
    whole, slices, inner, above = _body(recipe)
    outer = [bind(recipe_method, inner, f"{above}.parameters")] if above else []
    outer.append(bind(recipe_method, recipe.parameters, "parameters"))
    notes: list[str] = []
    if not slices:
        prefix = f"{above}.models" if above else "models"
        sources = [_source(recipe_method, item, f"{prefix}[{i}]", models) for i, item in enumerate(whole)]
        base = _base(recipe_method, recipe.base_model, models)
        if base is not None and base not in [source.model for source in sources]:
            sources.append(SectionSource(base, {}))
        return [_section(recipe_method, prefix, sources, base, outer, None, models, notes)], notes
    found = []
    for number, part in enumerate(slices):
        place = f"{above}.slices[{number}]" if above else f"slices[{number}]"
        sources = [_source(recipe_method, item, f"{place}.sources[{i}]", models) for i, item in enumerate(part.sources)]
        base = _base(recipe_method, part.base_model or recipe.base_model, models)
        if base is not None and base not in [source.model for source in sources]:
            raise UsageError(
                f"{place} lacks layers of base_model {models.all[base].title}",
                hint="add it to the sources, with its layer_range",
            )
        lengths = {item.layer_range[1] - item.layer_range[0] for item in part.sources}
        if len(lengths) > 1:
            raise UsageError(f"{place}: the sources have different numbers of layers", hint="correct layer_range")
        levels = [bind(recipe_method, part.parameters, f"{place}.parameters"), *outer]
        found.append(_section(recipe_method, place, sources, base, levels, lengths.pop(), models, notes))
    return found, notes


def _body(
    recipe: MergekitRecipe,
) -> tuple[Sequence[InputModel], Sequence[OutputSlice], dict[str, Setting], str]:
    """Models or slices, whether they stand at the top or in the only module, and that module's name and settings."""
    if recipe.modules:
        ((name, module),) = recipe.modules.items()
        return module.models or (), module.slices or (), module.parameters, f"modules.{name}"
    return recipe.models or (), recipe.slices or (), {}, ""


def _source(recipe_method: MergekitMethod, item: InputModel | SliceSource, place: str, models: Models) -> SectionSource:
    first = item.layer_range[0] if isinstance(item, SliceSource) else None
    return SectionSource(
        models[item.model], bind(recipe_method, item.parameters, f"{place}.parameters", per_model=True), first
    )


def _base(recipe_method: MergekitMethod, reference: Reference | None, models: Models) -> int | None:
    """The model that differences are taken from, or that comes first."""
    if recipe_method.role == "unused":
        return None
    if reference is None:
        if recipe_method.role == "optional":
            return None
        raise UsageError(
            f"{recipe_method.name} needs base_model", hint="set it to the model that the others were trained from"
        )
    return models[reference]


def _section(
    recipe_method: MergekitMethod,
    place: str,
    sources: Sequence[SectionSource],
    base: int | None,
    levels: Iterable[dict[str, Setting]],
    length: int | None,
    models: Models,
    notes: list[str],
) -> Section:
    numbers = [source.model for source in sources]
    for number in numbers:
        if numbers.count(number) > 1:
            raise UsageError(
                f"{place} lists {models.all[number].title} twice",
                hint="list it once; its layers can go into two slices",
            )
    at = None if base is None else numbers.index(base)
    others = len(sources) - (at is not None)
    if others < recipe_method.least or (recipe_method.most is not None and others > recipe_method.most):
        exact = recipe_method.least == recipe_method.most
        wanted = f"exactly {recipe_method.least}" if exact else f"at least {recipe_method.least}"
        noun = "model" if recipe_method.least == 1 else "models"
        beside = " beside base_model" if recipe_method.role != "unused" else ""
        raise UsageError(
            f"{place}: {recipe_method.name} merges {wanted} {noun}{beside}, not {others}",
            hint="add or remove models",
        )
    if at is not None and sources[at].settings:
        listed = ", ".join(sorted(sources[at].settings))
        note = f"{models.all[sources[at].model].title} is the base: its own {listed} has no effect"
        notes += [note] if note not in notes else []
    return Section(place, tuple(sources), at, tuple(levels), length)
