"""Both tools against float64, tensor by tensor, on small checkpoints of several architectures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merging import checkpoints, ours, references
from merging.cases import Case, cases
from merging.departures import ROUNDED_ONCE
from merging.peer import Job, Mergekit
from merging.trials import rounded, units

LAYERS = 3
#: mergekit's own rounding in float32, of the largest input of an element. What exceeds it is another formula.
FLOAT32 = 64 * 2.0**-23
#: Departures in the type of a result, not in its value.
OF_TYPES = {"widened", "buffers"}


@dataclass
class Row:
    """One recipe on one architecture and type. Errors are in units of the last place of the output's type."""

    case: str
    architecture: str
    dtype: str
    ours: float = 0.0
    peer: float = 0.0
    #: Shares of the elements on which one tool is nearer to the reference than the other.
    ours_nearer: float = 0.0
    peer_nearer: float = 0.0
    #: Share of the elements that the method's definition leaves open (equal magnitudes, a vote of 0).
    unsure: float = 0.0
    #: mergekit gave the same bits in a second process with another PYTHONHASHSEED.
    repeats: bool = True
    verdict: str = ""

    @property
    def good(self) -> bool:
        return not self.verdict.startswith("FAIL")


def compare(peer: Mergekit, folder: Path, full: bool = False) -> list[Row]:
    """All cases on the first architecture and the basic ones on the others; ``full``: all on all."""
    rows = []
    for number, architecture in enumerate(checkpoints.ARCHITECTURES):
        chosen = [case for case in cases() if full or case.basic or number == 0]
        for dtype in ("bfloat16", "float32"):
            place = folder / f"{architecture}-{dtype}"
            models = checkpoints.small(architecture, dtype, place)
            rows += [_row(case, architecture, dtype, *found) for case, *found in _outputs(peer, chosen, models, place)]
    return rows


def _outputs(peer: Mergekit, chosen: Sequence[Case], models: dict[str, Path], place: Path) -> Any:
    """(case, inputs, mergekit's tensors of two processes or its error, our tensors or our error) for each case."""
    inputs = {name: checkpoints.read(path) for name, path in models.items()}
    texts = [case.recipe.text(models) for case in chosen]
    theirs = []
    for process in (0, 1):
        jobs = [Job(text, place / f"peer-{process}-{i}") for i, text in enumerate(texts)]
        theirs.append([(job.out, found.error) for job, found in zip(jobs, peer.run(jobs, process), strict=True)])
    for index, (case, text) in enumerate(zip(chosen, texts, strict=True)):
        out = place / f"ours-{index}"
        own = ours.fuse(text, out)
        pair = [error if error is not None else checkpoints.read(path) for path, error in (t[index] for t in theirs)]
        yield case, inputs, pair, own if own is not None else checkpoints.read(out)


def _row(case: Case, architecture: str, dtype: str, inputs: dict[str, Any], peers: list[Any], own: Any) -> Row:
    row = Row(case.name, architecture, dtype)
    if isinstance(own, str):
        row.verdict = f"FAIL: ours stopped: {own}"
        return row
    theirs = peers[0]
    if isinstance(theirs, str):
        theirs = None if case.departs else theirs
    if isinstance(theirs, str):
        row.verdict = f"FAIL: mergekit stopped, which is not in the table: {theirs}"
        return row
    row.repeats = theirs is None or all(_same_bits(value, peers[1][name]) for name, value in theirs.items())
    wrong = _misfit(case, dtype, theirs, own)
    if wrong is not None:
        row.verdict = f"FAIL: {wrong}"
        return row
    _measure(row, case, inputs, theirs, own)
    return row


def _misfit(case: Case, dtype: str, theirs: dict[str, Any] | None, own: dict[str, Any]) -> str | None:
    """What is wrong with the names, shapes and types of the results, if anything."""
    wanted = case.recipe.top.get("out_dtype") or case.recipe.top.get("dtype") or dtype
    for name, value in own.items():
        if value.is_floating_point() and str(value.dtype) != f"torch.{wanted}":
            return f"ours has {name} as {value.dtype}, not {wanted}"
    if theirs is None:
        return None
    if {name: value.shape for name, value in own.items()} != {name: value.shape for name, value in theirs.items()}:
        return "other names or shapes than mergekit's"
    for name, value in theirs.items():
        if value.dtype != own[name].dtype and not OF_TYPES & set(case.departs):
            return f"mergekit has {name} as {value.dtype}, which is not in the table"
    return None


def _measure(row: Row, case: Case, inputs: dict[str, Any], theirs: dict[str, Any] | None, own: dict[str, Any]) -> None:
    """Fill in the errors and the verdict."""
    count, unsure, nearer, farther, explained = 0, 0, 0, 0, True
    for name, value in own.items():
        if not value.is_floating_point():
            model, source = case.recipe.inputs(name, LAYERS).tensors[0]
            if not _same_bits(value, inputs[model][source]):
                row.verdict = f"FAIL: {name} was not copied"
                return
            continue
        wanted, given = _reference(case, inputs, name, row.dtype)
        out = str(value.dtype).removeprefix("torch.")
        sure = ~wanted.unsure
        error = np.maximum(np.abs(value.double().numpy() - wanted.value) - wanted.slack, 0)
        row.ours = max(row.ours, _largest(units(error, wanted.value, given, out), sure))
        count, unsure = count + sure.size, unsure + int(wanted.unsure.sum())
        if theirs is None:
            continue
        peer = theirs[name].to(value.dtype)  # where it is wider than documented: what is left of it in the right type
        other = np.maximum(np.abs(peer.double().numpy() - wanted.value) - wanted.slack, 0)
        row.peer = max(row.peer, _largest(units(other, wanted.value, given, out), sure))
        gap = units(other - error, wanted.value, given, out)
        nearer, farther = nearer + int((gap[sure] > 0).sum()), farther + int((gap[sure] < -0.05).sum())
        explained &= bool((other <= FLOAT32 * np.max(np.abs(given), axis=0))[sure].all())
    row.ours_nearer, row.peer_nearer, row.unsure = nearer / count, farther / count, unsure / count
    row.verdict = _verdict(row, case, explained or row.dtype != "float32" or bool(case.recipe.top), theirs is None)


def _verdict(row: Row, case: Case, explained: bool, stopped: bool) -> str:
    if row.ours > ROUNDED_ONCE:
        return f"FAIL: ours is {row.ours:.3g} units from the reference"
    if row.peer_nearer > 0:
        return "FAIL: mergekit is nearer somewhere"
    formulas = [key for key in case.departs if key not in OF_TYPES]
    if not explained and not formulas:
        return "FAIL: mergekit differs by more than rounding, which is not in the table"
    if explained and formulas and row.dtype == "float32" and not stopped:
        return f"FAIL: {formulas[0]} is not seen any more"
    return "departs: " + ", ".join(formulas) if formulas else "agrees"


def _reference(case: Case, inputs: dict[str, Any], name: str, dtype: str) -> tuple[references.Merged, list[Any]]:
    """The reference of one tensor and what went into it, all as float64."""
    computed = case.recipe.top.get("dtype", dtype)
    made_of = case.recipe.inputs(name, LAYERS)

    def read(model: str, source: str) -> references.Array:
        return rounded(inputs[model][source].double().numpy(), computed)

    base = None if made_of.base is None else read(*made_of.base)
    experts = [read(*source) for source in made_of.tensors]
    found = references.merge(case.recipe.method, base, experts, **made_of.parameters)
    return found, experts if base is None else [base, *experts]


def _largest(values: Any, where: Any) -> float:
    return float(values[where].max()) if where.any() else 0.0


def _same_bits(left: Any, right: Any) -> bool:
    import torch

    return left.dtype == right.dtype and torch.equal(*(x.reshape(-1).view(torch.uint8) for x in (left, right)))


def show(rows: Sequence[Row]) -> None:
    """Print a table, and how many rows ended how."""
    heads = f"{'ours':>7}{'mergekit':>10}{'nearer':>9}{'farther':>9}{'unsure':>9}"
    print(f"\n{'recipe':32}{'model':10}{'type':10}{heads}  verdict")
    for row in rows:
        print(
            f"{row.case:32}{row.architecture:10}{row.dtype:10}{row.ours:7.3f}{row.peer:10.3g}"
            f"{row.ours_nearer:9.2%}{row.peer_nearer:9.2%}{row.unsure:9.2%}  {row.verdict}"
            + ("" if row.repeats else "; mergekit differs by PYTHONHASHSEED")
        )
    ends = [row.verdict.partition(":")[0] for row in rows]
    print(", ".join(f"{ends.count(end)} {end}" for end in dict.fromkeys(ends)))


def facts(rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [asdict(row) for row in rows]
