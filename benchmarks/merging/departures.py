"""Where mergekit 0.1.5 departs from what it documents: one table, every entry of which is checked by running it.

An entry that is not observed any more fails the benchmark, and so does any difference that is not in the table.
`cogen merge` does what mergekit documents; that is checked on the same inputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from merging.peer import Mergekit
from merging.references import Array
from merging.trials import Run, Trial, run, units

#: A result rounded once is within half a unit of the last place; the rest is for the accumulator's own rounding.
ROUNDED_ONCE = 0.55

#: What a judge says of one tool's runs: whether it departs as described, and by how much.
Verdict = tuple[bool, str]


@dataclass(frozen=True)
class Departure:
    """One entry: what is documented, what happens instead, and the runs that show it."""

    key: str
    methods: str
    documented: str
    does: str
    trials: tuple[Trial, ...]
    departs: Callable[[Sequence[Run]], Verdict]
    #: Whether our runs are as documented; ``None``: if they do not depart.
    kept: Callable[[Sequence[Run]], bool] | None = None


def table() -> list[Departure]:
    """All entries."""
    from merging.departures_files import FILES
    from merging.departures_random import RANDOM
    from merging.departures_types import TYPES
    from merging.departures_values import VALUES

    return [*TYPES, *VALUES, *RANDOM, *FILES]


def check(peer: Mergekit, folder: Path, keys: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Run the trials of all entries (or of those named) and judge them."""
    chosen = [entry for entry in table() if not keys or entry.key in keys]
    theirs, own = map(iter, run([trial for entry in chosen for trial in entry.trials], peer, folder))
    rows = []
    for entry in chosen:
        pairs = [(next(theirs), next(own)) for _ in entry.trials]
        departs, detail = _judged(entry.departs, [pair[0] for pair in pairs])
        ours = [pair[1] for pair in pairs]
        kept, why = _judged(lambda runs, entry=entry: _kept(entry, runs), ours)
        row = {"key": entry.key, "methods": entry.methods, "documented": entry.documented, "does": entry.does}
        rows.append(row | {"observed": departs, "ours as documented": kept, "detail": detail, "ours": why})
    return rows


def _kept(entry: Departure, runs: Sequence[Run]) -> Verdict:
    if entry.kept is not None:
        return entry.kept(runs), ""
    departs, detail = entry.departs(runs)
    return not departs, detail


def _judged(judge: Callable[[Sequence[Run]], Verdict], runs: Sequence[Run]) -> Verdict:
    try:
        return judge(runs)
    except (ValueError, KeyError) as error:  # a run failed that should have given a result, or gave half of one
        return False, f"{type(error).__name__}: {error}"


# --- judges -------------------------------------------------------------------------------------------------------


def exact(runs: Sequence[Run]) -> bool:
    """The documented result, rounded once."""
    return all(_exact(found, everywhere=False) for found in runs)


def exact_everywhere(runs: Sequence[Run]) -> bool:
    """The same also where papers can be read differently, as we read them."""
    return all(_exact(found, everywhere=True) for found in runs)


def merged(runs: Sequence[Run]) -> bool:
    """There is a result."""
    return all(found.error is None for found in runs)


def _exact(found: Run, everywhere: bool) -> bool:
    wanted = found.trial.documented()
    error = np.abs(found.tensor() - wanted.value) - wanted.slack
    far = units(error, wanted.value, list(found.trial.inputs().values()), found.trial.dtype)
    return bool((far <= ROUNDED_ONCE)[everywhere | ~wanted.unsure].all())


def instead(formula: Callable[[Mapping[str, Array], Trial], Array]) -> Callable[[Sequence[Run]], Verdict]:
    """It gives ``formula`` of the inputs, to float32's precision, and that is far from what is documented."""

    def judge(runs: Sequence[Run]) -> Verdict:
        departs, details = True, []
        for found in runs:
            given = found.trial.inputs()
            size = np.max(np.abs(list(given.values())))
            explained, away = (
                float(np.max(np.abs(found.tensor() - x)) / size)
                for x in (formula(given, found.trial), found.trial.documented().value)
            )
            departs &= explained <= 1e-5 and away >= 10 * explained and away > 0
            details.append(f"{away:.1e} of the largest weight away from what is documented")
        return departs, "; ".join(details)

    return judge


def fails(text: str) -> Callable[[Sequence[Run]], Verdict]:
    """It stops with an error that contains ``text``."""

    def judge(runs: Sequence[Run]) -> Verdict:
        errors = [found.error or "" for found in runs]
        return all(text in error for error in errors), errors[0][:150] or "no error"

    return judge


def seed(number: int) -> np.random.Generator:
    """Inputs are drawn with numpy, so that they are the same whatever torch is installed."""
    return np.random.default_rng(number)


def models_around(number: int, shape: tuple[int, ...], sizes: Sequence[float]) -> dict[str, Array]:
    """A base of size 0.05 and models a, b, … that differ from it by the given sizes."""
    generator = seed(number)
    base = 0.05 * generator.standard_normal(shape)
    found = {"base": base}
    for name, size in zip("abcdef", sizes, strict=False):
        found[name] = base + size * generator.standard_normal(shape)
    return found


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the table, an entry in two or three lines."""
    print("\nWhere mergekit departs from what it documents")
    for row in rows:
        seen = "observed" if row["observed"] else "NOT OBSERVED"
        own = "as documented" if row["ours as documented"] else f"NOT AS DOCUMENTED {row['ours']}"
        print(f"{row['key']:22}{row['methods']}\n  documented: {row['documented']}\n  0.1.5: {row['does']}")
        print(f"  {seen}: {row['detail']}; cogen: {own}")
