"""``README.md`` of a route, for whoever finds the folder without us: what it is not, how it runs, what it gave.

The front matter is what the Hub reads, as that of a composite with weights (:mod:`cogen.artifacts.card`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.evals.hub import eval_result, hub_languages, hub_license, hub_model, hub_tag
from cogen.evals.matrix import BASE, EMPTY
from cogen.fusion.route.baselines import ENSEMBLE, ORACLE, POSTERIOR, ROUTE
from cogen.markdown import plain as md
from cogen.markdown import table, word

if TYPE_CHECKING:
    from cogen.evals import Matrix
    from cogen.fusion.plan import PlannedSuite
    from cogen.fusion.route.manifest import RouteManifest
    from cogen.fusion.route.measure import Routed
    from cogen.host import Expert

CARD = "README.md"
#: Of experts under several licenses: the Hub has no id for that.
_SEVERAL = "several-see-experts"


def write_card(
    folder: Path,
    manifest: RouteManifest,
    matrix: Matrix | None,
    routed: Routed | None,
    experts: Sequence[Expert],
    suites: Sequence[PlannedSuite] = (),
) -> None:
    """Manifests are other people's words: every one of them is escaped.

    :param experts: those of the manifest, for the front matter. :param suites: of the plan, for titles and digests.
    """
    parts = [
        f"---\n{_metadata(manifest, matrix, experts, suites).to_yaml()}\n---",
        f"# CoGen route over {len(manifest.experts)} expert{'' if len(manifest.experts) == 1 else 's'}",
        "**This folder is not a checkpoint.** It holds no weights, nothing was fused, and transformers or a serving "
        f"engine cannot load it. {_what(manifest)}",
        f"## Run it\n\n{_run(manifest)}",
        f"## Experts and licenses\n\n{_experts(manifest)}",
        f"## How a query is routed\n\n{_routing(manifest)}",
        f"## Results\n\n{_results(matrix)}",
    ]
    if routed is not None:
        parts.append(f"## Which documents went where\n\n{_confusion(manifest, routed)}")
    parts.append(
        "## Limits\n\nA text that belongs to two fields goes to one expert, and a question that its words do not give "
        "away goes astray. Every expert keeps the limits of its own card (`cogen show ID`). What was measured is how "
        "well text is predicted, not whether an answer is right."
    )
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _metadata(
    manifest: RouteManifest, matrix: Matrix | None, experts: Sequence[Expert], suites: Sequence[PlannedSuite]
) -> Any:
    """A :class:`huggingface_hub.ModelCardData`; its results are those of the routed experts, or of all together."""
    from huggingface_hub import ModelCardData

    fallback = [] if manifest.fallback is None else [manifest.fallback]
    refs = [*fallback, *(expert.spec.model for expert in experts)]
    bases = [base for ref in refs if (base := getattr(ref, "base", None)) is not None]
    models = list(dict.fromkeys(name for name in map(hub_model, [*refs, *bases]) if name))
    licenses = {*(one.license for one in manifest.experts), *(one.license for one in fallback)}
    license, license_name = hub_license(licenses.pop()) if len(licenses) == 1 else ("other", _SEVERAL)
    planned = {f"{suite.owner}/{suite.id}": suite for suite in suites}
    row = POSTERIOR if manifest.ensemble is not None else ROUTE
    results = [
        eval_result(result, found.title if found else None, found.test_digest if found else None)
        for column, result in (matrix.cells.get(row, {}) if matrix is not None else {}).items()
        for found in [planned.get(column)]
    ]
    # Of the Hub's four relations the one for what is put together of several models.
    extra: dict[str, Any] = {"base_model_relation": "merge"} if models else {}
    return ModelCardData(
        language=hub_languages(language for expert in experts for language in expert.spec.languages) or None,
        license=license,
        license_name=license_name,
        library_name="cogen",
        pipeline_tag="text-generation",
        tags=["cogen", "route", hub_tag("posterior" if manifest.ensemble else "embedding"), *_ids(manifest)],
        base_model=models or None,
        model_name=f"CoGen route over {', '.join(_ids(manifest)[:8])}" if results else None,
        eval_results=results or None,
        **extra,
    )


def _ids(manifest: RouteManifest) -> list[str]:
    return [expert.id for expert in manifest.experts]


def _what(manifest: RouteManifest) -> str:
    if manifest.ensemble is None:
        return "It says which installed expert answers which query: CoGen loads that expert, one at a time."
    return (
        "All its installed experts answer together: CoGen loads all of them, and mixes their next-token probabilities "
        "by each one's likelihood of the text before."
    )


def _run(manifest: RouteManifest) -> str:
    wheels = " ".join(word(f"{expert.distribution}=={expert.version}") for expert in manifest.experts)
    return (
        f"```sh\npip install {word(f'cogen-core=={manifest.cogen}')} {wheels}\n"
        'cogen chat DIR -p "a question"\ncogen eval DIR --level full\n```\n\n'
        "DIR is this folder. An expert whose digests are no longer those in route.json is refused."
    )


def _experts(manifest: RouteManifest) -> str:
    rows = [[e.id, e.title, e.publisher, f"{e.distribution} {e.version}", e.license] for e in manifest.experts]
    if manifest.fallback is not None:
        rows.append([BASE, manifest.fallback.name, "", "", manifest.fallback.license])
    return (
        f"{table(['expert', 'title', 'publisher', 'distribution', 'license'], rows)}\n\n"
        "Nothing here is derived from them: each one is used under its own license."
    )


def _routing(manifest: RouteManifest) -> str:
    rest = (
        f"Text that is nearer to general text than to every expert goes to the base, {md(manifest.fallback.name)}."
        if manifest.fallback is not None
        else "The experts share no base, so every text goes to one of them."
    )
    return (
        f"By its sentence embedding ({md(manifest.embedder.source)}): to the expert whose samples have the nearest "
        f"mean embedding. {rest} A chat is routed anew by every question. Long texts are routed by their beginning, as "
        "far as the embedding model reads."
    )


def _results(matrix: Matrix | None) -> str:
    if matrix is None:
        return "Not measured. `cogen eval DIR` measures it."
    gains = matrix.gains() if BASE in matrix.rows else {}
    rows = []
    for row in matrix.rows:
        cells = [row]
        for column in matrix.columns:
            result, against = matrix.get(row, column), gains.get(row, {}).get(column)
            change = ""
            if against is not None:
                change = (
                    f" ({against.ratio - 1:+.1%})" if against.ratio is not None else f" ({against.difference:+.3f})"
                )
            cells.append(EMPTY if result is None else f"{result.value:.3f}{change}")
        rows.append(cells)
    heads = ["model", *(f"{column} ({matrix.metric(column).replace('_', ' ')})" for column in matrix.columns)]
    numbers = sorted({cell.n for cells in matrix.cells.values() for cell in cells.values()})
    counts = f"{numbers[0]}" if len(numbers) == 1 else f"{numbers[0]} to {numbers[-1]}"
    about = [
        f"Level {matrix.level}, {matrix.split} split, {counts} documents a cell, change against the base where there "
        "is one. Bits per byte: lower is better; acc and exact\\_match: shares, higher is better.",
        f"{ROUTE}: every document by the expert that it was routed to. {ORACLE}: every suite by its own expert, "
        "general text by the base, which nobody knows of a query.",
    ]
    if ENSEMBLE in matrix.rows:
        about.append(
            f"{ENSEMBLE}: the mean of all models' next-token probabilities, at the cost of running all of them."
        )
    if POSTERIOR in matrix.rows:
        about.append(
            f"{POSTERIOR}: their mean weighted by each model's likelihood of the text before, tempered; all models run."
        )
    if matrix.not_measured:
        about.append(f"{EMPTY}: not measured; experts were measured where they are needed.")
    return f"{table(heads, rows)}\n\n{' '.join(about)} Intervals and documents stand in matrix.json."


def _confusion(manifest: RouteManifest, routed: Routed) -> str:
    names = [*([BASE] if manifest.fallback is not None else []), *(expert.id for expert in manifest.experts)]
    rows = [[column, *(str(found.get(name, 0)) for name in names)] for column, found in routed.confusion.items()]
    right, every = routed.right
    text = f"{right} of {every} documents of experts' suites went to the suite's own expert."
    return f"{table(['suite', *names], rows)}\n\n{text}"
