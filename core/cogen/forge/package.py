"""From trained weights to a plugin: weights, suites, samples, statistics, and the manifest with its data card."""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cogen.cache import scratch
from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import BoundSuite, SuiteResult, calibration_texts, model_digest, run_suites
from cogen.evals.private import PrivateTask
from cogen.evals.settings import Split
from cogen.files import atomic_folder, atomic_write, cache_dir, copy_contents
from cogen.forge.audit import audit_expert, lets_nothing_leave, wants_audit, with_audit
from cogen.forge.build import ROUTER, PreparedTraining
from cogen.forge.card import card_sources, card_split
from cogen.forge.corpus import Document, json_lines
from cogen.forge.private import keep_private, private_suite, stage_private
from cogen.forge.private_folder import claim, staging, sweep_cache
from cogen.forge.private_training import expected_tokens, keep_privacy, published
from cogen.forge.recipe import TrainRecipe
from cogen.forge.statements import write_statements
from cogen.forge.statistics import FOLDER, write_statistics
from cogen.reporter import SILENT, Reporter
from cogen.spec.base import PLUGIN_API
from cogen.spec.data import DataCard, DifferentialPrivacy, Measured, Training
from cogen.spec.expert import ExpertSpec, canonical_digest
from cogen.spec.model import ModelSpec, RouterSpec, TokenizerSpec
from cogen.spec.suite import Claim, DataFile, PrivateSuite, Samples, Statistics, Suite

#: The dtype that claims are measured in: what `cogen fuse --level full` uses too.
MEASURED_IN = "float32"

_TASK = """\
# Bits per byte of held-out text: documents that no training step has seen.
task: cogen_{name}_heldout
dataset_path: json
dataset_kwargs:
  data_files: {{validation: suites/dev.jsonl, test: suites/test.jsonl}}
validation_split: validation
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{{{text}}}}"
metric_list:
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
metadata:
  version: 1.0
"""
_RELATION = {"full": "full", "lora": "adapter", "ffn": "ffn", "anchored": "anchored"}
_WHAT = {
    "full": "full fine-tune",
    "lora": "LoRA",
    "ffn": "LoRA on the feed-forward layers",
    "anchored": "LoRA on the feed-forward layers with a router row a layer",
}


_ORDER = {
    "documents": "documents shuffled once with the corpus seed, joined without padding; later passes reshuffled",
    "chat": "conversations shuffled once with the corpus seed, whole ones put together into blocks; later passes "
    "reshuffled",
}
#: What `cogen train` writes into a package; the rest of it is the publisher's and stays.
_OUTPUTS = frozenset({"expert.toml", "weights", "suites", "samples.jsonl", ROUTER, FOLDER})


@dataclass(frozen=True)
class Packaged:
    """The manifest, and figures on held-out text of sources that let nothing leave: they stand in no file."""

    expert: ExpertSpec
    at_home: PrivateSuite | None


@dataclass(frozen=True)
class MeasuredExpert:
    """What base and expert measure: by split on the suite that ships, and on the test split of each private one."""

    before: dict[str, SuiteResult]
    after: dict[str, SuiteResult]
    private: tuple[PrivateSuite, ...]


def package(prepared: PreparedTraining, result: Path, reporter: Reporter = SILENT) -> Packaged:
    """Measure the expert against its base and write everything into the recipe's plugin folder.

    Everything is made and measured in a scratch folder, private text in one of ``private/``; then the package is
    replaced as a whole. A run that is killed leaves the old plugin or the new one, never new weights under an old
    manifest.

    :param result: the folder that :func:`cogen.forge.build.run_training` returned.
    """
    target = prepared.home / prepared.recipe.plugin
    facts = json.loads((result / "run.json").read_text())
    sweep_cache(cache_dir())
    with contextlib.ExitStack() as folders:
        place = folders.enter_context(scratch("publish"))
        stage = place / "package" / target.name
        copy_contents(result, stage / "weights", leave_out=("run.json", ROUTER))
        if (result / ROUTER).is_file():
            shutil.copyfile(result / ROUTER, stage / ROUTER)
        suite = _write_suite(prepared, stage) if prepared.corpus.test else None
        stated = write_statements(prepared.recipe, prepared.corpus, stage, reporter)
        if prepared.corpus.samples:
            atomic_write(stage / "samples.jsonl", json_lines(prepared.corpus.samples))
        statistics = write_statistics(prepared, stage, reporter)
        staged = []
        if prepared.corpus.private is not None:
            beside = folders.enter_context(staging(prepared.home, prepared.recipe.id))
            staged = stage_private(prepared, beside, reporter)
        expert = _expert(prepared, stage / "weights")
        figures = _measure(prepared, expert, suite, staged, stage, reporter)
        stated = _claimed(prepared, expert, stated, stage, reporter)
        spec = _spec(prepared, stage, expert, suite, statistics, figures, facts)
        spec = spec.model_copy(update={"suites": (*spec.suites, *stated)})
        if wants_audit(prepared.recipe):
            spec = with_audit(spec, audit_expert(prepared, expert, reporter=reporter))
        atomic_write(stage / "expert.toml", to_toml(spec).encode())
        keep_private(prepared, staged if spec.private_suites else [], reporter)
        if "privacy" in facts and lets_nothing_leave(prepared.recipe):
            folder = claim(prepared.home, prepared.recipe.id)
            keep_privacy(DifferentialPrivacy.model_validate(facts["privacy"]), folder)
        _replace(target, stage)
    return Packaged(spec, figures.private[0] if figures.private and not spec.private_suites else None)


def _replace(target: Path, stage: Path) -> None:
    """Swap the package for one with the new outputs and all other files of the old."""
    target = target.resolve()

    def outputs(folder: str, names: list[str]) -> set[str]:
        return {n for n in names if n == "__pycache__" or (n in _OUTPUTS and Path(folder) == target)}

    with atomic_folder(target, replace=True) as part:
        if target.is_dir():
            shutil.copytree(target, part, ignore=outputs, symlinks=True, dirs_exist_ok=True)
        shutil.copytree(stage, part, dirs_exist_ok=True)
        if not (part / "__init__.py").exists():
            atomic_write(part / "__init__.py", b"")


def _write_suite(prepared: PreparedTraining, package: Path) -> Suite:
    corpus = prepared.corpus
    with atomic_folder(package / "suites", replace=True) as part:
        (part / "heldout.yaml").write_text(_TASK.format(name=prepared.recipe.id.replace("-", "_")), encoding="utf-8")
        (part / "dev.jsonl").write_bytes(json_lines(corpus.dev))
        (part / "test.jsonl").write_bytes(json_lines(corpus.test))

    def data(name: str, documents: Sequence[Document]) -> DataFile:
        file = package / "suites" / name
        return DataFile(
            path=f"suites/{name}", digest=file_digest(file), documents=len(documents), license=_licenses(documents)
        )

    return Suite(
        id="heldout",
        title=f"{prepared.recipe.card.title}: held-out text",
        task="suites/heldout.yaml",
        metric="bits_per_byte",
        dev=data("dev.jsonl", corpus.dev),
        test=data("test.jsonl", corpus.test),
    )


def _licenses(documents: Sequence[Document]) -> str:
    return " AND ".join(sorted({document.license for document in documents}))


def _expert(prepared: PreparedTraining, weights: Path) -> Checkpoint:
    if prepared.recipe.training.mode == "full":
        return open_folder(weights)
    return Checkpoint(prepared.base.folder, prepared.base.tensors, read_adapter(weights))


def _measure(
    prepared: PreparedTraining,
    expert: Checkpoint,
    suite: Suite | None,
    staged: Sequence[PrivateTask],
    package: Path,
    reporter: Reporter,
) -> MeasuredExpert:
    found: list[dict[str, SuiteResult]] = []
    private: list[list[SuiteResult]] = []
    for checkpoint in (prepared.base, expert):
        # Loaded once for all splits, and not at all if every figure is known.
        load = functools.cache(functools.partial(load_model, checkpoint, MEASURED_IN))
        bound = BoundSuite(prepared.recipe.id, suite, package) if suite else None
        splits: tuple[Split, ...] = ("dev", "test") if bound else ()
        found.append({split: _run(prepared, checkpoint, load, bound, split, reporter) for split in splits if bound})
        private.append(
            [_run(prepared, checkpoint, load, task.bound(), "test", reporter, use_cache=False) for task in staged]
        )
    before, after = found
    figures = zip(staged, *private, strict=True)
    suites = tuple(private_suite(task, base, own, _harness()) for task, base, own in figures)
    return MeasuredExpert(before, after, suites)


def _run(
    prepared: PreparedTraining,
    checkpoint: Checkpoint,
    load: Callable[[], Any],
    bound: BoundSuite,
    split: Split,
    reporter: Reporter,
    use_cache: bool = True,
) -> SuiteResult:
    (result,) = run_suites(
        load,
        prepared.tokenizer,
        [bound],
        model_digest=model_digest(checkpoint),
        tokenizer_digest=tokenizer_digest(prepared.tokenizer),
        split=split,
        level="full",
        dtype=MEASURED_IN,
        reporter=reporter,
        use_cache=use_cache,
    )
    return result


def _claimed(
    prepared: PreparedTraining, expert: Checkpoint, suites: Sequence[Suite], package: Path, reporter: Reporter
) -> list[Suite]:
    """Statement suites with what the expert measures on their test splits."""
    load = functools.cache(functools.partial(load_model, expert, MEASURED_IN))
    found = []
    for suite in suites:
        result = _run(prepared, expert, load, BoundSuite(prepared.recipe.id, suite, package), "test", reporter)
        found.append(suite.model_copy(update={"claim": _claim(result)}))
    return found


def _harness() -> str:
    return f"lm-eval {importlib.metadata.version('lm-eval')}, {MEASURED_IN}"


def _spec(
    prepared: PreparedTraining,
    package: Path,
    expert: Checkpoint,
    suite: Suite | None,
    statistics: Statistics | None,
    figures: MeasuredExpert,
    facts: dict[str, Any],
) -> ExpertSpec:
    recipe, card = prepared.recipe, prepared.recipe.card
    weights = package / "weights"
    config = prepared.base.config
    suites = (suite.model_copy(update={"claim": _claim(figures.after["test"])}),) if suite else ()
    held = prepared.corpus.private
    private = figures.private if held and held.figures else ()
    data = _data(prepared, expert, figures, facts)
    samples = prepared.corpus.samples
    own = expert.adapter.pairs if expert.adapter else None
    count = sum(a.numel + b.numel for a, b, _ in own.values()) if own else sum(i.numel for i in expert.tensors.values())
    return ExpertSpec(
        schema_version=_schema_version(data, bool(suites) and not private and statistics is None),
        plugin_api=PLUGIN_API,
        id=recipe.id,
        title=card.title,
        summary=card.summary,
        publisher=card.publisher,
        homepage=card.homepage,
        contact=card.contact,
        domains=card.domains,
        languages=card.languages,
        license=card.license,
        derivatives=card.derivatives,
        model=ModelSpec(
            name=f"{card.title}: {_WHAT[recipe.training.mode]} of {prepared.base_ref.name}",
            source=f"package://{package.name}/weights",
            format="safetensors" if own is None else "peft",
            dtype=prepared.base_ref.dtype,
            file_digest=file_digest(weights),
            weights_digest=expert.weights_digest,
            architecture=config.get("architectures", ["unknown"])[0],
            parameters=count,
            context_length=config.get("max_position_embeddings", 1024),
            relation=_RELATION[recipe.training.mode],
            base=prepared.base_ref,
        ),
        tokenizer=TokenizerSpec(
            source=prepared.base_ref.source,
            revision=prepared.base_ref.revision,
            digest=tokenizer_digest(prepared.tokenizer),
            kind=_kind(prepared.tokenizer),
            vocab_size=len(prepared.tokenizer),
        ),
        samples=_samples(package, samples),
        router=_router(package),
        data=data,
        suites=suites,
        private_suites=private,
        statistics=statistics,
    )


def _claim(result: SuiteResult) -> Claim:
    return Claim(
        value=round(result.value, 5), documents=result.n, date=datetime.date.today().isoformat(), harness=_harness()
    )


def _schema_version(data: DataCard, old: bool) -> Literal[1, 2]:
    """1 where nothing of the manifest is newer, so that hosts from before can read it."""
    sources = data.sources if data.sources != "unknown" else ()
    newer = any(source.leaves or source.personal_data or source.kept_share is not None for source in sources)
    newer |= data.audit is not None or (data.training != "unknown" and data.training.privacy is not None)
    return 1 if old and not newer else 2


def _samples(package: Path, documents: Sequence[Document]) -> Samples | None:
    if not documents:
        return None
    path = "samples.jsonl"
    return Samples(path=path, digest=file_digest(package / path), license=_licenses(documents))


def _router(package: Path) -> RouterSpec | None:
    file = package / ROUTER
    if not file.is_file():
        return None
    return RouterSpec(source=f"package://{package.name}/{ROUTER}", file_digest=file_digest(file))


def _kind(tokenizer: Any) -> Any:
    model = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"]
    return {"BPE": "bpe", "Unigram": "unigram", "WordPiece": "wordpiece"}.get(model, "char")


def _data(
    prepared: PreparedTraining,
    expert: Checkpoint,
    figures: MeasuredExpert,
    facts: dict[str, Any],
) -> DataCard:
    recipe, card, before, after = prepared.recipe, prepared.recipe.card, figures.before, figures.after
    hyper = {
        k: v
        for k, v in recipe.training.model_dump(mode="json").items()
        if k not in ("mode", "tokens", "seed", "threads", "privacy")
    }
    if recipe.training.mode == "full":
        hyper = {k: v for k, v in hyper.items() if k not in ("rank", "alpha", "dropout")}
    hyper |= {"optimizer": "adamw_torch (betas 0.9, 0.999; eps 1e-8)", "precision": "bfloat16 autocast"}
    if expert.adapter is not None:
        adapter = json.loads((expert.adapter.folder / "adapter_config.json").read_text())
        hyper |= {"target_modules": adapter["target_modules"], "published_as": "factors rounded to bfloat16"}
    hyper |= facts.get("rehearsal", {})
    if recipe.training.start is not None:
        hyper |= {"start": f"an adapter, {file_digest(prepared.home / recipe.training.start)}"}
    if recipe.training.mode == "anchored":
        hyper |= {
            "router_start": "linear discriminant of training text against general text in the base's states",
            "router_general_text": f"CoGen's calibration text, {canonical_digest(calibration_texts())}",
            "router_published_as": "float32",
        }
    order = _ORDER[recipe.training.data]
    seen = recipe.training.seen_tokens
    if recipe.training.privacy is not None:
        hyper |= {"optimizer": "AdamW (betas 0.9, 0.999; eps 1e-8) by DP-SGD", "precision": "float32"}
        order = "each step takes every document with the same probability, cut at sequence_length"
        if not lets_nothing_leave(recipe):  # it is the mean length of the documents, times those that are drawn
            seen = expected_tokens(prepared.encoded, recipe.training)
    if prepared.canaries:
        hyper |= {"canaries": prepared.canaries.statement}
    limit = f"{recipe.corpus.overlap_limit:.0%} of its word 8-grams"
    return DataCard(
        sources=card_sources(prepared),
        languages=card.languages,
        collected=card.collected,
        preprocessing=_preprocessing(recipe),
        split=card_split(prepared),
        training=Training(
            recipe_digest=recipe.digest,
            mode=recipe.training.mode,
            order=order,
            seed=recipe.training.seed,
            tokens=seen,
            steps=recipe.training.steps,
            hyperparameters=hyper,
            hardware=facts["hardware"],
            threads=facts["threads"],
            seconds=facts["seconds"],
            software=facts["software"],
            measured=tuple(
                Measured(
                    part=part,
                    documents=after[part].n,
                    bytes=int(sum(b for _, b in after[part].per_document)),
                    before=round(before[part].value, 5),
                    after=round(after[part].value, 5),
                )
                for part in ("dev", "test")
                if part in after
            ),
            privacy=_privacy(prepared, facts),
        ),
        synthetic_share=card.synthetic_share,
        personal_data=card.personal_data,
        decontaminated_against=f"its own held-out text: documents that share more than {limit} with it were removed",
        biases=card.biases,
        limitations=card.limitations,
        not_for=card.not_for,
    )


def _privacy(prepared: PreparedTraining, facts: dict[str, Any]) -> DifferentialPrivacy | None:
    if "privacy" not in facts:
        return None
    spent = DifferentialPrivacy.model_validate(facts["privacy"])
    return published(spent, prepared.recipe.training, sizes=not lets_nothing_leave(prepared.recipe))


def _preprocessing(recipe: TrainRecipe) -> str:
    copies = "near-copies (more than half of the 8-grams known) removed"
    if recipe.training.data == "chat":
        return f"conversations in the base's chat template, only the assistant's turns learned; {copies}"
    return (
        "prose extracted from files (code, tables and directives dropped), cut into documents of "
        f"{recipe.corpus.min_characters} to {recipe.corpus.max_characters} characters; {copies}"
    )


def to_toml(spec: ExpertSpec) -> str:
    """``expert.toml``: the same content as the spec, empty fields left out."""
    import tomlkit

    head = "# Written by `cogen train`. Change recipe.toml and train again rather than editing figures here.\n"
    return head + tomlkit.dumps(spec.model_dump(mode="json", exclude_none=True))
