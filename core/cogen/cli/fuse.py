"""`cogen fuse`: build one model out of the installed experts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli import merge as mergekit
from cogen.cli.output import out
from cogen.cli.plan import (
    ChatTemplate,
    Embedder,
    Experts,
    LevelOption,
    Method,
    Parameter,
    Pivot,
    Public,
    Recipe,
    Routing,
    SameSize,
    Scale,
    Search,
    Strategy,
    Texts,
    Tokenizer,
    Tokens,
    TopK,
    Transplant,
    Tune,
    recipe_from_options,
    show,
)
from cogen.cli.progress import PluginProgress


def command(
    experts: Experts = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Folder to write (default: composite).")] = None,
    strategy: Strategy = None,
    method: Method = None,
    scale: Scale = None,
    parameter: Parameter = None,
    recipe: Recipe = None,
    level: LevelOption = None,
    search: Search = None,
    tune: Tune = None,
    tokenizer: Tokenizer = None,
    transplant: Transplant = None,
    chat_template: ChatTemplate = None,
    routing: Routing = None,
    top_k: TopK = None,
    public: Public = True,
    embedder: Embedder = None,
    same_size: SameSize = False,
    pivot: Pivot = None,
    texts: Texts = None,
    tokens: Tokens = None,
    onto: Annotated[Path | None, typer.Option("--onto", help="A composite to change: with --add or --remove.")] = None,
    add: Annotated[list[str] | None, typer.Option("--add", help="Expert that --onto gets. Repeatable.")] = None,
    remove: Annotated[list[str] | None, typer.Option("--remove", help="Expert that --onto loses. Repeatable.")] = None,
    plan: Annotated[
        Path | None,
        typer.Option("--plan", help="Build a plan that `cogen plan -o` saved; refused if a digest has moved."),
    ] = None,
    lock: Annotated[Path | None, typer.Option("--lock", help="Replay a cogen.lock: no search, the same bits.")] = None,
    from_mergekit: mergekit.Recipe = None,
    threads: mergekit.FuseThreads = None,
    shard_size: mergekit.FuseShardSize = None,
    seed: mergekit.FuseSeed = None,
) -> None:
    """Build one model out of the installed experts, measure it, and write a report.

    Without arguments: every installed expert, into ./composite, measured at the level quick.
    """
    mergekit.check_alone(
        from_mergekit,
        {
            "EXPERT": experts,
            "--strategy": strategy,
            "--method": method,
            "--scale": scale,
            "--set": parameter,
            "--recipe": recipe,
            "--level": level,
            "--search": search,
            "--tune": tune,
            "--tokenizer": tokenizer,
            "--transplant": transplant,
            "--chat-template": chat_template,
            "--routing": routing,
            "--top-k": top_k,
            "--no-public": not public,
            "--embedder": embedder,
            "--same-size": same_size,
            "--pivot": pivot,
            "--texts": texts,
            "--tokens": tokens,
            "--onto": onto,
            "--add": add,
            "--remove": remove,
            "--plan": plan,
            "--lock": lock,
        },
        {"--threads": threads, "--shard-size": shard_size, "--seed": seed},
    )
    if output is None:
        if onto is not None:
            from cogen.errors import UsageError

            raise UsageError("--onto needs a folder for the new composite", hint="name it: -o smaller")
        output = Path("composite")
    if from_mergekit is not None:
        mergekit.run_alias(from_mergekit, output, threads, shard_size, seed)
        return
    from cogen.artifacts import choice
    from cogen.artifacts import descriptions as words
    from cogen.artifacts.lock import read_lock
    from cogen.errors import UsageError
    from cogen.fusion.plan import check_unmoved, read_plan
    from cogen.fusion.planner import make_plan, resolve_method, strategy_of
    from cogen.host import Host
    from cogen.runs.fuse import REPORT, ROUTER, check_output_folder, fuse, recipe_of
    from cogen.runs.update import reusable_parts, updated_recipe

    check_output_folder(output)
    asked = experts or strategy or method or scale or parameter or recipe or search is not None or tune
    asked = asked or tokenizer or transplant or chat_template or routing or top_k or not public or embedder or same_size
    asked = asked or pivot or texts or tokens
    if onto is None and (add or remove):
        raise UsageError("--add and --remove change a composite", hint="name it: --onto composite")
    if onto is not None and (not (add or remove) or asked or plan or lock):
        raise UsageError(
            "--onto goes with --add and --remove alone: all else is as its lock says",
            hint="name an expert to add or remove, or fuse anew without --onto",
        )
    if (plan or lock) and (asked or (plan and (lock or level))):
        raise UsageError(
            "a saved plan or lock leaves nothing else to choose", hint="name either --plan, --lock, or your wishes"
        )
    host = Host.discover()
    saved = read_plan(plan) if plan else None
    replay = read_lock(lock) if lock else None
    former = None
    if onto is not None:
        out.status(f"checking {onto}")
        former, wanted = updated_recipe(onto, add or [], remove or [], level)  # type: ignore[arg-type]
    elif saved is not None:
        wanted = recipe_of(saved)
    elif replay is not None:
        wanted = recipe_of(replay.plan, scale=replay.scale, parameters=replay.parameters, level=level)  # type: ignore[arg-type]
    else:
        wanted = recipe_from_options(
            experts,
            strategy,
            method,
            scale,
            parameter,
            recipe,
            level,
            search,
            tune,
            tokenizer,
            transplant,
            chat_template,
            routing,
            top_k,
            public,
            embedder,
            same_size,
            pivot,
            texts,
            tokens,
        )
        if wanted.strategy == "route":
            from cogen.cli.route import run

            run(host, wanted, output)
            return
    from cogen.fusion.distill.plan import plan_distillation

    distilled = strategy_of(host, wanted) == "distill"
    inputs: Any
    made, inputs = (plan_distillation if distilled else make_plan)(host, wanted, talk=out.status)
    if saved is not None:
        check_unmoved(saved, made, f"the plan {plan}")
        made = saved
    if replay is not None:
        check_unmoved(replay.plan, made, f"the lock {lock}")
        measured = {"level": made.level, "eval_dtype": made.eval_dtype, "suites": made.suites, "cost": made.cost}
        made = replay.plan.model_copy(update=measured)
    reuse = None
    if former is not None and onto is not None:
        reuse, said = reusable_parts(former, made, onto)
        out.text(said)
    if distilled:
        from cogen.cli.distill import run as distill

        distill(host, made, inputs, output, replay)
        return
    # Routers are made on a machine's arithmetic: with their file a replay elsewhere has the same bits.
    routers = None
    if replay is not None and lock is not None and made.mixture is not None:
        routers = (lock if lock.is_dir() else lock.parent) / ROUTER
        routers = routers if routers.is_file() else None
    show(made, replay)
    function = resolve_method(host, made.method, made.parameters, made.space)
    chosen = [expert for expert in host.experts(computed=True) if expert.id in inputs.experts]
    with out.progress(made.cost.forward_tokens or None, "fusing", unit="tokens") as bar:
        outcome = fuse(
            made,
            inputs,
            function,
            chosen,
            output,
            replay=replay,
            reuse=reuse,
            routers=routers,
            progress=PluginProgress(bar, host, "fuse"),
        )
    _show(outcome, made)
    took = ", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items())
    out.status(took)
    built = words.mixture(made) if made.mixture else choice.settings(made, outcome.scale, outcome.parameters)
    out.success(f"wrote {output} ({built}); talk to it: cogen chat {output}")
    out.text(f"report: {(output / REPORT).resolve()}")
    out.result(result(outcome, made))


def _show(outcome: Any, plan: Any) -> None:
    from cogen.artifacts import choice
    from cogen.artifacts.summary import forgetting, verdict
    from cogen.cli.matrix import show_matrix

    if outcome.trials:
        heads = ["candidate", *map(choice.label, choice.columns(outcome.trials)), "mean bits per byte (log mean)", ""]
        rows = [
            [row.number, *row.values, row.mean and f"{row.mean:.4f}", "chosen" if row.chosen else row.failure]
            for row in choice.candidates(outcome.trials, outcome.scale, outcome.parameters)
        ]
        out.table(rows, heads, title="candidates, on the dev parts")
        out.text(choice.sentence(plan, outcome.scale, outcome.parameters, outcome.trials) or "")
    if outcome.matrix is not None:
        show_matrix(outcome.matrix)
        gains = outcome.matrix.gains()
        out.text(verdict(outcome.matrix, gains))
        if general := forgetting(outcome.matrix, gains):
            out.text(general)
    if outcome.insight is not None:
        _show_insight(outcome.insight)


def _show_insight(insight: Any) -> None:
    from cogen.fusion.moe.insight import mean_weights

    rows = [
        {
            "text": used.column,
            **{id: f"{share:.0%}" for id, share in zip(insight.slots, mean_weights(used), strict=True)},
        }
        for used in insight.usage
    ]
    out.table(rows, title="shares of the experts in the result, mean of all layers")
    if insight.contributions is not None:
        gains = insight.contributions.gains("composite")
        rows = [
            {"": row, **{column: f"{-100 * gain.gain:+.1f} %" for column, gain in found.items()}}
            for row, found in gains.items()
        ]
        out.table(rows, title="change of bits per byte when an expert is left out, level quick")


def result(outcome: Any, plan: Any) -> dict[str, Any]:
    """The same figures as the tables and the sentences below them."""
    from cogen.artifacts.summary import domains, verdict

    matrix = outcome.matrix
    found: dict[str, Any] = {
        "folder": str(outcome.folder),
        "report": str(outcome.folder / "report.html"),
        "plan_digest": plan.digest,
        "weights_digest": outcome.lock.weights_digest,
        "scale": outcome.scale,
        "parameters": outcome.parameters,
        "trials": [vars(trial) for trial in outcome.trials],
        "seconds": outcome.seconds,
        "matrix": None,
    }
    if matrix is not None:
        gains = matrix.gains()
        found["matrix"] = matrix_json(matrix)
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        found["kept"] = {domain.column: domain.kept for domain in domains(matrix, gains)}
        found["verdict"] = verdict(matrix, gains)
        found["domains"] = [vars(domain) for domain in domains(matrix, gains)]
    found["strategy"] = plan.strategy
    if plan.mixture is not None:
        found["mixture"] = plan.mixture.model_dump(mode="json") | {"bytes": plan.cost.output_bytes}
    if outcome.insight is not None:
        found["insight"] = {
            "slots": outcome.insight.slots,
            "usage": [vars(used) for used in outcome.insight.usage],
            "contributions": outcome.insight.contributions and matrix_json(outcome.insight.contributions),
        }
    return found


def matrix_json(matrix: Any) -> dict[str, dict[str, Any]]:
    """row → column → value, low, high, n."""
    return {
        row: {
            column: {
                "metric": cell.metric,
                "value": cell.value,
                "low": cell.low,
                "high": cell.high,
                "n": cell.n,
                "tokens": cell.tokens,
            }
            for column, cell in cells.items()
        }
        for row, cells in matrix.cells.items()
    }
