"""The values that options take, for the command line to show and check without importing what they mean.

A test compares them with the types in :mod:`cogen.fusion.recipe`, :mod:`cogen.evals.settings` and the like.
"""

from __future__ import annotations

from collections.abc import Iterable

from cogen.errors import UsageError

STRATEGIES = ("merge", "moe", "distill", "route", "auto")
#: Of `cogen forecast`: those that fuse subsets within seconds.
FORECAST_STRATEGIES = ("merge", "moe")
LEVELS = ("quick", "full", "none")
EVAL_LEVELS = ("quick", "full")
MATRICES = ("own", "full")
ENSEMBLES = ("none", "uniform", "posterior")
TRANSPLANTS = ("mean", "subword", "omp")
ROUTINGS = ("prefix", "hidden", "embedding", "anchored", "trained")
PUBLIC_EXPERTS = ("mean", "base")
SPLITS = ("dev", "test")
DTYPES = ("float32", "bfloat16")
#: Of `cogen serve`.
ENGINES = ("transformers", "vllm", "llama-server")
#: Of `cogen publish`.
TARGETS = ("registry", "pypi", "hub")
CHECK_LEVELS = ("static", "smoke", "full")
#: Of `cogen new --from`: how far the text of a suite may go, and whether there is personal data in it.
SUITE_LEAVES = ("figures", "heldout")
PERSONAL_DATA = ("none", "removed", "present", "unknown")


def unknown(kind: str, value: object, choices: Iterable[str]) -> UsageError:
    """The error for a value that is none of ``choices``: "unknown strategy 'foo'; one of merge, moe, …"."""
    known = list(choices)
    near = _near(value, known)
    hint = f"did you mean {near!r}?" if near else "choose one of them, or leave the option out"
    return UsageError(f"unknown {kind} {str(value)!r}; one of {', '.join(known)}", hint=hint)


def nearest(value: object, choices: Iterable[str]) -> str:
    """A hint for long lists: "did you mean 'ties'? one of …"."""
    known = list(choices)
    near = _near(value, known)
    return (f"did you mean {near!r}? " if near else "") + f"one of {', '.join(known)}"


def _near(value: object, known: list[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(str(value).lower(), known, 1)), None)


def check_choice(kind: str, value: str, choices: Iterable[str]) -> str:
    """``value``, if it is one of ``choices``.

    :raises UsageError: it is none of them; the message lists them, and the hint names the nearest.
    """
    known = tuple(choices)
    if value not in known:
        raise unknown(kind, value, known)
    return value
