"""What the data card says of the sources: as much as each lets leave, and "unknown" for the rest."""

from __future__ import annotations

from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from cogen.forge.consent import may_be_counted
from cogen.forge.corpus import mean_overlap
from cogen.forge.documents import TextComparison
from cogen.forge.recipe import CorpusSource
from cogen.spec.data import DataSource, Split

if TYPE_CHECKING:
    from cogen.forge.build import PreparedTraining


def card_sources(prepared: PreparedTraining) -> tuple[DataSource, ...]:
    """One entry a source, in the recipe's order.

    A share tells the size of the whole corpus: where one source lets nothing leave, no share is told.
    """
    sources = prepared.recipe.corpus.sources
    total = sum(prepared.source_tokens.values()) if all(source.may("figures") for source in sources) else 0
    newer = not all(source.older for source in sources) or not any(source.may("figures") for source in sources)
    return tuple(_source(prepared, source, total, newer) for source in sources)


def _source(prepared: PreparedTraining, source: CorpusSource, total: int, newer: bool) -> DataSource:
    corpus, counted = prepared.corpus, source.may("figures")
    local = source.uri.startswith("file://")
    accounts = {account.name: account.fields() for account in corpus.accounts}
    tokens = prepared.source_tokens.get(source.name, 0)
    return DataSource(
        name=source.name,
        uri=_uri(source) if counted or not local else "unknown",
        license=source.license,
        license_evidence=source.license_evidence,
        revision="unknown" if local else source.uri.rpartition("==")[2],
        # A digest of private text without a salt would let anybody test a guess at it.
        archive_digest="unknown" if source.digest is None or (local and not source.may("samples")) else source.digest,
        documents=sum(d.source == source.name for d in corpus.train) if counted else "unknown",
        bytes=corpus.by_source.get(source.name, 0) if counted else "unknown",
        tokens=tokens if counted else "unknown",
        share=round(tokens / total, 4) if total else "unknown",
        heldout=source.may("heldout"),
        leaves=source.leaves if newer else None,
        personal_data=prepared.recipe.personal_data(source) if newer else None,
        use="suite" if source.use == "suite" else None,
        **(accounts[source.name] if newer and counted else {}),
    )


def _uri(source: CorpusSource) -> str:
    """Where it came from; a folder outside the recipe's is called by the source's name, for its path tells nothing."""
    path = PurePath(source.uri.removeprefix("file://"))
    outside = path.is_absolute() or ".." in path.parts
    return f"file://{source.name}" if outside and source.uri.startswith("file://") else source.uri


def card_split(prepared: PreparedTraining) -> Split | Literal["unknown"]:
    """Counts of the documents of sources that let figures leave; unknown where no source does."""
    recipe, corpus = prepared.recipe, prepared.corpus
    counted = [source.name for source in recipe.corpus.sources if source.may("figures")]
    if not counted:
        return "unknown"
    training = may_be_counted(recipe, corpus)
    private = corpus.private if corpus.private and corpus.private.figures else None
    dev, test = (private.dev, private.test) if private else ([], [])
    by = "file or section: all documents of a held-out file or section are kept out of training"
    if recipe.training.data == "chat":
        by = "conversation: a held-out conversation is kept out of training as a whole"
    if others := [source.name for source in recipe.corpus.suite_sources if source.may("figures")]:
        by += f"; at least half of each split is of sources that are held out only: {', '.join(others)}"
    if len(counted) < len(recipe.corpus.sources):
        by += "; counts are of the sources whose figures may leave"
    left = mean_overlap(corpus.test or test, training, TextComparison.of(recipe.corpus))
    return Split(
        by=by,
        train_documents=len(training),
        dev_documents=len(corpus.dev) + len(dev),
        test_documents=len(corpus.test) + len(test),
        removed_duplicates=sum(corpus.duplicates.get(name, 0) for name in counted),
        removed_overlapping=sum(corpus.overlapping.get(name, 0) for name in counted),
        test_8gram_overlap="not checked" if left is None else round(left, 5),
    )
