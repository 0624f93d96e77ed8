"""``cogen.evaluate``: a model on the experts' suites."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.api.checks import as_host, as_names, as_text, check_number, check_reporter
from cogen.api.models import is_route, open_model
from cogen.api.options import PathLike
from cogen.api.results import MeasureOptions, ModelResults
from cogen.choices import DTYPES, EVAL_LEVELS, SPLITS, check_choice
from cogen.errors import UsageError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter, begin

if TYPE_CHECKING:
    from cogen.evals import BoundSuite, Comparison, Settings, SuiteResult
    from cogen.fusion.route.measure import Routed
    from cogen.host import Host
    from cogen.spec.suite import Claim


#: Names of the built-in chat suite, which is no suite of text.
_CHAT = frozenset({"chat", "general/chat"})


@dataclass(frozen=True)
class Evaluation:
    """A model's results, suite by suite.

    :param split: dev or test; ``level``: quick or full.
    :param results: value, 95 % interval and n of each suite.
    :param claims: what the expert's publisher claims of a suite, by its column.
    :param baseline: the results of ``against``, in the order of ``results``.
    :param comparisons: of each result with its baseline, paired by document.
    :param routed: of a route, which documents went to which expert.
    """

    model: str
    against: str | None
    split: str
    level: str
    settings: Settings
    results: tuple[SuiteResult, ...]
    claims: dict[str, Claim | None]
    baseline: tuple[SuiteResult, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    routed: Routed | None = None
    baseline_routed: Routed | None = None

    def _repr_html_(self) -> str:
        from cogen.display import table

        heads = ["suite", "metric", "value", "low", "high", "n"]
        rows: list[list[object]] = [[r.column, r.metric, r.value, r.low, r.high, r.n] for r in self.results]
        if self.comparisons:
            heads += [self.against or "", "gain", "verdict"]
            for row, other, found in zip(rows, self.baseline, self.comparisons, strict=True):
                row += [other.value, f"{100 * found.gain:+.1f} %", found.verdict]
        return table(f"{self.model}: {self.split} split, {self.level}, {self.settings.dtype}", heads, rows)


def evaluate(
    model: PathLike,
    *,
    suites: Iterable[str] = (),
    against: PathLike | None = None,
    level: str = "quick",
    split: str = "test",
    dtype: str = "bfloat16",
    max_length: int = 1024,
    hook_suites: bool = False,
    fresh: bool = False,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Evaluation:
    """Measure a model on the suites of the installed experts and on general text.

    :param model: a model's or a route's folder, an expert's id, ``"base"``, or a source such as ``hf://org/repo``.
    :param suites: owners, suites' ids, or ``owner/id``; left out: all.
    :param against: compare with this model, such as ``"base"``.
    :param level: quick: bits per byte on the first 1,500 tokens of each suite; full: everything.
    :param max_length: tokens in a window.
    :param hook_suites: include suites that plugin hooks define, which executes plugin code.
    :param fresh: measure again, whatever the cache holds.
    :raises UsageError: no such model or suite.
    """
    require("fuse", "cogen.evaluate")
    from cogen.evals import Settings, compare
    from cogen.evals.private import is_private_suite

    for kind, value, choices in (("level", level, EVAL_LEVELS), ("split", split, SPLITS), ("dtype", dtype, DTYPES)):
        check_choice(kind, value, choices)
    check_number("max_length", max_length, 16, whole=True)
    check_reporter(reporter)
    name, other = as_text("model", model), None if against is None else as_text("against", against)
    host = as_host(host)
    names = as_names("suites", suites)
    if private := next(filter(is_private_suite, names), None):
        raise UsageError(f"{private} is a private suite", hint="cogen.evaluate_private(model, suite) measures one")
    asks = split == "test" and (not names or bool({"general", *_CHAT} & set(names)))
    texts = [name for name in names if name not in _CHAT]
    chosen = choose_suites(host, texts, hook_suites) if texts or not names else []
    typed: Any = dtype
    settings = Settings.here(dtype=typed, max_length=max_length)
    options = MeasureOptions(split=split, level=level, settings=settings, fresh=fresh, chooser=None, chat=asks)
    if other is not None and (route := next(filter(is_route, (name, other)), None)):
        from cogen.api.routes import chooser_of

        # Models with other tokenizers are measured on the documents that the route's would take.
        options["chooser"] = chooser_of(host, Path(route), reporter)
    found = measure(host, name, chosen, options, reporter)
    base = measure(host, other, chosen, options, reporter) if other is not None else ModelResults(None, ())
    if other is not None:  # only one of the two may have a chat template, and a route is not asked
        shared = {r.column for r in found.results} & {r.column for r in base.results}
        found, base = (replace(m, results=tuple(r for r in m.results if r.column in shared)) for m in (found, base))
    if not found.results:
        raise UsageError(f"{name} has no chat template, so it cannot be asked", hint="name other suites")
    claims = {f"{b.owner}/{b.suite.id}": b.suite.claim for b in chosen if b.owner == found.expert and split == "test"}
    comparisons = [compare(r, o, settings) for r, o in zip(found.results, base.results, strict=bool(base.results))]
    return Evaluation(
        name,
        other,
        split,
        level,
        settings,
        found.results,
        claims,
        base.results,
        tuple(comparisons),
        found.routed,
        base.routed,
    )


def measure(
    host: Host, model: str, suites: list[BoundSuite], options: MeasureOptions, reporter: Reporter
) -> ModelResults:
    if is_route(model):
        from cogen.api.routes import measure_folder

        return measure_folder(host, Path(model), suites, options, reporter)
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_expert, load_expert_tokenizer, load_model, load_tokenizer, own_loaders
    from cogen.evals import count_tokens, model_digest, run_chat, run_suites

    dtype = options["settings"].dtype
    name, checkpoint = open_model(host, model, reporter)
    if name is None:
        tokenizer, loaders = load_tokenizer(checkpoint.folder), []
    else:
        spec = host.expert(name).spec
        tokenizer, loaders = load_expert_tokenizer(host, spec, checkpoint), own_loaders(host)
    counting = options["chooser"][0] if options["chooser"] else tokenizer
    total = sum(count_tokens(counting, suites, options["split"], options["level"]).values())
    begin(reporter, f"measuring {model}", total, "tokens")

    @functools.cache
    def once() -> Any:
        return load_model(checkpoint, dtype) if name is None else load_expert(host, spec, checkpoint, dtype)

    results = run_suites(
        once,
        tokenizer,
        suites,
        model_digest=model_digest(checkpoint, loaders),
        tokenizer_digest=tokenizer_digest(tokenizer),
        split=options["split"],
        level=options["level"],
        dtype=dtype,
        settings=options["settings"],
        use_cache=not options["fresh"],
        reporter=reporter,
        chooser=options["chooser"],
    )
    if options["chat"]:
        chat = run_chat(
            once,
            tokenizer,
            model_digest=model_digest(checkpoint, loaders),
            tokenizer_digest=tokenizer_digest(tokenizer),
            level=options["level"],
            dtype=dtype,
            use_cache=not options["fresh"],
            reporter=reporter,
        )
        results += [chat] if chat is not None else []
    return ModelResults(name, tuple(results))


def choose_suites(host: Host, wanted: list[str], with_hooks: bool) -> list[BoundSuite]:
    """The suites that were asked for; all that are there by default.

    :raises UsageError: a name fits none of them.
    """
    from cogen.evals import general_suites, hook_suites, suites_of

    known = [bound for expert in host.experts() for bound in suites_of(expert)]
    if with_hooks:
        known += [bound for expert in host.experts() for bound in hook_suites(host, expert)]
    known += general_suites()
    for name in wanted:
        if not any(name in (bound.owner, bound.suite.id, bound.name) for bound in known):
            names = ", ".join([*(bound.name for bound in known), "general/chat"])
            raise UsageError(f"unknown suite {name!r}", hint=f"known suites: {names}")
    chosen = [b for b in known if not wanted or {b.owner, b.suite.id, b.name} & set(wanted)]
    if not chosen:
        raise UsageError("no suite is installed", hint="install an expert, for example pip install cogen-plugin-power")
    return chosen
