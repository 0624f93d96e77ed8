"""Merging by a recipe: from mergekit's YAML, or the same as a dictionary, to a checkpoint folder."""

from __future__ import annotations

import functools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from cogen.checkpoints.model import open_folder
from cogen.errors import SpecError, UsageError
from cogen.files import atomic_folder
from cogen.merging.engine import Copy, Engine
from cogen.merging.mergekit.card import write_card
from cogen.merging.mergekit.document import RecipeDocument, parse_document, read_document
from cogen.merging.mergekit.methods import FindMethod
from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.operands import make_outputs
from cogen.merging.mergekit.plan import make_merge_plan
from cogen.merging.mergekit.provenance import MERGE, Record, write_record
from cogen.merging.mergekit.recipe import parse_recipe
from cogen.merging.mergekit.side_files import write_side_files
from cogen.merging.operands import fingerprint
from cogen.merging.output_folder import MARKS, check_output_folder, one_writer, other_recipe
from cogen.merging.own_files import keep_own_files
from cogen.merging.writer import finish_model_files, parse_size, write_outputs
from cogen.reporter import SILENT, Reporter, begin


@dataclass(frozen=True)
class MergeResult:
    """A merged checkpoint.

    :param folder: the checkpoint: weights, config, tokenizer, ``merge.json`` and a model card.
    :param tensors: their number; ``copied`` of them have the bytes of an input.
    :param bytes: of all tensors.
    :param seconds: wall-clock time.
    :param notes: sentences for the user, e.g. on settings in which the models differ.
    """

    folder: Path
    tensors: int
    copied: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]

    @functools.cached_property
    def weights_digest(self) -> str:
        """``sha256:…`` of all names, types, shapes and bytes; the weights are read when it is first asked for."""
        digest: str = open_folder(self.folder).weights_digest
        return digest


def merge(
    config: str | Path | Mapping[str, Any],
    output: str | Path,
    *,
    threads: int | None = None,
    shard_size: int | str | None = None,
    seed: int | None = None,
    replace: bool = False,
    find_method: FindMethod | None = None,
    reporter: Reporter = SILENT,
) -> MergeResult:
    """Merge models by a recipe in mergekit's format and write a checkpoint folder.

    :param config: the path of a YAML file, YAML text (recognized by a line break or a leading ``{``), or the same as
        a mapping. Folders of models are relative to the working directory.
    :param output: created, or replaced if it holds an earlier result of the same recipe; written as a whole or not at
        all.
    :param threads: default: all usable cores. The result does not depend on it.
    :param shard_size: largest weights file, in bytes or as ``"2GB"``; default 5 GB.
    :param seed: of methods that drop differences at random; default 0.
    :param replace: replace what another recipe gave, too.
    :param find_method: looks up methods that are neither mergekit's nor CoGen's.
    :param reporter: gets a note for everything that is worth knowing, and advances by one per tensor.
    :raises UsageError: an unknown, misplaced or unsupported option, or an output folder that holds something else.
    :raises SpecError: not valid YAML, or not a recipe.
    :raises SourceError: a model that is not available.
    :raises CompatibilityError: models that cannot be merged in this way.
    :raises CogenError: the disk is full or cannot be written to.
    """
    limit = parse_size(shard_size) if isinstance(shard_size, str) else shard_size
    return merge_recipe(
        _document(config),
        Path(output),
        threads=threads,
        shard_bytes=limit,
        seed=seed or 0,
        replace=replace,
        find_method=find_method,
        reporter=reporter,
    )


def _document(config: str | Path | Mapping[str, Any]) -> RecipeDocument:
    if isinstance(config, Mapping):
        try:
            return parse_document(yaml.safe_dump(_plain(config), sort_keys=False, allow_unicode=True), "config")
        except yaml.YAMLError as error:
            raise SpecError(
                f"config is not plain data: {error}", hint="use numbers, texts, lists and mappings"
            ) from error
    if isinstance(config, str) and ("\n" in config or config.lstrip().startswith("{")):
        return parse_document(config, "config")
    return read_document(Path(config))


def _plain(value: Any) -> Any:
    """Tuples as lists and paths as texts, which YAML's safe writer does not know."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def merge_recipe(
    recipe: RecipeDocument,
    output: Path,
    *,
    threads: int | None = None,
    shard_bytes: int | None = None,
    seed: int = 0,
    replace: bool = False,
    find_method: FindMethod | None = None,
    reporter: Reporter = SILENT,
) -> MergeResult:
    """See :func:`merge`; ``shard_bytes`` is the largest weights file in bytes."""
    start = time.monotonic()
    checked, text = parse_recipe(recipe)
    check_output_folder(output)
    with Engine(threads, reporter) as engine:
        plan = make_merge_plan(checked, engine.files, seed=seed, find=find_method, reporter=reporter)
        _check_not_an_input(output, plan.models)
        if not replace:
            _check_same_recipe(output, text)
        for note in plan.notes:
            reporter.note(f"note: {note}")
        with one_writer(output), atomic_folder(output, replace=True) as part:
            more = write_side_files(checked, plan.models, plan.donor, plan.vocabulary, part)
            finish_model_files(part, plan.config)
            for note in more:
                reporter.note(f"note: {note}")
            # The first read of weights: 4 KB of every tensor.
            keys = tuple(fingerprint(model.checkpoint, engine.files) for model in plan.models)
            outputs = make_outputs(plan, keys, engine.files)
            begin(reporter, "merging", len(outputs), "tensors")
            write_outputs(outputs, engine, part, shard_bytes)
            notes = (*plan.notes, *more)
            record = Record(checked.merge_method, text, seed, plan.models, keys, plan.donor, plan.steps, notes)
            write_record(record, part)
            write_card(record, part)
            keep_own_files(output, part, reporter)
    copied = sum(isinstance(output.work, Copy) for output in outputs)
    size = sum(output.nbytes for output in outputs)
    return MergeResult(output, len(outputs), copied, size, round(time.monotonic() - start, 2), notes)


def _check_same_recipe(output: Path, recipe: str) -> None:
    """:raises UsageError: ``output`` holds what another recipe gave."""
    if (output / MERGE).is_file():
        try:
            held = yaml.safe_load(json.loads((output / MERGE).read_text(encoding="utf-8"))["recipe"])
        except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError):
            held = None
        if held != yaml.safe_load(recipe):
            raise other_recipe(output, "the merge of another recipe")
    elif any((output / mark).is_file() for mark in MARKS):
        raise other_recipe(output, "a composite of `cogen fuse`")


def _check_not_an_input(output: Path, models: tuple[Model, ...]) -> None:
    for model in models:
        folders = [model.checkpoint.folder, *([model.checkpoint.adapter.folder] if model.checkpoint.adapter else [])]
        if any(folder.resolve() == output.resolve() for folder in folders):
            raise UsageError(f"{output} is one of the merged models", hint="give another folder with -o")
        if any(output.resolve().is_relative_to(folder.resolve()) for folder in folders):
            raise UsageError(
                f"{output} is inside of one of the merged models, which would be another model by its digest then",
                hint="give another folder with -o",
            )
