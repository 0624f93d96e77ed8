"""`cogen forecast`: what all experts together would reach, predicted from few measured subsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

import typer

from cogen.choices import DTYPES, EVAL_LEVELS, FORECAST_STRATEGIES, PUBLIC_EXPERTS, ROUTINGS
from cogen.cli.arguments import choice, expert_ids, method_names, starting, with_groups
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter
from cogen.cli.values import read_setting

_KIND = "What is fused"
_WORK = "What is measured"


@dataclass(frozen=True)
class FusedSubsets:
    """How subsets are fused, as it was typed."""

    strategy: Annotated[
        str,
        choice("strategy", FORECAST_STRATEGIES, "--strategy", panel=_KIND, help="A merge, or a mixture of experts."),
    ] = "merge"
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            rich_help_panel=_KIND,
            help="Merge method. Default: task_arithmetic.",
            autocompletion=starting(method_names),
        ),
    ] = None
    total: Annotated[
        list[float] | None,
        typer.Option(
            "--total",
            metavar="SUM",
            rich_help_panel=_KIND,
            help="Sum of the experts' scaling factors, whatever their number; default: 1, their average. Repeat to let "
            "each subset take the one that is best on its own experts' dev splits.",
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", rich_help_panel=_KIND, help="Parameter of the method. Repeatable."),
    ] = None
    routing: Annotated[
        str | None, choice("routing", ROUTINGS, "--routing", panel=_KIND, help="With --strategy moe: its routers.")
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option(
            "--top-k", metavar="K", rich_help_panel=_KIND, help="With --strategy moe: experts activated per token."
        ),
    ] = None
    public_expert: Annotated[
        str | None,
        choice(
            "public expert",
            PUBLIC_EXPERTS,
            "--public-expert",
            panel=_KIND,
            help="With --routing prefix: what handles general text.",
        ),
    ] = None

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of ``cogen.forecast``."""
        own = {name: value for name, value in vars(self).items() if name not in ("set_", "total")}
        return own | {"total": self.total or None, "parameters": dict(map(read_setting, self.set_ or ()))}


@dataclass(frozen=True)
class MeasuredSubsets:
    """Which subsets are measured, and on what, as it was typed."""

    subsets: Annotated[
        int | None,
        typer.Option(
            "--subsets",
            metavar="N",
            min=2,
            rich_help_panel=_WORK,
            help="Subsets of each size; default: as many as experts.",
        ),
    ] = None
    up_to: Annotated[
        int | None,
        typer.Option(
            "--up-to",
            metavar="K",
            rich_help_panel=_WORK,
            help="The largest subset; default: half of the experts, at least three.",
        ),
    ] = None
    level: Annotated[
        str | None,
        choice(
            "level",
            EVAL_LEVELS,
            "--level",
            panel=_WORK,
            help="Dev documents: quick (default), the first 500 tokens of each suite, or full, all of them in float32.",
        ),
    ] = None
    documents: Annotated[
        int | None,
        typer.Option(
            "--documents",
            metavar="N",
            min=1,
            rich_help_panel=_WORK,
            help="The first N dev documents of each suite, in the place of a level.",
        ),
    ] = None
    dtype: Annotated[
        str | None, choice("dtype", DTYPES, "--dtype", panel=_WORK, help="Type to compute in. Default: bfloat16.")
    ] = None
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", min=0, rich_help_panel=_WORK, help="Of the choice of subsets.")
    ] = 0
    fresh: Annotated[
        bool, typer.Option("--fresh", rich_help_panel=_WORK, help="Measure again, whatever the cache holds.")
    ] = False


@with_groups
def command(
    fused: FusedSubsets,
    measured: MeasuredSubsets,
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
        typer.Option("--target", metavar="BPB", help="Mean bits per byte for which the experts needed are counted."),
    ] = None,
    gain: Annotated[
        float, typer.Option("--gain", metavar="SHARE", help="Share of the loss that one more expert must save to pay.")
    ] = 0.005,
    check: Annotated[
        bool, typer.Option("--check", help="After the prediction is printed, build and measure the full set.")
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
        options = fused.keywords() | vars(measured)
        found = forecast(experts or None, target=target, gain=gain, on_work=show_work, reporter=reporter, **options)
    show_forecast(found)
    full = None
    if check:
        with CommandReporter("measuring") as reporter:
            full = found.check(reporter)
        show_check(full)
    out.result(forecast_json(found, full))
