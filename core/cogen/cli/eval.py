"""`cogen eval`: measure a model on the experts' suites."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.evals import BoundSuite, SuiteResult
    from cogen.fusion.route.measure import Routed
    from cogen.host import Host


def command(
    model: Annotated[
        str, typer.Argument(help="A model folder, a route, an expert's id, `base`, or a source such as hf://…")
    ],
    suite: Annotated[
        list[str] | None,
        typer.Option("--suite", help="An owner, a suite's id, or owner/id; again for more. Default: all."),
    ] = None,
    against: Annotated[str | None, typer.Option("--against", help="Compare with this model, such as `base`.")] = None,
    level: Annotated[
        Literal["quick", "full"], typer.Option("--level", help="quick: bits per byte on the first 1,500 tokens.")
    ] = "quick",
    part: Annotated[Literal["dev", "test"], typer.Option("--part", help="Which part of the data.")] = "test",
    dtype: Annotated[Literal["float32", "bfloat16"], typer.Option("--dtype", help="Type to compute in.")] = "bfloat16",
    max_length: Annotated[int, typer.Option("--max-length", min=16, help="Tokens in a window.")] = 1024,
    hook_suites: Annotated[
        bool, typer.Option("--hook-suites", help="Also the suites that plugins' code adds: runs their code.")
    ] = False,
    fresh: Annotated[bool, typer.Option("--fresh", help="Measure again, whatever the cache holds.")] = False,
) -> None:
    """Measure a model on the suites of the installed experts and on general text.

    Figures stand with their 95 % interval and n, the number of documents; lower is better for bits_per_byte.
    """
    from cogen.evals import Settings, compare
    from cogen.host import Host

    host = Host.discover()
    suites = _suites(host, suite or [], hook_suites)
    settings = Settings(dtype=dtype, max_length=max_length)
    options: dict[str, Any] = {
        "split": part,
        "level": level,
        "dtype": dtype,
        "settings": settings,
        "use_cache": not fresh,
    }
    if against is not None and (route := next(filter(_is_route, (model, against)), None)):
        from cogen.cli.route import chooser_of

        # Models with other tokenizers are measured on the documents that the route's would take.
        options["chooser"] = chooser_of(host, Path(route))
    name, results, routed = _measure(host, model, suites, options)
    claims = {f"{b.owner}/{b.suite.id}": b.suite.claim for b in suites if b.owner == name and part == "test"}
    base, base_routed = _measure(host, against, suites, options)[1:] if against else ([], None)
    found = [(result, claims.get(result.column)) for result in results]
    gains = [compare(result, other, settings) for result, other in zip(results, base, strict=bool(base))]

    rows = []
    for i, (result, claim) in enumerate(found):
        row = {"suite": result.column, "metric": result.metric, "value": _interval(result), "n": result.n}
        row["claim"] = f"{claim.value:.4f} (n {claim.documents})" if claim else None
        if gains:
            row["against"], row["gain"] = _interval(base[i]), f"{100 * gains[i].gain:+.1f} % {gains[i].verdict}"
        rows.append(row)
    columns = ["suite", "metric", "value", Column("n", justify="right")]
    columns += [Column("claim", "publisher's claim")] if any(claim for _, claim in found) else []
    columns += [Column("against", str(against)), Column("gain", justify="right")] if gains else []
    out.table(rows, columns, title=f"{model}: {part} part, {level}, {dtype}")
    for one in filter(None, (routed, base_routed)):
        from cogen.cli.route import show_routed

        show_routed(one)
    out.result(
        {
            "model": model,
            "against": against,
            "settings": settings.key(),
            "part": part,
            "level": level,
            "results": [r.to_json() | {"cached": r.cached, "claim": c.model_dump() if c else None} for r, c in found],
            "baseline": [result.to_json() for result in base],
            "comparisons": [
                {"suite": r.column, "gain": g.gain, "verdict": g.verdict} | vars(g)
                for (r, _), g in zip(found, gains, strict=bool(gains))
            ],
        }
        | ({"routed": routed.confusion} if routed else {})
    )


def _interval(result: SuiteResult) -> str:
    bounds = f" [{result.low:.4f}, {result.high:.4f}]" if result.low is not None else ""
    return f"{result.value:.4f}{bounds}"


def _measure(
    host: Host, model: str, suites: list[BoundSuite], options: dict[str, Any]
) -> tuple[str | None, list[SuiteResult], Routed | None]:
    """(id of the expert, if it is one; its results; of a route, which documents went where)."""
    if _is_route(model):
        from cogen.cli.route import measure_folder

        return None, *measure_folder(host, Path(model), suites, options)
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import (
        load_expert,
        load_expert_tokenizer,
        load_model,
        load_tokenizer,
        own_loaders,
    )
    from cogen.evals import count_tokens, model_digest, run_suites

    name, checkpoint = _open(host, model)
    if name is None:
        tokenizer, loaders = load_tokenizer(checkpoint.folder), []
    else:
        spec = host.expert(name).spec
        tokenizer, loaders = load_expert_tokenizer(host, spec, checkpoint), own_loaders(host)
    counting = options["chooser"][0] if options.get("chooser") else tokenizer
    total = sum(count_tokens(counting, suites, options["split"], options["level"]).values())
    with out.progress(total, f"measuring {model}", unit="tokens") as bar:
        results = run_suites(
            lambda: (
                load_model(checkpoint, options["dtype"])
                if name is None
                else load_expert(host, spec, checkpoint, options["dtype"])
            ),
            tokenizer,
            suites,
            model_digest=model_digest(checkpoint, loaders),
            tokenizer_digest=tokenizer_digest(tokenizer),
            reporter=bar,
            **options,
        )
    return name, results, None


def _is_route(model: str) -> bool:
    """Before torch is imported: is this a folder of strategy route?"""
    return (Path(model) / "route.json").is_file()


def _open(host: Host, model: str) -> tuple[str | None, Checkpoint]:
    from cogen.checkpoints.model import open_folder, open_weights
    from cogen.errors import UsageError

    if (Path(model) / "config.json").is_file():
        return None, open_folder(Path(model))
    if "://" in model:
        return None, _open_uri(model)
    if model == "base":
        return None, open_weights(_base(host), talk=out.status)
    if "/" in model or "\\" in model or model.startswith("."):
        raise UsageError(f"{model} is not a model folder", hint="name a folder with config.json, or an expert's id")
    return model, open_weights(host.expert(model).spec.model, talk=out.status)


def _open_uri(uri: str) -> Checkpoint:
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.model import open_folder
    from cogen.checkpoints.sources import fetch

    path = fetch(uri, talk=out.status)
    if path.is_file() and path.suffix == ".gguf":
        path = converted(path, file_digest(path), "bfloat16", out.status)
    return open_folder(path)


def _base(host: Host) -> Any:
    """The base that the installed experts share."""
    from cogen.errors import UsageError

    bases = {e.spec.model.lineage: e.spec.model.base for e in host.experts() if e.spec.model.base is not None}
    if len(bases) != 1:
        found = ", ".join(base.name for base in bases.values()) or "none"
        raise UsageError(
            f"the installed experts have no single base (found: {found})", hint="name the model by its source or folder"
        )
    return next(iter(bases.values()))


def _suites(host: Host, wanted: list[str], with_hooks: bool) -> list[BoundSuite]:
    """The suites that were asked for; all that are there by default.

    :raises UsageError: a name fits none of them.
    """
    from cogen.errors import UsageError
    from cogen.evals import general_suites, hook_suites, suites_of

    known = [bound for expert in host.experts() for bound in suites_of(expert)]
    if with_hooks:
        known += [bound for expert in host.experts() for bound in hook_suites(host, expert)]
    known += general_suites()
    for name in wanted:
        if not any(name in (bound.owner, bound.suite.id, bound.name) for bound in known):
            names = ", ".join(bound.name for bound in known) or "none is installed"
            raise UsageError(f"there is no suite {name!r}", hint=f"known suites: {names}")
    chosen = [b for b in known if not wanted or {b.owner, b.suite.id, b.name} & set(wanted)]
    if not chosen:
        raise UsageError("no suite is installed", hint="install an expert, for example pip install cogen-plugin-power")
    return chosen
