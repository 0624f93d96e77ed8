"""The vocabulary of a composite: planned from headers, configurations and tokenizers; no weight is read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.merging.block import Operand
from cogen.merging.operands import Stored
from cogen.merging.vocabulary.configs import (
    generation_of,
    id_changes,
    join_changes,
    mover,
    size_changes,
    untied_changes,
)
from cogen.merging.vocabulary.mapping import fallback, make_target, own_rows
from cogen.merging.vocabulary.request import VocabularyConfig
from cogen.merging.vocabulary.rows import Assembled, columns_of
from cogen.merging.vocabulary.rules import Facts, Rules, make_rules
from cogen.merging.vocabulary.tensors import Layout, layout
from cogen.merging.vocabulary.tokenizer import check_extendable, copy_tokenizer, write_appended
from cogen.merging.vocabulary.tokens import tokens_of
from cogen.merging.vocabulary.transplant import Donor, Pursuits


def plan_vocabulary(
    checkpoints: Sequence[Checkpoint],
    request: VocabularyConfig,
    files: OpenFiles,
    base: int | None = None,
    merged: Sequence[int] | None = None,
) -> Vocabulary:
    """Plan which row goes where, and check that it is possible.

    :param files: of the engine that will read the operands.
    :param base: the model whose ids "union" and "base" keep (default: the first) and whose row a missing token gets.
    :param merged: the models whose tensors the composite is made of; others only lend tokens. Default: all.
    :raises UsageError: a request for a model or token that isn't there.
    :raises CompatibilityError: vocabulary tensors that cannot be recognized, a tokenizer that cannot be extended, or a
        model without a tokenizer.
    """
    request.check(len(checkpoints))
    anchor = 0 if base is None else base
    layouts = tuple(layout(checkpoint) for checkpoint in checkpoints)
    rows = tuple(found.rows for found in layouts)
    tokens = tokens_of(checkpoints, rows, [anchor, *([request.source] if isinstance(request.source, int) else [])])
    target = make_target(request, tokens, rows, anchor)
    check_extendable(tokens[target.source], target.appended)
    own = np.stack([own_rows(target, of_it, count) for of_it, count in zip(tokens, rows, strict=True)])
    among = tuple(range(len(checkpoints)) if merged is None else merged)
    facts = Facts(request, base, tokens, rows, target, own, fallback(own, base, among))
    rules = {model: make_rules(facts, model) for model in sorted(set(among))}
    return Vocabulary(tuple(checkpoints), files, layouts, facts, rules, anchor)


@dataclass(frozen=True)
class Vocabulary:
    """Tokens, tensors and configuration of a composite that agree with each other. Models are named by index.

    :param rules: of the models that are merged; ``anchor``: the model whose configuration the composite has.
    """

    checkpoints: tuple[Checkpoint, ...]
    files: OpenFiles
    layouts: tuple[Layout, ...]
    facts: Facts
    rules: dict[int, Rules]
    anchor: int
    _pursuits: dict[tuple[int, str], Pursuits] = field(default_factory=dict, compare=False)

    def reading(self, files: OpenFiles) -> Vocabulary:
        """The same for the files of another engine."""
        return dataclasses.replace(self, files=files, _pursuits={})

    @property
    def size(self) -> int:
        """Rows of the embedding, of the output head and of its bias."""
        return self.facts.target.size

    @functools.cached_property
    def names(self) -> tuple[str, ...]:
        """The vocabulary tensors of the composite; it has an output head as soon as one of the models has its own."""
        own = (self.layouts[model] for model in self.rules)
        return tuple(sorted({name for found in own for name in (*found.matrices, *found.biases)}))

    def is_vocabulary_tensor(self, model: int, name: str) -> bool:
        """Does ``name`` have a row for every token? Also true of a head that this (tied) model doesn't store."""
        return name in self.names or self.layouts[model].stored(name) == name

    def stored_name(self, model: int, name: str) -> str:
        """Where the model stores it: for the head of a tied model its embedding.

        :raises CompatibilityError: it has nothing of that kind.
        """
        found = self.layouts[model].stored(name)
        if found is None:
            raise CompatibilityError(
                f"{self.checkpoints[model].folder.name} lacks the vocabulary tensor {name}",
                hint="leave it out; the models must be of one architecture",
            )
        return found

    def operand(self, model: int, name: str, operand: Operand) -> Operand:
        """The model's tensor for the composite's vocabulary: ``size`` rows, in the order of the composite's ids.

        :param operand: what the model stores as ``stored_name(model, name)``.
        :raises CompatibilityError: a row would come from a model whose embeddings have another width, or none.
        """
        rules, facts = self.rules[model], self.facts
        if operand.shape[0] == self.size and rules.leaves_alone(model):
            return operand
        sources: dict[int, Operand] = {model: operand}
        for source in sorted(rules.lenders - {model}):
            sources[source] = self._stored_operand(source, name)
            if columns_of(sources[source]) != columns_of(operand):
                raise CompatibilityError(
                    f"tokens that {self.checkpoints[model].folder.name} lacks have embeddings of width "
                    f"{columns_of(sources[source])} in {self.checkpoints[source].folder.name} and "
                    f"{columns_of(operand)} here",
                    hint="let the model make them out of its own: transplant omp or subword",
                )
        own = self._pursuit(model, name) if rules.donors else lambda: rules.sums
        ids = np.array(sorted(set(facts.tokens[model].ids.values())), dtype=np.int64)
        members = ids[ids < facts.rows[model]]
        return Assembled(sources, model, rules.which, rules.row, members, (own, lambda: facts.fallback.means))

    def _stored_operand(self, model: int, name: str) -> Stored:
        return Stored(self.files, self.checkpoints[model], self.stored_name(model, name), f"vocabulary {model}")

    def _pursuit(self, model: int, name: str) -> Pursuits:
        """The coefficients are found in a matrix; a bias takes those of its head."""
        if name in self.layouts[model].biases:
            head = f"{name.rpartition('.')[0]}.weight"
            name = head if head in self.names else self.layouts[model].matrices[0]
        if (model, name) not in self._pursuits:
            places = sorted(self.rules[model].donors.items())
            donors = [
                Donor(self._stored_operand(other, name), p.wanted, p.numbers, p.shared, p.own) for other, p in places
            ]
            self._pursuits[model, name] = Pursuits(donors, model, self.facts.request.sparsity)
        return self._pursuits[model, name]

    @functools.cached_property
    def config_changes(self) -> dict[str, Any]:
        """To be put over the anchor's ``config.json``: size, tying, and ids of special tokens that moved."""
        config, source = self.checkpoints[self.anchor].config, self.facts.target.source
        changes = size_changes(config, self.layouts[self.anchor], self.size)
        matrices = {len(self.layouts[model].matrices) for model in self.rules}
        if len(matrices) > 1:
            changes = join_changes(changes, untied_changes(config))
        if source != self.anchor:
            changes = join_changes(changes, id_changes(config, self.checkpoints[source].config, self._mover()))
        return changes

    @functools.cached_property
    def generation_changes(self) -> dict[str, Any]:
        """To be put over the anchor's ``generation_config.json``; if that is missing this is one."""
        if self.facts.target.source == self.anchor:
            return {}
        source = self.checkpoints[self.facts.target.source]
        own, theirs = generation_of(self.checkpoints[self.anchor]), generation_of(source)
        known = {key: value for key, value in source.config.items() if key in own}
        return id_changes(own, {**known, **theirs}, self._mover())

    def _mover(self) -> Any:
        return mover(self.facts.tokens[self.anchor], self.facts.tokens[self.facts.target.source])

    @functools.cached_property
    def notes(self) -> tuple[str, ...]:
        """Sentences for a report."""
        target, notes = self.facts.target, []
        if target.appended:
            names = [entry.token for entry in target.appended]
            notes.append(f"{_count(names)} appended to the tokenizer: {_some(names)}")
        lost = [token for id, (token, _) in sorted(target.entries.items()) if (self.facts.own[:, id] < 0).all()]
        if lost := [token for token in lost if token not in self.facts.request.tokens]:
            notes.append(f"{_count(lost)} without an embedding in any model, now the mean of each: {_some(lost)}")
        return tuple(notes)

    def write(self, folder: Path) -> None:
        """The tokenizer's files, with the source's chat template.

        :raises CompatibilityError: the tokenizer's library doesn't read the extended tokenizer as it was meant.
        """
        target = self.facts.target
        if target.appended:
            write_appended(self.facts.tokens[target.source], target.appended, folder)
        else:
            copy_tokenizer(self.facts.tokens[target.source].folder, folder)


def _count(names: Sequence[str]) -> str:
    return f"{len(names):,} token{'' if len(names) == 1 else 's'}"


def _some(names: Sequence[str]) -> str:
    return ", ".join([*map(repr, names[:3]), *(["…"] if len(names) > 3 else [])])
