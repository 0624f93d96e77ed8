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
from cogen.cli.progress import Messages, PluginProgress
from cogen.cli.route import show_table


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
    threads: mergekit.Threads = None,
    shard_size: mergekit.ShardSize = None,
    seed: mergekit.Seed = None,
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
        mergekit.run(from_mergekit, output, threads, shard_size, seed)
        return
    from cogen.artifacts.lock import read_lock
    from cogen.errors import UsageError
    from cogen.fusion.plan import read_plan
    from cogen.host import Host
    from cogen.merging.output_folder import check_output_folder
    from cogen.runs.execute import execute
    from cogen.runs.prepare import prepare
    from cogen.runs.replay import prepare_plan, prepare_replay, routers_beside
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
    replay = read_lock(lock) if lock else None
    reuse = routers = None
    reporter = Messages()
    if onto is not None:
        out.status(f"checking {onto}")
        former, wanted = updated_recipe(onto, add or [], remove or [], level, host=host)  # type: ignore[arg-type]
        prepared = prepare(host, wanted, reporter=reporter)
        reuse, kept = reusable_parts(former, prepared.plan, onto, host=host)
        out.text(kept)
    elif plan is not None:
        prepared = prepare_plan(host, read_plan(plan), f"the plan {plan}", reporter=reporter)
    elif lock is not None and replay is not None:
        prepared = prepare_replay(host, replay, f"the lock {lock}", level=level, reporter=reporter)  # type: ignore[arg-type]
        routers = routers_beside(lock)
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
        prepared = prepare(host, wanted, reporter=reporter)
    show(prepared, replay)
    total = prepared.plan.cost.forward_tokens
    with out.progress(total or None, "fusing", unit="tokens") as bar:
        outcome = execute(
            prepared, output, replay=replay, reuse=reuse, routers=routers, reporter=PluginProgress(bar, host, "fuse")
        )
    description = prepared.strategy.describe(prepared.plan, settings_of(outcome), len(outcome.trials))
    _show(prepared.strategy, outcome)
    out.status(", ".join(f"{stage} {seconds:.0f} s" for stage, seconds in outcome.seconds.items()))
    out.success(f"wrote {output} ({description.summary}); {description.use}: cogen chat {output}")
    if outcome.report is not None:
        out.text(f"report: {outcome.report.resolve()}")
    out.result(result(outcome, description) | prepared.strategy.data(outcome.details))


def settings_of(outcome: Any) -> Any:
    """What a run chose."""
    from cogen.fusion.merge.search import ChosenSettings

    return ChosenSettings(outcome.scale, outcome.parameters)


def _show(strategy: Any, outcome: Any) -> None:
    from cogen.artifacts.summary import BASE, against_control, forgetting, verdict
    from cogen.cli.matrix import show_matrix
    from cogen.fusion.merge import choice

    if outcome.trials:
        heads = ["candidate", *map(choice.label, choice.columns(outcome.trials)), "mean bits per byte (log mean)", ""]
        rows = [
            [row.number, *row.values, row.mean and f"{row.mean:.4f}", "chosen" if row.chosen else row.failure]
            for row in choice.candidates(outcome.trials, outcome.scale, outcome.parameters)
        ]
        out.table(rows, heads, title="candidates, on the dev splits")
        out.text(choice.sentence(outcome.plan, outcome.scale, outcome.parameters, outcome.trials) or "")
    if outcome.matrix is not None:
        show_matrix(outcome.matrix)
        gains = outcome.matrix.gains() if BASE in outcome.matrix.rows and outcome.lock is not None else {}
        for line in (
            verdict(outcome.matrix, gains) if gains else "",
            forgetting(outcome.matrix, gains) if gains else "",
            against_control(outcome.matrix),
        ):
            if line:
                out.text(line)
    for table in strategy.tables(outcome.details):
        show_table(table)


def result(outcome: Any, description: Any) -> dict[str, Any]:
    """The same figures as the tables and the sentences below them."""
    from cogen.artifacts.summary import BASE, against_control, domains, verdict
    from cogen.fusion.results import matrix_json

    plan, matrix, lock = outcome.plan, outcome.matrix, outcome.lock
    found: dict[str, Any] = {
        "strategy": plan.strategy,
        "folder": str(outcome.folder),
        "plan_digest": plan.digest,
        "seconds": outcome.seconds,
        "matrix": None if matrix is None else matrix_json(matrix),
        **description.data,
    }
    gains = {} if matrix is None or BASE not in matrix.rows else matrix.gains()
    if matrix is not None:
        found["gains"] = {row: {name: vars(gain) for name, gain in cells.items()} for row, cells in gains.items()}
        if control := against_control(matrix):
            found["against_control"] = control
    if lock is not None:
        found |= {
            "report": str(outcome.report),
            "weights_digest": lock.weights_digest,
            "scale": outcome.scale,
            "parameters": outcome.parameters,
            "trials": [vars(trial) for trial in outcome.trials],
        }
        if matrix is not None:
            found["kept"] = {domain.column: domain.kept for domain in domains(matrix, gains)}
            found["verdict"] = verdict(matrix, gains)
            found["domains"] = [vars(domain) for domain in domains(matrix, gains)]
    return found
