"""The vocabulary and the chat template of a composite, decided before a weight is read."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cogen.cache import scratch
from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import Checkpoint
from cogen.checkpoints.quantized import without_quantization
from cogen.errors import CompatibilityError, UsageError
from cogen.evals.settings import prefix_token_id
from cogen.fusion.merge.generation import GenerationSettings, generation_from
from cogen.fusion.plan import PlannedVocabulary
from cogen.fusion.recipe import FuseRecipe
from cogen.host import Expert
from cogen.merging.vocabulary import Vocabulary, VocabularyConfig, apply_changes, chat_template, plan_vocabulary
from cogen.merging.vocabulary.template import check_template, set_chat_template
from cogen.merging.vocabulary.tokens import has_tokenizer
from cogen.merging.writer import copy_model_file, copy_model_files, finish_model_files
from cogen.spec.expert import canonical_digest


@dataclass(frozen=True)
class CompositeTokenizer:
    """What a composite has beside its weights.

    :param vocabulary: of the base (0) and the plan's experts (1, 2 …) in its order; None: that of the base, unchanged.
    :param tokenizer: the composite's, and ``digest`` its digest.
    :param template: in the place of the chat template that comes with the tokenizer; None: that one.
    :param generation: in the place of the base's generation config and tokens that end a text; None: those.
    """

    vocabulary: Vocabulary | None
    tokenizer: Any
    digest: str
    template: str | None = None
    generation: GenerationSettings | None = None

    @property
    def tokens(self) -> Mapping[str, Any]:
        """Fields of ``config.json`` that are not the base's."""
        return {} if self.generation is None else self.generation.tokens

    def write(self, base: Path, folder: Path) -> None:
        """Configuration, tokenizer and chat template of a composite."""
        write_model_files(base, folder, self.vocabulary)
        if self.template is not None:
            set_chat_template(folder, self.template)
        if self.generation is not None:
            self.generation.write(folder)


def check_tokenizer(recipe: FuseRecipe, chosen: Sequence[Expert]) -> None:
    """:raises UsageError: an option that names an expert that isn't there, or that would be ignored."""
    ids = [expert.id for expert in chosen]
    listed = ", ".join(ids)
    if recipe.tokenizer is None and recipe.transplant != "mean":
        raise UsageError(
            f"transplant {recipe.transplant} needs a choice of the tokenizer", hint="add --tokenizer union"
        )
    if recipe.tokenizer not in (None, "base", "union", *ids):
        raise UsageError(f"unknown tokenizer {recipe.tokenizer!r}", hint=f"one of base, union, {listed}")
    if recipe.chat_template not in (None, *ids):
        raise UsageError(f"unknown chat template {recipe.chat_template!r}", hint=f"one of {listed}")
    if recipe.generation_config not in (None, *ids):
        raise UsageError(f"unknown generation config {recipe.generation_config!r}", hint=f"one of {listed}")
    if recipe.generation_config is not None and recipe.tokenizer is not None:
        raise UsageError(
            "generation_config and tokenizer cannot be combined: the ids of the tokens that end a text come with the "
            "tokenizer",
            hint="leave one of the two out",
        )


def plan_tokenizer(
    recipe: FuseRecipe,
    base: Checkpoint,
    experts: Mapping[str, Checkpoint],
    chosen: Sequence[Expert],
    tokenizer: Any,
    digest: str,
) -> CompositeTokenizer | None:
    """What the recipe asks for, checked and tried; None where it asks for nothing.

    :param experts: by id, in the plan's order.
    :param tokenizer: the base's; ``digest`` its digest.
    :raises CompatibilityError: it is impossible; see also :func:`~cogen.merging.vocabulary.plan_vocabulary`.
    """
    if recipe.tokenizer is None and recipe.chat_template is None and recipe.generation_config is None:
        return None
    template = None if recipe.chat_template is None else _template(recipe.chat_template, experts[recipe.chat_template])
    if recipe.tokenizer is None:
        chosen_generation = recipe.generation_config
        generation = None if chosen_generation is None else generation_from(base, experts[chosen_generation])
        return CompositeTokenizer(None, tokenizer, digest, template, generation)
    specs = {expert.id: expert.spec for expert in chosen}
    known = {base.folder: (tokenizer, digest)}
    for id, checkpoint in experts.items():
        folder = checkpoint.folder if has_tokenizer(checkpoint.folder) else base.folder
        if folder not in known:
            own = load_tokenizer(folder)
            known[folder] = own, tokenizer_digest(own)
        own, found = known[folder]
        if found != specs[id].tokenizer.digest:
            raise CompatibilityError(
                f"the tokenizer in the model folder of {id} is not the one that its manifest promises",
                hint=f"leave {id} out, or tell {specs[id].publisher}; an adapter's model folder is that of its base",
            )
        _readable(recipe, own)
    source: Any = recipe.tokenizer
    if source not in ("base", "union"):
        source = 1 + list(experts).index(source)
    config = VocabularyConfig(source, transplant=recipe.transplant)
    vocabulary = plan_vocabulary([base, *experts.values()], config, OpenFiles(), base=0)
    made = _tried(vocabulary, base.folder)
    _readable(recipe, made)
    return CompositeTokenizer(vocabulary, made, tokenizer_digest(made), template)


def _template(id: str, checkpoint: Checkpoint) -> str:
    folders = [*([checkpoint.adapter.folder] if checkpoint.adapter else []), checkpoint.folder]
    found = next((text for folder in folders if (text := chat_template(folder)) is not None), None)
    if found is None:
        raise CompatibilityError(f"{id} has no chat template", hint="name another expert, or leave the option out")
    check_template(found)
    return found


def _readable(recipe: FuseRecipe, tokenizer: Any) -> None:
    """Refuse now what would fail when models are measured."""
    if recipe.level != "none":
        prefix_token_id(tokenizer)


def _tried(vocabulary: Vocabulary, base: Path) -> Any:
    """The composite's tokenizer as its library reads it: what cannot be written fails here."""
    with scratch("tokenizer") as place:
        write_model_files(base, place, vocabulary)
        return load_tokenizer(place)


def write_model_files(base: Path, folder: Path, vocabulary: Vocabulary | None) -> None:
    """Configuration and tokenizer of a model folder, as far as it has them; changed for ``vocabulary``."""
    if vocabulary is None:
        copy_model_files(base, folder)
        return
    changes = {"config.json": vocabulary.config_changes, "generation_config.json": vocabulary.generation_changes}
    for name, change in changes.items():
        if change:
            own = json.loads((base / name).read_text(encoding="utf-8")) if (base / name).is_file() else {}
            text = json.dumps(apply_changes(without_quantization(own), change), indent=2, ensure_ascii=False) + "\n"
            (folder / name).write_text(text, encoding="utf-8")
        elif (base / name).is_file():
            copy_model_file(base / name, folder / name)
    vocabulary.write(folder)
    finish_model_files(folder)


def planned_vocabulary(vocabulary: Vocabulary, tokenizer: str) -> PlannedVocabulary:
    """
    :param vocabulary: of the base (0) and of the plan's experts.
    :param tokenizer: digest of the composite's tokenizer.
    """
    tokens = [{*own.ids} for own in vocabulary.facts.tokens]
    composite = {*vocabulary.facts.target.ids}
    return PlannedVocabulary(
        tokenizer_digest=tokenizer,
        size=vocabulary.size,
        added=len(composite - tokens[0]),
        dropped=len(set.union(*tokens) - composite),
        digest=vocabulary_digest(vocabulary),
        notes=vocabulary.notes,
    )


def vocabulary_digest(vocabulary: Vocabulary) -> str:
    """Digest of all tokens, of the row that each model takes for each, and of what changes in the configuration."""
    rows = []
    for model, rules in sorted(vocabulary.rules.items()):
        digest = hashlib.sha256()
        sums, donors = rules.sums, [p for _, p in sorted(rules.donors.items())]
        parts = [rules.which, rules.row, sums.start, sums.source, sums.row, sums.coefficient]
        for part in [*parts, *(array for p in donors for array in (p.wanted, p.numbers, p.shared, p.own))]:
            digest.update(np.int64(len(part)).astype("<i8").tobytes())
            digest.update(np.ascontiguousarray(part).astype("<f8" if part.dtype.kind == "f" else "<i8").tobytes())
        rows.append([model, digest.hexdigest()])
    return canonical_digest(
        {
            "tokens": [[id, token] for id, (token, _) in sorted(vocabulary.facts.target.entries.items())],
            "size": vocabulary.size,
            "tensors": list(vocabulary.names),
            "rows": rows,
            "config": vocabulary.config_changes,
            "generation": vocabulary.generation_changes,
        }
    )
