"""`cogen forecast`: what all experts together would reach, predicted from few measured subsets."""

from __future__ import annotations

from typing import Annotated

import typer

from cogen.choices import DTYPES, EVAL_LEVELS, FORECAST_STRATEGIES, PUBLIC_EXPERTS, ROUTINGS
from cogen.cli.arguments import choice, expert_ids, method_names, starting
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter
from cogen.cli.values import read_setting

_WORK = "What is measured"
_KIND = "What is fused"


def command(
    experts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="EXPERT",
            help="The full set, at least four experts; default: every installed expert.",
            autocompletion=starting(expert_ids),
        ),
    ] = None,
    target: Annotated[
        float | None,
        typer.Option(
            "--target", metavar="BPB", help="Say how many experts reach these bits per byte, mean of all domains."
        ),
    ] = None,
    gain: Annotated[
        float,
        typer.Option(
            "--gain", metavar="SHARE", min=0.0, help="Share of the loss that one more expert must save to pay."
        ),
    ] = 0.005,
    check: Annotated[
        bool, typer.Option("--check", help="After the prediction is printed, build and measure the full set.")
    ] = False,
    strategy: Annotated[
        str,
        choice("strategy", FORECAST_STRATEGIES, "--strategy", panel=_KIND, help="A merge, or a mixture of experts."),
    ] = "merge",
    method: Annotated[
        str,
        typer.Option(
            "--method",
            metavar="NAME",
            rich_help_panel=_KIND,
            help="Merge method.",
            autocompletion=starting(method_names),
        ),
    ] = "task_arithmetic",
    total: Annotated[
        list[float] | None,
        typer.Option(
            "--total",
            metavar="SUM",
            rich_help_panel=_KIND,
            help="Sum of the experts' scaling factors, whatever their number; default: 1, their average. Repeat to let "
            "each subset take the one that is best on its own experts' dev splits.",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", rich_help_panel=_KIND, help="Parameter of the method. Repeatable."),
    ] = None,
    routing: Annotated[
        str | None, choice("routing", ROUTINGS, "--routing", panel=_KIND, help="With --strategy moe: its routers.")
    ] = None,
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="K", rich_help_panel=_KIND, help="With --strategy moe: experts activated per token."
        ),
    ] = None,
    public_expert: Annotated[
        str | None,
        choice(
            "public expert",
            PUBLIC_EXPERTS,
            "--public-expert",
            panel=_KIND,
            help="With --routing prefix: what handles general text.",
        ),
    ] = None,
    subsets: Annotated[
        int | None,
        typer.Option(
            "--subsets",
            metavar="N",
            min=2,
            rich_help_panel=_WORK,
            help="Subsets of each size; default: as many as experts.",
        ),
    ] = None,
    up_to: Annotated[
        int | None,
        typer.Option(
            "--up-to",
            metavar="K",
            rich_help_panel=_WORK,
            help="The largest subset; default: half of the experts, at least three.",
        ),
    ] = None,
    level: Annotated[
        str | None,
        choice(
            "level",
            EVAL_LEVELS,
            "--level",
            panel=_WORK,
            help="Dev documents: quick (default), the first 500 tokens of each suite, or full, all of them in float32.",
        ),
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(
            "--documents",
            metavar="N",
            min=1,
            rich_help_panel=_WORK,
            help="The first N dev documents of each suite, in the place of a level.",
        ),
    ] = None,
    dtype: Annotated[
        str | None, choice("dtype", DTYPES, "--dtype", panel=_WORK, help="Type to compute in. Default: bfloat16.")
    ] = None,
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, rich_help_panel=_WORK, help="Of the choice of subsets.")
    ] = 0,
    fresh: Annotated[
        bool, typer.Option("--fresh", rich_help_panel=_WORK, help="Measure again, whatever the cache holds.")
    ] = False,
) -> None:
    """Predict what a fusion of all experts would reach, how many experts a target needs, and when to stop.

    Random subsets of the experts are fused and measured on the dev splits of all experts' domains, and the law
    floor + drop / (k + shift) is fitted to their mean bits per byte (arXiv:2509.24244). Nothing is left on disk but
    cached figures; a run that was stopped goes on where it was. See docs/forecast.md.
    """
    from cogen.api.forecast import forecast
    from cogen.cli.render_forecast import forecast_json, show_check, show_forecast, show_work

    with CommandReporter("measuring") as reporter:
        found = forecast(
            experts or None,
            strategy=strategy,
            method=method,
            total=total or None,
            parameters=dict(map(read_setting, set_ or ())),
            routing=routing,
            top_k=top_k,
            public_expert=public_expert,
            target=target,
            gain=gain,
            subsets=subsets,
            up_to=up_to,
            level=level,
            documents=documents,
            dtype=dtype,
            seed=seed,
            fresh=fresh,
            on_work=show_work,
            reporter=reporter,
        )
    show_forecast(found)
    full = None
    if check:
        with CommandReporter("measuring") as reporter:
            full = found.check(reporter)
        show_check(full)
    out.result(forecast_json(found, full))
