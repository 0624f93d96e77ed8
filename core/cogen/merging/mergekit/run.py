"""A recipe of mergekit from file to folder."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.checkpoints.sources import Talk, silent
from cogen.errors import UsageError
from cogen.files import atomic_folder
from cogen.fusion.merge.outputs import write_outputs
from cogen.merging.engine import Copy, Engine
from cogen.merging.mergekit.card import write_card
from cogen.merging.mergekit.companions import write_companions
from cogen.merging.mergekit.models import Model
from cogen.merging.mergekit.operands import make_outputs
from cogen.merging.mergekit.plan import make_merge_plan
from cogen.merging.mergekit.provenance import Record, write_record
from cogen.merging.mergekit.recipe import read_recipe
from cogen.merging.operands import fingerprint
from cogen.merging.output_folder import check_output_folder


@dataclass(frozen=True)
class Merged:
    """What a merge gave; ``bytes`` of tensors, ``copied`` of them as they were."""

    folder: Path
    tensors: int
    copied: int
    bytes: int
    seconds: float
    notes: tuple[str, ...]


def merge_recipe(
    path: Path,
    output: Path,
    *,
    threads: int | None = None,
    shard_bytes: int | None = None,
    seed: int = 0,
    progress: Any = None,
    talk: Talk = silent,
) -> Merged:
    """Build ``output`` whole, or leave what was there.

    :param seed: of the methods that drop at random; mergekit takes it on its command line.
    :param progress: advanced by one for every tensor; gets their number as its ``total``.
    :raises CogenError: see :func:`~cogen.merging.mergekit.recipe.read_recipe` and
        :func:`~cogen.merging.mergekit.plan.make_merge_plan`; nothing is left behind.
    """
    begin = time.monotonic()
    recipe, text = read_recipe(path)
    check_output_folder(output)
    with Engine(threads, progress) as engine:
        plan = make_merge_plan(recipe, engine.files, seed=seed, talk=talk)
        _check_input(output, plan.models)
        for note in plan.notes:
            talk(f"note: {note}")
        with atomic_folder(output, replace=True) as part:
            more = write_companions(recipe, plan.models, plan.donor, plan.vocabulary, part)
            _write_json(part / "config.json", plan.config)
            for note in more:
                talk(f"note: {note}")
            # Only now are weights read: the first 4 KB of every tensor.
            keys = tuple(fingerprint(model.checkpoint, engine.files) for model in plan.models)
            outputs = make_outputs(plan, keys, engine.files)
            if progress is not None:
                progress.total = len(outputs)
            write_outputs(outputs, engine, part, shard_bytes)
            notes = (*plan.notes, *more)
            record = Record(recipe.merge_method, text, seed, plan.models, keys, plan.donor, plan.works, notes)
            write_record(record, part)
            write_card(record, part)
    copied = sum(isinstance(output.work, Copy) for output in outputs)
    size = sum(output.nbytes for output in outputs)
    return Merged(output, len(outputs), copied, size, round(time.monotonic() - begin, 2), notes)


def _check_input(output: Path, models: tuple[Model, ...]) -> None:
    """The folder that is replaced is none of those that are read."""
    for model in models:
        folders = [model.checkpoint.folder, *([model.checkpoint.adapter.folder] if model.checkpoint.adapter else [])]
        if any(folder.resolve() == output.resolve() for folder in folders):
            raise UsageError(f"{output} is one of the models that are merged", hint="name another folder with -o")


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
