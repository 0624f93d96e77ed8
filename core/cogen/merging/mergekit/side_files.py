"""The files beside the weights: tokenizer, chat template, generation settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogen.errors import CompatibilityError, UsageError
from cogen.merging.mergekit.models import Model, Models
from cogen.merging.mergekit.recipe import MergekitRecipe, TokenEmbedding
from cogen.merging.mergekit.reference import Reference
from cogen.merging.mergekit.templates import named_template
from cogen.merging.side_files import copy_side_files, left_behind_note
from cogen.merging.vocabulary import (
    ModelToken,
    TokenSource,
    Vocabulary,
    VocabularyConfig,
    apply_changes,
    chat_template,
    most_common_template,
    set_chat_template,
)
from cogen.merging.vocabulary.tokenizer import copy_tokenizer
from cogen.merging.vocabulary.tokens import has_tokenizer, read_tokens
from cogen.merging.writer import MODEL_FILES
from cogen.reporter import Reporter


def vocabulary_config(recipe: MergekitRecipe, models: Models, reporter: Reporter) -> VocabularyConfig | None:
    """The recipe's tokenizer settings, ``None`` without any; models that only lend tokens are added to ``models``."""

    def number(reference: Reference) -> int:
        return models.add(reference, reporter)

    def source(value: Any) -> Any:
        return number(value) if isinstance(value, Reference) else value

    def token(value: Any) -> Any:
        if not isinstance(value, TokenEmbedding):
            return source(value)
        if value.kind == "zero":
            return "zero"
        assert value.model is not None  # the recipe's schema checks it
        return ModelToken(number(value.model), value.token, value.token_id)

    if recipe.tokenizer is None:
        if recipe.tokenizer_source is None:
            return None
        return VocabularyConfig(source(recipe.tokenizer_source))
    config = recipe.tokenizer
    tokens = {text: TokenSource(token(item.source), item.force) for text, item in (config.tokens or {}).items()}
    return VocabularyConfig(source(config.source), tokens, config.pad_to_multiple_of)


def write_side_files(
    recipe: MergekitRecipe, models: Sequence[Model], donor: int, vocabulary: Vocabulary | None, folder: Path
) -> list[str]:
    """Write everything but weights and ``config.json``; returns notes for the user.

    :raises UsageError: an invalid chat template, or one for a model without a tokenizer.
    """
    notes = []
    source = models[donor].checkpoint.folder
    if (source / "generation_config.json").is_file():
        shutil.copyfile(source / "generation_config.json", folder / "generation_config.json")
    copy_side_files(source, folder)
    notes += left_behind_note(source, MODEL_FILES, models[donor].title)
    if vocabulary is not None:
        vocabulary.write(folder)
        _update_json(folder / "generation_config.json", vocabulary.generation_changes)
    else:
        copy_tokenizer(source, folder)
    if not has_tokenizer(folder) and any(has_tokenizer(model.checkpoint.folder) for model in models):
        notes.append(f"{models[donor].title} has no tokenizer, so the result has none")
    if recipe.chat_template:
        if not has_tokenizer(folder):
            raise UsageError(
                f"chat_template needs a tokenizer, which {models[donor].title} lacks", hint="remove chat_template"
            )
        _set_template(recipe.chat_template, models, folder, notes)
    return notes


def _set_template(setting: str, models: Sequence[Model], folder: Path, notes: list[str]) -> None:
    if setting != "auto":
        set_chat_template(folder, named_template(setting))
        return
    common = most_common_template(model.checkpoint for model in models)
    if common is None:
        notes.append("chat_template: auto found no model with a template")
    elif common != chat_template(folder):
        set_chat_template(folder, common)


def _update_json(path: Path, changes: Mapping[str, Any]) -> None:
    if changes:
        old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(apply_changes(old, changes), indent=2) + "\n", encoding="utf-8")


def compare_tokenizers(models: Sequence[Model], used: Sequence[int], donor: int) -> list[str]:
    """Compare tokenizers where embeddings are merged row by row; returns notes on ids that stand for other tokens.

    :raises CompatibilityError: most ids do; the merged embeddings would be noise.
    """
    notes = []
    own = models[donor].checkpoint.folder
    if not (own / "tokenizer.json").is_file():
        return []
    data = (own / "tokenizer.json").read_bytes()
    own_tokens = None
    for number in used:
        folder = models[number].checkpoint.folder
        if number == donor or not (folder / "tokenizer.json").is_file():
            continue
        if (folder / "tokenizer.json").read_bytes() == data:
            continue
        own_tokens = own_tokens or read_tokens(own).by_id
        theirs = read_tokens(folder).by_id
        shared = own_tokens.keys() & theirs.keys()
        other = sum(own_tokens[id] != theirs[id] for id in shared)
        if other > len(shared) / 2:
            raise CompatibilityError(
                f"{models[number].title} and {models[donor].title} have different tokenizers: "
                f"{other:,} of {len(shared):,} ids stand for different tokens",
                hint="add tokenizer: {source: base}, or union, to the recipe",
            )
        if other:
            notes.append(
                f"{other:,} ids stand for different tokens in {models[number].title} and {models[donor].title}; their "
                "embeddings are merged nevertheless; tokenizer: {source: union} keeps them apart"
            )
    return notes
