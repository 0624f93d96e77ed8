"""From trained weights to a plugin: weights, held-out suites, samples, and the manifest with its data card."""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.evals import BoundSuite, SuiteResult, calibration_texts, model_digest, run_suites
from cogen.files import atomic_folder, atomic_write, cache_dir
from cogen.forge.build import ROUTER, PreparedTraining
from cogen.forge.corpus import Document, json_lines
from cogen.forge.recipe import TrainRecipe
from cogen.reporter import SILENT, Reporter
from cogen.spec.base import PLUGIN_API
from cogen.spec.data import DataCard, DataSource, Measured, Split, Training
from cogen.spec.expert import ExpertSpec, canonical_digest
from cogen.spec.model import ModelSpec, RouterSpec, TokenizerSpec
from cogen.spec.suite import Claim, DataFile, Samples, Suite

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


def publish(prepared: PreparedTraining, result: Path, reporter: Reporter = SILENT) -> ExpertSpec:
    """Measure the expert against its base and write everything into the recipe's plugin folder.

    Everything is made and measured in a scratch folder and moved at the end, ``expert.toml`` last: a run that is
    killed while it measures leaves the old plugin as it was.

    :param result: the folder that :func:`cogen.forge.build.run_training` returned.
    """
    package = prepared.home / prepared.recipe.plugin
    facts = json.loads((result / "run.json").read_text())
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix=".publish.") as scratch:
        stage = Path(scratch) / package.name
        shutil.copytree(result, stage / "weights", ignore=shutil.ignore_patterns("run.json", ROUTER))
        if (result / ROUTER).is_file():
            shutil.copyfile(result / ROUTER, stage / ROUTER)
        suite = _write_suite(prepared, stage)
        atomic_write(stage / "samples.jsonl", json_lines(prepared.corpus.samples))
        expert = _expert(prepared, stage / "weights")
        before, after = _measure(prepared, expert, suite, stage, reporter)
        spec = _spec(prepared, stage, expert, suite, before, after, facts)
        if not (package / "__init__.py").exists():
            atomic_write(package / "__init__.py", b"")
        for name in ("weights", "suites"):
            with atomic_folder(package / name, replace=True) as part:
                shutil.copytree(stage / name, part, dirs_exist_ok=True)
        atomic_write(package / "samples.jsonl", (stage / "samples.jsonl").read_bytes())
        if spec.router:
            atomic_write(package / ROUTER, (stage / ROUTER).read_bytes())
    atomic_write(package / "expert.toml", to_toml(spec).encode())
    if spec.router is None:  # the expert may have been trained in mode anchored before
        (package / ROUTER).unlink(missing_ok=True)
    return spec


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
    prepared: PreparedTraining, expert: Checkpoint, suite: Suite, package: Path, reporter: Reporter
) -> tuple[dict[str, SuiteResult], dict[str, SuiteResult]]:
    bound = BoundSuite(prepared.recipe.id, suite, package)
    digest = tokenizer_digest(prepared.tokenizer)
    found = []
    for checkpoint in (prepared.base, expert):
        parts = {}
        for part in ("dev", "test"):
            (parts[part],) = run_suites(
                functools.partial(load_model, checkpoint, MEASURED_IN),
                prepared.tokenizer,
                [bound],
                model_digest=model_digest(checkpoint),
                tokenizer_digest=digest,
                split=part,
                level="full",
                dtype=MEASURED_IN,
                reporter=reporter,
            )
        found.append(parts)
    return found[0], found[1]


def _spec(
    prepared: PreparedTraining,
    package: Path,
    expert: Checkpoint,
    suite: Suite,
    before: dict[str, SuiteResult],
    after: dict[str, SuiteResult],
    facts: dict[str, Any],
) -> ExpertSpec:
    recipe, card = prepared.recipe, prepared.recipe.card
    weights = package / "weights"
    config = prepared.base.config
    claim = Claim(
        value=round(after["test"].value, 5),
        documents=after["test"].n,
        date=datetime.date.today().isoformat(),
        harness=f"lm-eval {importlib.metadata.version('lm-eval')}, {MEASURED_IN}",
    )
    samples = prepared.corpus.samples
    own = expert.adapter.pairs if expert.adapter else None
    count = sum(a.numel + b.numel for a, b, _ in own.values()) if own else sum(i.numel for i in expert.tensors.values())
    return ExpertSpec(
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
        data=_data(prepared, expert, before, after, facts),
        suites=(suite.model_copy(update={"claim": claim}),),
    )


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
    before: dict[str, SuiteResult],
    after: dict[str, SuiteResult],
    facts: dict[str, Any],
) -> DataCard:
    recipe, corpus, card = prepared.recipe, prepared.corpus, prepared.recipe.card
    tokens = prepared.source_tokens
    total = sum(tokens.values())
    sources = tuple(
        DataSource(
            name=source.name,
            uri=source.uri,
            license=source.license,
            license_evidence=source.license_evidence,
            revision=source.uri.rpartition("==")[2] or "unknown",
            archive_digest=source.digest or "unknown",
            documents=sum(d.source == source.name for d in corpus.train),
            bytes=corpus.by_source.get(source.name, 0),
            tokens=tokens.get(source.name, 0),
            share=round(tokens.get(source.name, 0) / total, 4),
            heldout=source.heldout,
        )
        for source in recipe.corpus.sources
    )
    hyper = {
        k: v
        for k, v in recipe.training.model_dump(mode="json").items()
        if k not in ("mode", "tokens", "seed", "threads")
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
    limit = f"{recipe.corpus.overlap_limit:.0%} of its word 8-grams"
    return DataCard(
        sources=sources,
        languages=card.languages,
        collected=card.collected,
        preprocessing=_preprocessing(recipe),
        split=Split(
            by="file or section: all documents of a held-out file or section are kept out of training",
            train_documents=len(corpus.train),
            dev_documents=len(corpus.dev),
            test_documents=len(corpus.test),
            removed_duplicates=corpus.removed_duplicates,
            removed_overlapping=corpus.removed_overlapping + corpus.removed_similar,
            test_8gram_overlap=round(corpus.test_overlap, 5),
        ),
        training=Training(
            recipe_digest=recipe.digest,
            mode=recipe.training.mode,
            order=_ORDER[recipe.training.data],
            seed=recipe.training.seed,
            tokens=recipe.training.seen_tokens,
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
            ),
        ),
        synthetic_share=card.synthetic_share,
        personal_data=card.personal_data,
        decontaminated_against=f"its own held-out text: documents that share more than {limit} with it were removed",
        biases=card.biases,
        limitations=card.limitations,
        not_for=card.not_for,
    )


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
