"""What stands beside the weights and decides how a composite is used: tokens that end a text, how text is drawn, the
chat template. Experts may have others than their base; one of them is the composite's, and the plan says which.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import SourceError
from cogen.fusion.recipe import FuseRecipe
from cogen.merging.configurations import Difference, token_differences
from cogen.merging.vocabulary.configs import apply_changes, generation_of
from cogen.merging.vocabulary.template import chat_template

GENERATION = "generation_config.json"
#: Of a generation_config.json: who wrote it, and what else a call gives back.
_WRITER = (
    *("transformers_version", "_from_model_config", "use_cache", "output_attentions", "output_hidden_states"),
    *("output_scores", "output_logits", "return_dict_in_generate"),
)
#: Differences that one note names.
_MOST = 6


@dataclass(frozen=True)
class GenerationSettings:
    """How an expert's text is drawn and ends.

    :param settings: its ``generation_config.json``; ``None``: it has none.
    :param tokens: what its ``config.json`` says of the tokens that begin, end and fill a text, where the base's says
        something else; a nested table as its own field.
    """

    settings: Mapping[str, Any] | None
    tokens: Mapping[str, Any]

    def write(self, folder: Path) -> None:
        """Put it over the files of a composite."""
        if self.settings is None:
            (folder / GENERATION).unlink(missing_ok=True)
        else:
            text = json.dumps(self.settings, indent=2, ensure_ascii=False) + "\n"
            (folder / GENERATION).write_text(text, encoding="utf-8")
        path = folder / "config.json"
        own = json.loads(path.read_text(encoding="utf-8"))
        text = json.dumps(apply_changes(own, self.tokens), indent=2, ensure_ascii=False) + "\n"
        path.write_text(text, encoding="utf-8")


def generation_from(base: Checkpoint, expert: Checkpoint) -> GenerationSettings:
    """What ``--generation-config`` takes from an expert."""
    tokens: dict[str, Any] = {}
    for one in token_differences(base.config, expert.config):
        *places, name = one.field.split(".")
        inner = tokens
        for place in places:
            inner = inner.setdefault(place, {})
        inner[name] = one.theirs
    found = generation_of(expert)
    return GenerationSettings(found or None, tokens)


def difference_notes(recipe: FuseRecipe, base: Checkpoint, experts: Mapping[str, Checkpoint]) -> list[str]:
    """Where an expert has another such file than the composite will have, and the option that chooses its own."""
    notes, template = [], _template(base)
    for id, expert in sorted(experts.items()):
        ends = token_differences(base.config, expert.config)
        draws = _settings(base, expert)
        if (ends or draws) and recipe.generation_config is None and recipe.tokenizer is None:
            notes.append(
                f"{id} ends or draws text by other settings than its base: {_listed([*ends, *draws])}; the composite "
                f"has the base's (--generation-config {id} takes its own)"
            )
        if recipe.chat_template is None and recipe.tokenizer is None and _template(expert) not in (None, template):
            notes.append(
                f"{id} has another chat template than its base; the composite has the base's "
                f"(--chat-template {id} takes its own)"
            )
    return notes


def _settings(base: Checkpoint, expert: Checkpoint) -> list[Difference]:
    one, other = generation_of(base), generation_of(expert)
    names = sorted((one.keys() | other.keys()) - {*_WRITER})
    return [Difference(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def _template(checkpoint: Checkpoint) -> str | None:
    """The one that an expert's users see: of an adapter that of its own folder first."""
    folders = [*([checkpoint.adapter.folder] if checkpoint.adapter else []), checkpoint.folder]
    try:
        return next((text for folder in folders if (text := chat_template(folder)) is not None), None)
    except SourceError:  # damaged: who takes it is told
        return None


def _listed(found: list[Difference]) -> str:
    by_field = {one.field: one for one in found}  # config.json and generation_config.json may both have one
    shown = [f"{one.field} {_short(one.theirs)}, not {_short(one.own)}" for one in list(by_field.values())[:_MOST]]
    more = len(by_field) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")


def _short(value: Any) -> str:
    text = "unset" if value is None else ascii(value)
    return text if len(text) <= 40 else text[:40] + "…"
