"""Small merges that both tools run: what goes in is given as arrays, what comes out is read back as arrays."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from merging import checkpoints, ours, probes, references
from merging.peer import Job, Mergekit
from merging.recipes import Recipe
from merging.references import Array, Merged


@dataclass(frozen=True)
class Trial:
    """A merge of :func:`probes.probe` models, one a name in ``tensors``, or of what ``make`` writes."""

    recipe: Recipe
    tensors: Mapping[str, Array] = field(default_factory=dict)
    dtype: str = "float32"
    #: Options of mergekit's command line.
    options: Mapping[str, Any] = field(default_factory=dict)
    #: PYTHONHASHSEED of mergekit's process. Trials with another number run in another process.
    process: int = 0
    #: ``make(folder)`` writes the models and returns where they are: for what a single tensor cannot show.
    make: Callable[[Path], Mapping[str, Path]] | None = None

    def write(self, folder: Path) -> Mapping[str, Path]:
        import torch

        if self.make is not None:
            return self.make(folder)
        dtype = getattr(torch, self.dtype)
        return {
            name: probes.probe(folder / name, torch.from_numpy(np.asarray(value)).to(dtype))
            for name, value in self.tensors.items()
        }

    def inputs(self) -> dict[str, Array]:
        """The tensors as they are in the files, rounded to their type."""
        return {name: rounded(np.asarray(value), self.dtype) for name, value in self.tensors.items()}

    def documented(self) -> Merged:
        """What the method should give."""
        found, recipe = self.inputs(), self.recipe
        base = found[recipe.base] if recipe.base is not None else None
        inputs = recipe.inputs(probes.PROBED, layers=1)
        return references.merge(recipe.method, base, [found[name] for name, _ in inputs.tensors], **inputs.parameters)


@dataclass(frozen=True)
class Run:
    """What one tool made of a trial."""

    trial: Trial
    folder: Path
    error: str | None

    def tensor(self, name: str = probes.PROBED) -> Array:
        return self.tensors()[name]

    def tensors(self) -> dict[str, Array]:
        """:raises ValueError: the tool made nothing of it."""
        return {name: value.double().numpy() for name, value in self.stored().items()}

    def stored(self) -> dict[str, Any]:
        """The tensors as they are stored."""
        if self.error is not None:
            raise ValueError(self.error)
        return checkpoints.read(self.folder)

    @property
    def config(self) -> dict[str, Any]:
        if self.error is not None:
            raise ValueError(self.error)
        return json.loads((self.folder / "config.json").read_text())


def run(trials: Sequence[Trial], peer: Mergekit, folder: Path) -> tuple[list[Run], list[Run]]:
    """All trials by mergekit, in one process for each value of ``process``, and all by cogen."""
    recipes = [trial.recipe.text(trial.write(folder / f"{i}" / "in")) for i, trial in enumerate(trials)]
    errors: dict[int, str | None] = {}
    together: dict[int, list[int]] = defaultdict(list)
    for index, trial in enumerate(trials):
        together[trial.process].append(index)
    for process, members in together.items():
        jobs = [Job(recipes[i], folder / f"{i}" / "peer", dict(trials[i].options)) for i in members]
        found = peer.run(jobs, hash_seed=process)
        errors |= {i: outcome.error for i, outcome in zip(members, found, strict=True)}
    theirs = [Run(trial, folder / f"{i}" / "peer", errors[i]) for i, trial in enumerate(trials)]
    own = []
    for index, (trial, recipe) in enumerate(zip(trials, recipes, strict=True)):
        out = folder / f"{index}" / "ours"
        own.append(Run(trial, out, ours.fuse(recipe, out)))
    return theirs, own


def rounded(value: Array, dtype: str) -> Array:
    """Rounded to a type, as float64."""
    import torch

    return torch.from_numpy(np.array(value, np.float64)).to(getattr(torch, dtype)).double().numpy()


#: Of each type: the distance of 1 to the next number, the smallest distance of any two, and the accumulator's rounding.
FORMATS = {
    "bfloat16": (2.0**-7, 2.0**-133, 2.0**-24),
    "float16": (2.0**-10, 2.0**-24, 2.0**-24),
    "float32": (2.0**-23, 2.0**-149, 2.0**-53),
}


def last_place(value: Array, dtype: str) -> Array:
    """The distance of neighbouring numbers of the type, at the size of ``value``."""
    step, least, _ = FORMATS[dtype]
    return np.maximum(step * 2.0 ** np.floor(np.log2(np.maximum(np.abs(value), 1e-300))), least)


def units(error: Array, value: Array, inputs: Sequence[Array], dtype: str) -> Array:
    """An error in units of the last place of the value.

    Where large inputs cancel, the last place of the little that is left would ask for digits that no accumulator has;
    so values below 1/128 of the largest input are measured at that size.
    """
    size = np.max([np.abs(x) for x in inputs], axis=0) / 128
    return error / last_place(np.maximum(np.abs(value), size), dtype)
