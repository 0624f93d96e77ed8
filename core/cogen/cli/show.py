"""`cogen show NAME`: the card of one expert."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cogen.cli.arguments import expert_ids, starting
from cogen.cli.output import Column, out

if TYPE_CHECKING:
    from cogen.spec.data import DataSource
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.suite import PrivateFigure, PrivateSuite, Statistics


def command(
    name: Annotated[
        str, typer.Argument(metavar="EXPERT", help="Id of the expert.", autocompletion=starting(expert_ids))
    ],
) -> None:
    """Show the card of one expert: what it is, what it was trained on, and how it is measured."""
    from cogen.host import Host

    expert = Host.discover().expert(name)
    spec = expert.spec
    from cogen.wheels.installed import holds_code

    code = holds_code(expert.root.parent, [expert.root.name])
    kind = "a plugin with code, which runs with your permissions" if code else "data only: none of it is executed"
    out.text(f"{spec.title} ({spec.id})")
    out.text(spec.summary)
    checked = _checked(expert.distribution, expert.version)
    _facts(
        "",
        {
            **_identity(spec, checked),
            "distribution": f"{expert.distribution} {expert.version}",
            "kind": kind,
            "digest": spec.digest,
        },
    )
    _facts("Model", _model(spec))
    _facts("Data", _data(spec))
    if spec.data.sources != "unknown":
        rows = [
            {**source.model_dump(), "share": _percent(source.share), "ships": _ships(source)}
            for source in spec.data.sources
        ]
        numbers = [Column(key, justify="right") for key in ("documents", "tokens", "share")]
        out.table(rows, ["name", "license", *numbers, Column("ships", "what ships of it")])
    if spec.suites or not spec.private_suites:
        out.text("\nSuites")
    if spec.suites:
        out.table([_suite(suite) for suite in spec.suites], ["suite", "metric", "dev", "test", "claim", "license"])
    elif not spec.private_suites:
        out.text("  none: nothing of this expert can be measured")
    if spec.private_suites:
        out.text("\nPrivate suites: measured at the publisher's, not reproducible by others")
        rows = [_private_suite(suite) for suite in spec.private_suites]
        out.table(rows, ["suite", "metric", Column("documents", justify="right"), "base", "expert", "date"])
    if spec.statistics is not None:
        _facts("Statistics in the place of text", _statistics(spec.statistics))
    out.result(
        {
            **spec.model_dump(mode="json"),
            "distribution": expert.distribution,
            "version": expert.version,
            "digest": spec.digest,
            "code": code,
            "verified": checked,
        }
    )


def _checked(distribution: str, version: str) -> dict[str, Any] | None:
    """The publisher whose signature was verified when it was added; ``None``: none was."""
    from cogen.trust.errors import TrustError
    from cogen.trust.receipts import receipt_of

    try:
        receipt = receipt_of(distribution)
    except TrustError:  # damaged: `cogen verify` says so
        return None
    if receipt is None or receipt.version != version:
        return None
    return {"publisher": receipt.publisher, "registry": receipt.registry, "key": receipt.key}


def _identity(spec: ExpertSpec, checked: dict[str, Any] | None) -> dict[str, Any]:
    account = None
    if checked is not None:
        how = f"signed with {checked['key'][:23]}…" if checked["key"] else "not signed"
        account = f"{checked['publisher']} at {checked['registry']}, {how}"
    return {
        "publisher (claimed)": spec.publisher,
        "registry account": account or "none: it was not installed from a registry",
        "homepage": spec.homepage,
        "contact": spec.contact,
        "domains": ", ".join(spec.domains),
        "languages": ", ".join(spec.languages),
        "license": f"{spec.license}, derivatives: {spec.derivatives}",
    }


def _model(spec: ExpertSpec) -> dict[str, Any]:
    model, tokenizer = spec.model, spec.tokenizer
    return {
        "weights": f"{model.source} ({model.format}, {model.dtype}, {model.parameters:,} parameters)",
        "relation": model.relation,
        "base": f"{model.base.name} from {model.base.source}" if model.base else None,
        "lineage": model.lineage,
        "file digest": model.file_digest,
        "architecture": f"{model.architecture}, context of {model.context_length:,} tokens",
        "tokenizer": f"{tokenizer.kind}, {tokenizer.vocab_size:,} entries, {tokenizer.digest}",
    }


def _data(spec: ExpertSpec) -> dict[str, Any]:
    data = spec.data
    facts: dict[str, Any] = {}
    if data.training != "unknown":
        training = data.training
        facts["training"] = (
            f"{training.mode}, {training.tokens:,} tokens in {training.steps:,} steps, seed {training.seed}"
        )
        for measured in training.measured:
            change = (measured.after / measured.before - 1) * 100 if measured.before else 0.0
            facts[f"bits per byte, {measured.part}"] = f"{measured.before:.4f} → {measured.after:.4f} ({change:+.1f} %)"
    else:
        facts["training"] = "unknown"
    if data.split != "unknown":
        split = data.split
        counts = (
            f"{split.train_documents:,} train, {split.dev_documents:,} dev, {split.test_documents:,} test documents"
        )
        left = split.test_8gram_overlap
        overlap = left if isinstance(left, str) else f"{left:.2%}"
        facts["split"] = f"{counts}, by {split.by}; 8-gram overlap of the test split {overlap}"
    synthetic = data.synthetic_share
    return facts | {
        "collected": data.collected,
        "synthetic": synthetic if synthetic == "unknown" else _percent(synthetic),
        "personal data": data.personal_data,
        "decontaminated": data.decontaminated_against,
        "biases": data.biases,
        "limitations": data.limitations,
        "not for": data.not_for,
    }


def _suite(suite: Any) -> dict[str, Any]:
    claim = suite.claim
    return {
        "suite": suite.id,
        "metric": suite.metric,
        "dev": suite.dev.documents,
        "test": suite.test.documents,
        "claim": f"{claim.value:g} ({claim.date}, not verified)" if claim else "none",
        "license": suite.test.license,
    }


def _private_suite(suite: PrivateSuite) -> dict[str, Any]:
    def shown(figure: PrivateFigure | None) -> str:
        return "none" if figure is None else f"{figure.value:.4f} [{figure.low:.4f}, {figure.high:.4f}]"

    return {
        "suite": suite.id,
        "metric": suite.metric,
        "documents": suite.documents,
        "base": shown(suite.base),
        "expert": shown(suite.expert),
        "date": suite.date,
    }


def _statistics(statistics: Statistics) -> dict[str, Any]:
    kinds = {
        "token counts": statistics.token_counts,
        "mean states of the base": statistics.states,
        f"mean embedding by {statistics.embedder}": statistics.embedding,
    }
    return {
        "for routing": ", ".join(name for name, file in kinds.items() if file is not None),
        "made of": f"{statistics.documents:,} documents; tokens in fewer than {statistics.floor} of them left out",
    }


def _ships(source: DataSource) -> str:
    """How far its text may go; manifests of before say of held-out text alone whether it ships."""
    level = source.leaves or ("heldout" if source.heldout else "no held-out text")
    return f"{level}, never trained on" if source.use == "suite" else level


def _percent(share: Any) -> str:
    return f"{share:.1%}" if isinstance(share, int | float) else str(share)


def _facts(title: str, facts: dict[str, Any]) -> None:
    if title:
        out.text(f"\n{title}")
    width = max(len(key) for key in facts)
    for key, value in facts.items():
        if value is not None:
            out.text(f"  {key.ljust(width)}  {value}")
