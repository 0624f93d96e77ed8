"""What a recipe must have settled before anything is trained: no TODO, and no text that goes further than it may."""

from __future__ import annotations

import re
from pathlib import Path

from cogen.errors import TrainError
from cogen.forge.corpus import CorpusParts, Document
from cogen.forge.private_folder import PRIVATE, check_owner
from cogen.forge.recipe import CorpusSource, TrainRecipe
from cogen.spec.consent import contradicts, oversteps
from cogen.spec.unfinished import unfinished


def check_recipe(recipe: TrainRecipe, home: Path) -> None:
    """
    :param home: folder of the recipe.
    :raises TrainError: a field says TODO, text with personal data is meant to leave, private text would lie inside the
        package, or ``private/`` is another expert's.
    """
    _check_finished(recipe)
    for source in recipe.corpus.sources:
        _check_personal_data(recipe, source)
    _check_statistics(recipe)
    _check_places(recipe, home)
    if recipe.private or (recipe.audit is not None and recipe.audit.enabled):
        check_owner(home, recipe.id)


def _check_finished(recipe: TrainRecipe) -> None:
    """All fields at once: who has to ask somebody asks once."""
    left = [_of_source(recipe, name) for name in unfinished(recipe)]
    if left:
        raise TrainError(
            f"recipe.toml is not finished: {', '.join(left)} {'is' if len(left) == 1 else 'are'} TODO",
            hint='write what is so in place of each TODO, or "unknown" where the field allows it',
        )


def _of_source(recipe: TrainRecipe, field: str) -> str:
    """``corpus.sources[0].license`` as "license of source 'letters'"."""
    match = re.fullmatch(r"corpus\.sources\[(\d+)\]\.(\w+)", field)
    return f"{match[2]} of source {recipe.corpus.sources[int(match[1])].name!r}" if match else field


def _check_personal_data(recipe: TrainRecipe, source: CorpusSource) -> None:
    personal = recipe.personal_data(source)
    if contradicts(recipe.card.personal_data, source.personal_data):
        raise TrainError(
            f"source {source.name!r} says personal_data = {source.personal_data!r}, and the card says "
            f"{recipe.card.personal_data!r} of all text",
            hint=f'[card] personal_data = "{source.personal_data}"; sources without any say "none" themselves',
        )
    if oversteps(source.leaves, personal):
        spelled = "heldout = true" if source.heldout else f'leaves = "{source.leaves}"'
        raise TrainError(
            f"source {source.name!r}: {spelled} would publish text whose personal data is {personal!r}",
            hint='leaves = "figures" publishes numbers alone, "nothing" not even those; where the text holds no '
            'personal data, say so: personal_data = "none" or "removed"',
        )


def _check_statistics(recipe: TrainRecipe) -> None:
    wanted = recipe.statistics
    if wanted is None or not wanted.wanted:
        return
    if not any(source.may("figures") for source in recipe.corpus.sources):
        raise TrainError(
            "[statistics] asks for numbers made of training text, and no source lets figures leave",
            hint='give a source leaves = "figures", or leave [statistics] out',
        )
    if wanted.embedder is not None and wanted.embedder.startswith("file://"):
        raise TrainError(
            f"[statistics] embedder = {wanted.embedder!r} is on this machine alone",
            hint="name one that others can fetch (pypi://, hf://), or leave it out for the one that routing uses",
        )


def _check_places(recipe: TrainRecipe, home: Path) -> None:
    """Everything inside the package goes into the wheel."""
    package = (home / recipe.plugin).resolve()
    if home.resolve().is_relative_to(package):
        raise TrainError(
            f"plugin = {recipe.plugin!r} contains the recipe, and everything in that folder is published",
            hint="name a folder of its own for the package, such as src/cogen_plugin_NAME",
        )
    if (home / PRIVATE).resolve().is_relative_to(package):
        raise TrainError(
            f"the folder {PRIVATE}/ beside the recipe lies inside the package {recipe.plugin}, and all of that is "
            "published",
            hint=f"name another folder for the package, and let {PRIVATE}/ be no link into it",
        )
    for source in recipe.corpus.sources:
        scheme, _, path = source.uri.partition("://")
        if scheme == "file" and (home / path).resolve().is_relative_to(package) and not source.may("samples"):
            raise TrainError(
                f"source {source.name!r} lies inside the package {recipe.plugin}, and all of that is published",
                hint="move its texts beside the recipe, for example to texts/",
            )


def may_be_counted(recipe: TrainRecipe, corpus: CorpusParts) -> list[Document]:
    """Training documents that numbers may be made of: those of sources that let figures leave."""
    counted = {source.name for source in recipe.corpus.sources if source.may("figures")}
    return [document for document in corpus.train if document.source in counted]


def check_floor(recipe: TrainRecipe, corpus: CorpusParts) -> None:
    """Before training: statistics need enough documents (files, or sections of a file) to hide any one of them.

    :raises TrainError: there are fewer than ``floor``.
    """
    wanted = recipe.statistics
    if wanted is None or not wanted.wanted:
        return
    found = len({document.group for document in may_be_counted(recipe, corpus)})
    if found < wanted.floor:
        raise TrainError(
            f"[statistics] would be made of {found} documents, fewer than its floor of {wanted.floor}",
            hint="a file, or a section of it, counts as one document: split the texts into files, add more, or leave "
            "[statistics] out",
        )
