"""`cogen eval`: measure a model on the experts' suites."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.choices import DTYPES, EVAL_LEVELS, SPLITS
from cogen.cli.arguments import choice, expert_ids, renamed, starting, with_groups
from cogen.cli.eval_private import Asked, PrivateOptions, measured_privately
from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter

if TYPE_CHECKING:
    from cogen.api.evaluation import Evaluation
    from cogen.evals import SuiteResult

Suites = Annotated[
    list[str] | None,
    typer.Option(
        "--suite",
        metavar="NAME",
        help="An owner, a suite's id, owner/id, or the private.yaml of a private suite. Repeatable. Default: all.",
    ),
]
HookSuites = Annotated[
    bool, typer.Option("--hook-suites", help="Include suites defined by plugin hooks (executes plugin code).")
]

MeasuredLevel = Annotated[
    str | None,
    choice(
        "level",
        EVAL_LEVELS,
        "--level",
        help="quick (default): bits per byte on the first 1,500 tokens. A private suite is measured in full.",
    ),
]
ComputeType = Annotated[
    str | None,
    choice("dtype", DTYPES, "--dtype", help="Type to compute in. Default: bfloat16; float32 for a private suite."),
]


@with_groups
def command(
    private: PrivateOptions,
    model: Annotated[
        str,
        typer.Argument(
            metavar="MODEL",
            help="A folder of a model or a route, an expert's id, `base`, or a source such as hf://ORG/REPO.",
            autocompletion=starting(lambda: ["base", *expert_ids()]),
        ),
    ],
    suite: Suites = None,
    against: Annotated[
        str | None, typer.Option("--against", metavar="MODEL", help="Compare with this model, such as `base`.")
    ] = None,
    level: MeasuredLevel = None,
    split: Annotated[str, choice("split", SPLITS, "--split", help="Evaluation split.")] = "test",
    dtype: ComputeType = None,
    max_length: Annotated[int, typer.Option("--max-length", metavar="N", min=16, help="Tokens in a window.")] = 1024,
    hook_suites: HookSuites = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, whatever the cache holds.")] = False,
    part: Annotated[str | None, typer.Option("--part", hidden=True)] = None,
) -> None:
    """Measure a model on the suites of the installed experts and on general text.

    Values come with their 95 % interval and n, the number of documents; lower is better for bits_per_byte. Of a private
    suite, figures alone come out: nothing of its text is printed, kept or sent.
    """
    from cogen.api.evaluation import evaluate

    if part is not None:
        renamed("--part", "--split")
        split = part
    asked = Asked(model, tuple(suite or ()), level, dtype, split, max_length, against, private)
    if measured_privately(asked):
        return
    with CommandReporter("measuring") as reporter:
        found = evaluate(
            model,
            suites=suite or (),
            against=against,
            level=level or "quick",
            split=split,
            dtype=dtype or "bfloat16",
            max_length=max_length,
            hook_suites=hook_suites,
            fresh=fresh,
            reporter=reporter,
        )
    _show(found)
    out.result(_json(found))


def _show(found: Evaluation) -> None:
    rows = []
    for i, result in enumerate(found.results):
        claim = found.claims.get(result.column)
        row = {"suite": result.column, "metric": result.metric, "value": _interval(result), "n": result.n}
        row["claim"] = f"{claim.value:.4f} (n {claim.documents})" if claim else None
        if found.comparisons:
            row["against"] = _interval(found.baseline[i])
            row["gain"] = f"{100 * found.comparisons[i].gain:+.1f} % {found.comparisons[i].verdict}"
        rows.append(row)
    columns: list[str | Column] = ["suite", "metric", "value", Column("n", justify="right")]
    if any(row["claim"] for row in rows):
        columns.append(Column("claim", "publisher's claim"))
    if found.comparisons:
        columns += [Column("against", str(found.against)), Column("gain", justify="right")]
    out.table(rows, columns, title=f"{found.model}: {found.split} split, {found.level}, {found.settings.dtype}")
    from cogen.artifacts.summary import kinds_in_words

    for name, results in ((found.model, found.results), (found.against, found.baseline)):
        for result in results:
            if result.details:
                from cogen.evals.chat import in_words

                out.text(f"{name}: {in_words(result)}")
            elif result.kinds:
                out.text(f"{name} on {result.column}: {kinds_in_words(result)}")
    for routed in filter(None, (found.routed, found.baseline_routed)):
        from cogen.cli.render import show_table
        from cogen.fusion.route.measure import routed_table

        show_table(routed_table(routed))


def _json(found: Evaluation) -> dict[str, Any]:
    """``part``, the former name of ``split``, stays beside it, here and in each result."""
    claims = [found.claims.get(result.column) for result in found.results]
    document: dict[str, Any] = {
        "model": found.model,
        "against": found.against,
        "settings": found.settings.key(),
        "split": found.split,
        "part": found.split,
        "level": found.level,
        "results": [
            r.to_json() | {"split": found.split, "cached": r.cached, "claim": c.model_dump() if c else None}
            for r, c in zip(found.results, claims, strict=True)
        ],
        "baseline": [result.to_json() for result in found.baseline],
        "comparisons": [
            {"suite": r.column, "gain": g.gain, "verdict": g.verdict} | vars(g)
            for r, g in zip(found.results, found.comparisons, strict=bool(found.comparisons))
        ],
    }
    return document | ({"routed": found.routed.confusion} if found.routed else {})


def _interval(result: SuiteResult) -> str:
    bounds = f" [{result.low:.4f}, {result.high:.4f}]" if result.low is not None else ""
    return f"{result.value:.4f}{bounds}"
