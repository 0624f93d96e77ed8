"""``cogen.lock``: everything that decided a composite, so that it can be built again and checked.

The file is JSON with sorted keys. The same run writes the same bytes, but for the field ``created``: times and other
things that change from run to run have no place in it.
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, ValidationError

from cogen.devices import mark
from cogen.display import plain, table
from cogen.errors import CompatibilityError, SpecError
from cogen.evals.matrix import EMPTY
from cogen.fusion.plan import Plan, PlannedExpert, plan_digest
from cogen.spec.base import Digest, Frozen, RelativePath
from cogen.untrusted.json_text import parse_object

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.evals import Matrix
    from cogen.fusion.merge.measure import Trial

LOCK_NAME = "cogen.lock"
#: Older ones are read too: the plan of version 1 is one of version 1, and neither 1 nor 2 has ``model_files``.
LOCK_VERSION: Literal[3] = 3
_READABLE = (1, 2, 3)
#: Packages whose version can change the bits of a composite or the figures of its matrix.
_SOFTWARE = (
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "gguf",
    "peft",
    "lm_eval",
    "numpy",
    "scipy",
    "optuna",
)
#: What a loader would read from the folder; a file of such a kind that appears later is a change too.
_LOADED = (".safetensors", ".json", ".jinja", ".txt", ".model", ".bin", ".pt", ".gguf", ".py")
_HINT = "`cogen fuse` writes one into the composite's folder"


class LockedTrial(Frozen):
    """One candidate that was measured; the fields of :class:`cogen.fusion.merge.measure.Trial`."""

    scale: float
    objective: float | None
    bits_per_byte: dict[str, float]
    parameters: dict[str, float] = Field(default_factory=dict)
    failure: str = ""


class LockedCell(Frozen):
    """A figure of the matrix with its 95 % interval (``None`` with fewer than two documents)."""

    metric: str
    value: float
    low: float | None
    high: float | None
    n: int


class LockedMatrix(Frozen):
    """The matrix without the figures of single documents: ``cells[row][column]``."""

    part: str
    level: str
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: dict[str, dict[str, LockedCell]]

    @classmethod
    def of(cls, matrix: Matrix) -> Self:
        cells = {
            row: {
                column: LockedCell(metric=r.metric, value=r.value, low=r.low, high=r.high, n=r.n)
                for column, r in found.items()
            }
            for row, found in matrix.cells.items()
        }
        return cls(part=matrix.split, level=matrix.level, rows=matrix.rows, columns=matrix.columns, cells=cells)

    @property
    def split(self) -> str:
        """dev or test; ``part`` is the name in files."""
        return self.part

    def get(self, row: str, column: str) -> LockedCell | None:
        """The cell, or ``None`` where nothing was measured."""
        return self.cells.get(row, {}).get(column)

    @property
    def not_measured(self) -> dict[str, list[str]]:
        """As :attr:`cogen.evals.Matrix.not_measured`."""
        missing = {row: [c for c in self.columns if self.get(row, c) is None] for row in self.rows}
        return {row: columns for row, columns in missing.items() if columns}

    def _repr_html_(self) -> str:
        """For notebooks: one row a model, one column a suite."""
        return table(*self._table())

    def __str__(self) -> str:
        return plain(*self._table())

    def _table(self) -> tuple[str, tuple[str, ...], list[list[object]]]:
        rows: list[list[object]] = [
            [row, *(EMPTY if (cell := self.get(row, c)) is None else cell.value for c in self.columns)]
            for row in self.rows
        ]
        return f"{self.split} split, level {self.level}", ("model", *self.columns), rows


class LockedSource(Frozen):
    """The distribution that an expert came in, and who vouches for it.

    ``publisher`` is the registry's name of the team and ``key`` the fingerprint of the key whose signature was checked
    when it was installed; where ``key`` is ``None`` nothing was checked, and ``publisher`` is what the manifest says.
    """

    distribution: str
    version: str
    publisher: str
    key: str | None
    sha256: str | None
    registry: str | None


class Lock(Frozen):
    """See the module. ``plan_digest`` is :attr:`Plan.digest`; ``files`` are relative to the composite's folder.

    ``seed`` is that of the method's or the training's random numbers, ``None`` where none are drawn. ``platform`` and
    ``threads`` say where it was made. They must not change the weights, and a replay elsewhere proves that they don't;
    but a training's (strategy distill) do depend on them.
    """

    version: Literal[3] = LOCK_VERSION
    #: Moment of writing, ISO 8601 in UTC.
    created: str
    cogen: str
    plan: Plan
    plan_digest: Digest
    #: The scale that was used: that of the best of ``trials``, or the only one.
    scale: float
    #: What else the best of ``trials`` has; wins over the plan's. A weight is called ``weight.ID``.
    parameters: dict[str, float] = Field(default_factory=dict)
    trials: tuple[LockedTrial, ...]
    seed: int | None
    software: dict[str, str]
    platform: str
    threads: int
    files: dict[RelativePath, Digest] = Field(min_length=1)
    weights_digest: Digest
    matrix: LockedMatrix | None
    #: By expert; empty in locks of before it was written down.
    sources: dict[str, LockedSource] = Field(default_factory=dict)
    #: By model ("base", an expert's id): configuration, tokenizer and what else lies beside its weights, by
    #: :func:`cogen.checkpoints.side_files.side_files`. Empty in locks of before version 3.
    model_files: dict[str, dict[RelativePath, Digest]] = Field(default_factory=dict)


def make_lock(
    plan: Plan,
    scale: float,
    trials: Sequence[Trial | LockedTrial],
    folder: Path,
    matrix: Matrix | None,
    *,
    parameters: Mapping[str, float] | None = None,
    created: str | None = None,
    seed: int | None = None,
    models: Mapping[str, Checkpoint] | None = None,
) -> Lock:
    """The lock of the composite that lies in ``folder``; reads every byte of it.

    :param parameters: what was chosen beside the scale.
    :param created: replaces the present moment.
    :param seed: of a training; default: that of the plan's method, where it has one.
    :param models: what the composite is made of, by name.
    :raises SourceError: the folder holds no readable checkpoint.
    """
    import torch

    from cogen.checkpoints.model import open_folder

    own = plan.parameters.get("seed") if seed is None else seed
    return Lock(
        created=created or datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        cogen=plan.cogen,
        plan=plan,
        plan_digest=plan.digest,
        scale=scale,
        parameters=dict(parameters or {}),
        trials=tuple(LockedTrial.model_validate(trial, from_attributes=True) for trial in trials),
        seed=None if own is None else int(own),  # type: ignore[arg-type]
        software=software_versions(),
        platform=" ".join([platform.system(), platform.machine(), *platform.libc_ver()]).strip(),
        threads=torch.get_num_threads(),
        files=_digests(folder),
        weights_digest=_written(open_folder(folder)),
        matrix=None if matrix is None else LockedMatrix.of(matrix),
        sources={expert.id: _source(expert) for expert in plan.experts},
        model_files=model_files(models or {}),
    )


def _written(composite: Checkpoint) -> str:
    """Its weights digest. Whatever wrote them, a composite with NaN or infinity in it is none.

    :raises CompatibilityError: a tensor holds one.
    """
    digest: str = composite.weights_digest
    if (name := composite.not_finite) is not None:
        raise CompatibilityError(
            f"{name} of the composite holds NaN or infinity", hint="take a smaller scale or other weights"
        )
    return digest


def model_files(models: Mapping[str, Checkpoint]) -> dict[str, dict[str, str]]:
    """What a lock says of the files beside the weights of ``models``; an adapter has those of its own folder."""
    from cogen.checkpoints.side_files import side_files

    return {
        name: side_files(model.folder if model.adapter is None else model.adapter.folder)
        for name, model in sorted(models.items())
    }


def _source(expert: PlannedExpert) -> LockedSource:
    from cogen.trust.errors import TrustError
    from cogen.trust.receipts import receipt_of

    try:
        receipt = receipt_of(expert.distribution)
    except TrustError:  # damaged: nothing is vouched for
        receipt = None
    if receipt is not None and receipt.version == expert.version:
        checked = {name: getattr(receipt, name) for name in ("publisher", "key", "sha256", "registry")}
    else:
        checked = {"publisher": expert.publisher, "key": None, "sha256": None, "registry": None}
    return LockedSource(distribution=expert.distribution, version=expert.version, **checked)


def software_versions() -> dict[str, str]:
    """Versions of python and of the packages that can change a result, as far as they are installed."""
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        if (version := _installed_version(name)) is not None:
            found[name] = version
    if on := mark(deciding=True):  # what was computed on a GPU has other bits than on a CPU
        found["device"] = on[1]
    return found


@functools.cache
def _installed_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_lock(lock: Lock, path: Path) -> None:
    """JSON with sorted keys, two spaces and a newline at the end; whole or not at all."""
    from cogen.files import atomic_write

    text = json.dumps(lock.model_dump(mode="json"), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    atomic_write(path, (text + "\n").encode())


def read_lock(path: Path) -> Lock:
    """The lock that ``path`` holds; ``path`` may also be the composite's folder.

    :raises SpecError: unreadable, no lock, of a newer CoGen, or its plan is not the one that was locked.
    """
    if path.is_dir():
        path = path / LOCK_NAME
    try:
        value = parse_object(path.read_bytes())
    except OSError as error:
        raise SpecError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise SpecError(f"{path.name} is not a lock: {error}", hint=_HINT) from error
    if "version" not in value:
        raise SpecError(f"{path.name} is not a lock: it has no field `version`", hint=_HINT)
    if value["version"] not in _READABLE:
        raise SpecError(
            f"{path.name} is a lock of version {value['version']}, this CoGen reads version {LOCK_VERSION}",
            hint="install the CoGen that it names in its field `cogen`, or fuse again",
        )
    try:
        lock = Lock.model_validate_json(json.dumps(value | {"version": LOCK_VERSION}))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise SpecError(f"{path.name} is not a lock: {place}: {first['msg']}", hint=_HINT) from error
    # Of the JSON as it stands in the file, so that a field that a later CoGen adds with a default changes nothing.
    if plan_digest(value["plan"]) != lock.plan_digest:
        raise SpecError(f"the plan in {path.name} is not the one that was locked", hint="it was edited; fuse again")
    return lock


def verify(lock: Lock, folder: Path) -> list[str]:
    """Names of the files whose digest is not the lock's, or that are missing, or that came later; sorted."""
    found = _digests(folder)
    return sorted(name for name in found.keys() | lock.files.keys() if found.get(name) != lock.files.get(name))


def _digests(folder: Path) -> dict[str, str]:
    """Of every file that a loader of checkpoints would read; what the run writes beside them is left out."""
    from cogen.checkpoints.digests import file_digest

    names = [
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.suffix in _LOADED and path.is_file() and not path.relative_to(folder).as_posix().startswith(".")
    ]
    return {name: file_digest(folder / name) for name in sorted(names)}
