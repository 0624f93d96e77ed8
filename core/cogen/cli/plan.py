"""`cogen plan`: what a fusion would do, in order, with costs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.cli.output import out

Experts = Annotated[
    list[str] | None, typer.Argument(help="Experts to use, as ID or ID=WEIGHT; all that are installed by default.")
]
Strategy = Annotated[
    str | None,
    typer.Option(
        "--strategy",
        help="merge (one dense model), moe (a sparse mixture), distill (others teach), route (kept apart); auto.",
    ),
]
Method = Annotated[str | None, typer.Option("--method", help="linear, task_arithmetic, ties, or a plugin's.")]
Scale = Annotated[
    list[float] | None,
    typer.Option("--scale", help="How far to go from the base. Once: fixed. Repeated: searched on the dev parts."),
]
Parameter = Annotated[
    list[str] | None,
    typer.Option("--set", help="A parameter of the method: density=0.3, normalize=false, by layer density=[0.3,0.7]."),
]
Search = Annotated[
    int | None, typer.Option("--search", help="Tune the method's parameters on the dev parts in so many evaluations.")
]
Tune = Annotated[
    list[str] | None,
    typer.Option("--tune", help="What --search tunes, and where: density=0.2:0.9, weight.power=0:2. Repeatable."),
]
Tokenizer = Annotated[
    str | None,
    typer.Option("--tokenizer", help="Whose tokens the composite has, where they differ: union, base or an expert."),
]
Transplant = Annotated[
    str | None,
    typer.Option("--transplant", help="How a model gets embeddings for tokens that it lacks: mean, subword or omp."),
]
ChatTemplate = Annotated[
    str | None, typer.Option("--chat-template", help="The expert whose chat template the composite has.")
]
Routing = Annotated[
    str | None,
    typer.Option("--routing", help="How a mixture chooses experts: hidden, embedding, anchored or trained."),
]
TopK = Annotated[int | None, typer.Option("--top-k", help="Experts of a mixture that work on one token.")]
Public = Annotated[
    bool, typer.Option("--public/--no-public", help="A mixture's base is one of its experts, or is not.")
]
Embedder = Annotated[
    str | None, typer.Option("--embedder", help="Sentence-embedding model of route and of --routing embedding.")
]
SameSize = Annotated[
    bool, typer.Option("--same-size", help="A composite as large as the base: the same as --strategy merge.")
]
Pivot = Annotated[
    str | None, typer.Option("--pivot", help="What learns where others teach: an expert, or a base by its short name.")
]
Texts = Annotated[
    list[str] | None,
    typer.Option("--texts", help="JSON Lines to learn from where others teach; default: all samples. Repeatable."),
]
Tokens = Annotated[int | None, typer.Option("--tokens", help="Tokens to learn where others teach.")]
Recipe = Annotated[Path | None, typer.Option("--recipe", help="The same wishes as a TOML file.")]
LevelOption = Annotated[
    str | None, typer.Option("--level", help="quick (minutes), full (all test documents, float32), none.")
]


def command(
    experts: Experts = None,
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
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Save the plan as JSON for `cogen fuse --plan`.")
    ] = None,
) -> None:
    """Say what `cogen fuse` would do with the same arguments, and what it costs. Nothing is built."""
    from cogen.cli.progress import Messages
    from cogen.errors import UsageError
    from cogen.files import atomic_write
    from cogen.host import Host
    from cogen.runs.prepare import prepare

    wishes = recipe_from_options(
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
    prepared = prepare(Host.discover(), wishes, reporter=Messages())
    plan = prepared.plan
    if output is not None and not prepared.strategy.writes_model:
        raise UsageError(
            f"strategy {plan.strategy} fuses nothing: there is no plan to save", hint="save the recipe instead"
        )
    show(prepared)
    if output is not None:
        atomic_write(output, (plan.model_dump_json(indent=2) + "\n").encode())
        out.success(f"wrote {output}; build it with `cogen fuse --plan {output}`")
    out.result(plan.model_dump(mode="json") | {"digest": plan.digest})


def recipe_from_options(
    experts: list[str] | None,
    strategy: str | None,
    method: str | None,
    scale: list[float] | None,
    parameter: list[str] | None,
    recipe: Path | None,
    level: str | None,
    search: int | None = None,
    tune: list[str] | None = None,
    tokenizer: str | None = None,
    transplant: str | None = None,
    chat_template: str | None = None,
    routing: str | None = None,
    top_k: int | None = None,
    public: bool = True,
    embedder: str | None = None,
    same_size: bool = False,
    pivot: str | None = None,
    texts: list[str] | None = None,
    tokens: int | None = None,
) -> Any:
    """A recipe file, overridden by what the command line says."""
    from pydantic import ValidationError

    from cogen.errors import UsageError
    from cogen.fusion.recipe import FuseRecipe, mistake, read_fuse_recipe

    wishes: dict[str, Any] = read_fuse_recipe(recipe).model_dump(exclude_unset=True) if recipe else {}
    named = {name for name in (strategy, "merge" if same_size else None) if name is not None}
    if len(named) > 1:
        raise UsageError(f"--same-size is strategy merge, not {strategy}", hint="leave one of the two out")
    strategy = next(iter(named), None)
    if experts:
        wishes["experts"] = dict(_number(item, 1.0) for item in experts)
    if parameter:
        wishes["parameters"] = {**wishes.get("parameters", {}), **dict(map(_setting, parameter))}
    if tune:
        wishes["space"] = {**wishes.get("space", {}), **dict(map(_bounds, tune))}
    if scale:
        wishes["scale"] = scale[0] if len(scale) == 1 else tuple(scale)
    given = {
        "strategy": strategy,
        "method": method,
        "level": level,
        "search": search,
        "tokenizer": tokenizer,
        "transplant": transplant,
        "chat_template": chat_template,
        "routing": routing,
        "top_k": top_k,
        "public": None if public else False,
        "embedder": embedder,
    }
    wishes |= {key: value for key, value in given.items() if value is not None}
    taught = {"pivot": pivot, "texts": tuple(texts) if texts else None, "tokens": tokens}
    if taught := {key: value for key, value in taught.items() if value is not None}:
        wishes["distill"] = {**wishes.get("distill", {}), **taught}
    try:
        return FuseRecipe.model_validate(wishes)
    except ValidationError as error:
        raise UsageError(mistake(error), hint="see `cogen fuse --help`") from error


def _number(item: str, default: float) -> tuple[str, float]:
    from cogen.errors import UsageError

    name, equals, value = item.partition("=")
    try:
        return name, float(value) if equals else default
    except ValueError as error:
        raise UsageError(f"{item!r} is not ID=WEIGHT", hint="for example power=0.5") from error


def _setting(item: str) -> tuple[str, Any]:
    """NAME=VALUE as in a recipe: a TOML value, or a word without its quotes, which a shell would take away."""
    import tomllib

    from cogen.errors import UsageError

    name, _, text = item.partition("=")
    try:
        value = {"value": float(text)}
    except ValueError:
        try:
            value = tomllib.loads(f"value = {text}")
        except tomllib.TOMLDecodeError:
            value = {"value": text} if re.fullmatch(r"[A-Za-z_][\w.-]*", text) else {}
    if list(value) != ["value"] or not name:
        raise UsageError(
            f"{item!r} is not NAME=VALUE",
            hint='for example --set density=0.3, --set normalize=false or --set "density=[0.3, 0.7]"',
        )
    return name, value["value"]


def _bounds(item: str) -> tuple[str, tuple[float, float]]:
    from cogen.errors import UsageError

    name, _, value = item.partition("=")
    low, _, high = value.partition(":")
    try:
        return name, (float(low), float(high))
    except ValueError as error:
        hint = "for example --tune density=0.2:0.9, or --tune weight.power=0:2"
        raise UsageError(f"{item!r} is not NAME=LOW:HIGH", hint=hint) from error


def _passes(cost: Any) -> str:
    parts = {name.removesuffix("_tokens"): tokens for name, tokens in cost if name.endswith("_tokens")}
    return ", ".join(f"{tokens:,} {name}" for name, tokens in parts.items() if tokens or name == "matrix")


def show(prepared: Any, lock: Any = None) -> None:
    """The plan for people; with a lock, as it will be replayed."""
    from cogen.fusion.merge import choice
    from cogen.fusion.merge.search import ChosenSettings

    plan, cost = prepared.plan, prepared.plan.cost
    settings = None if lock is None else ChosenSettings(lock.scale, dict(lock.parameters))
    description = prepared.strategy.describe(plan, settings)
    locked = settings.parameters if settings is not None else {}
    rows = [
        {
            "expert": e.id,
            **({"weight": choice.weight(e, locked)} if description.weighted else {}),
            "relation": e.relation,
            "license": e.license,
            "distribution": f"{e.distribution} {e.version}",
            "weights": e.weights_digest[7:19],
        }
        for e in sorted(plan.experts, key=lambda e: e.id)
    ]
    base = getattr(plan, "base", None)
    out.table(rows, title=f"{plan.strategy}, {description.how}" + (f", onto {base.name}" if base else ""))
    out.text(f"why: {plan.why}")
    for line in description.lines:
        out.text(line)
    if description.steps:
        out.table(
            [
                {
                    "step": _STAGES[s.stage],
                    "model": s.what,
                    "tokens": f"{s.tokens:,}",
                    "time, about": duration(s.seconds),
                    "kept on disk": f"{s.bytes / 1e6:,.0f} MB" if s.bytes else "",
                }
                for s in description.steps
            ],
            title="steps",
        )
        out.text(f"in all about {duration(sum(s.seconds for s in description.steps))} here")
    for note in getattr(getattr(plan, "vocabulary", None), "notes", ()):
        out.text(note)
    if prepared.strategy.writes_model:
        out.text(f"license of the composite: {plan.license}")
    if plan.level != "none":
        out.text(
            f"evaluation: level {plan.level}, {len(plan.suites)} suites, {cost.forward_tokens:,} forward tokens "
            f"({_passes(cost)}) in {plan.eval_dtype}"
        )
    if prepared.strategy.writes_model:
        out.text(
            f"writes {cost.output_bytes / 1e6:,.0f} MB, scratch {cost.scratch_bytes / 1e6:,.0f} MB, "
            f"memory about {cost.memory_bytes / 1e9:.1f} GB"
        )
    for note in plan.notes:
        out.warn(f"{note.source}: {note.message}")


_STAGES = {
    "compose": "put together",
    "score": "read all texts",
    "control": "train the control, without teachers",
    "teach": "train with teachers",
    "measure": "measure",
}


def duration(seconds: float) -> str:
    """Of an estimate: "40 s", "12 min", "3.4 h"."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
