"""What stands beside the weights: tokenizer, chat template, generation settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cogen.checkpoints.sources import Talk
from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.merge.outputs import COMPANIONS
from cogen.merging.mergekit.models import Model, Models
from cogen.merging.mergekit.recipe import MergekitRecipe, TokenEmbedding
from cogen.merging.mergekit.reference import Reference
from cogen.merging.mergekit.templates import named_template
from cogen.merging.vocabulary import (
    ModelToken,
    TokenSource,
    Vocabulary,
    VocabularyConfig,
    changed,
    chat_template,
    set_chat_template,
    usual_chat_template,
)
from cogen.merging.vocabulary.tokenizer import copy_tokenizer
from cogen.merging.vocabulary.tokens import has_tokenizer, read_tokens

#: Of models that also see or hear.
_PROCESSORS = ("preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json")


def vocabulary_wish(recipe: MergekitRecipe, models: Models, talk: Talk) -> VocabularyConfig | None:
    """What the recipe says of the tokenizer; models that only lend tokens are added to ``models``."""

    def number(reference: Reference) -> int:
        return models.add(reference, talk)

    def source(value: Any) -> Any:
        return number(value) if isinstance(value, Reference) else value

    def token(value: Any) -> Any:
        if not isinstance(value, TokenEmbedding):
            return source(value)
        if value.kind == "zero":
            return "zero"
        assert value.model is not None  # the recipe's own check
        return ModelToken(number(value.model), value.token, value.token_id)

    if recipe.tokenizer is None:
        if recipe.tokenizer_source is None:
            return None
        return VocabularyConfig(source(recipe.tokenizer_source))
    wish = recipe.tokenizer
    tokens = {text: TokenSource(token(item.source), item.force) for text, item in (wish.tokens or {}).items()}
    return VocabularyConfig(source(wish.source), tokens, wish.pad_to_multiple_of)


def write_companions(
    recipe: MergekitRecipe, models: Sequence[Model], donor: int, vocabulary: Vocabulary | None, folder: Path
) -> list[str]:
    """Everything but weights and ``config.json``; what is worth a note.

    :raises UsageError: a chat template that is none, or for a model without a tokenizer.
    """
    notes = []
    source = models[donor].checkpoint.folder
    for name in (*_PROCESSORS, *(name for name in COMPANIONS if name == "generation_config.json")):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    if vocabulary is not None:
        vocabulary.write(folder)
        _put_over(folder / "generation_config.json", vocabulary.generation_changes)
    else:
        copy_tokenizer(source, folder)
    if not has_tokenizer(folder) and any(has_tokenizer(model.checkpoint.folder) for model in models):
        notes.append(f"{models[donor].title} has no tokenizer, so the result has none")
    if recipe.chat_template:
        if not has_tokenizer(folder):
            raise UsageError(
                f"chat_template needs a tokenizer, and {models[donor].title} has none", hint="remove chat_template"
            )
        _set_template(recipe.chat_template, models, folder, notes)
    return notes


def _set_template(wish: str, models: Sequence[Model], folder: Path, notes: list[str]) -> None:
    if wish != "auto":
        set_chat_template(folder, named_template(wish))
        return
    usual = usual_chat_template(model.checkpoint for model in models)
    if usual is None:
        notes.append("chat_template: auto found no model with a template")
    elif usual != chat_template(folder):
        set_chat_template(folder, usual)


def _put_over(path: Path, changes: Mapping[str, Any]) -> None:
    if changes:
        old = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps(changed(old, changes), indent=2) + "\n", encoding="utf-8")


def compare_tokenizers(models: Sequence[Model], used: Sequence[int], donor: int) -> list[str]:
    """Without a wish for the vocabulary rows are merged by number: say where they mean other tokens.

    :raises CompatibilityError: most of them do; such a merge is noise.
    """
    notes = []
    own = models[donor].checkpoint.folder
    if not (own / "tokenizer.json").is_file():
        return []
    data = (own / "tokenizer.json").read_bytes()
    mine = None
    for number in used:
        folder = models[number].checkpoint.folder
        if number == donor or not (folder / "tokenizer.json").is_file():
            continue
        if (folder / "tokenizer.json").read_bytes() == data:
            continue
        mine = mine or read_tokens(own).by_id
        theirs = read_tokens(folder).by_id
        shared = mine.keys() & theirs.keys()
        other = sum(mine[id] != theirs[id] for id in shared)
        if other > len(shared) / 2:
            raise CompatibilityError(
                f"{models[number].title} and {models[donor].title} have different tokenizers: "
                f"{other:,} of {len(shared):,} ids mean other tokens",
                hint="add tokenizer: {source: base} to the recipe, or union",
            )
        if other:
            notes.append(
                f"{other:,} ids mean other tokens in {models[number].title} than in {models[donor].title}, and their "
                "embeddings are merged all the same; tokenizer: {source: union} keeps them apart"
            )
    return notes
