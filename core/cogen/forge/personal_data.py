"""The search for personal data in the documents of a recipe, and what it says against the recipe's own word."""

from __future__ import annotations

from cogen.errors import MissingExtraError
from cogen.forge.corpus import CorpusParts
from cogen.forge.recipe import TrainRecipe
from cogen.privacy.scan import BLIND, Scan, regions_of, scan
from cogen.reporter import SILENT, Reporter, begin


def search(
    recipe: TrainRecipe, corpus: CorpusParts, languages: tuple[str, ...] = (), reporter: Reporter = SILENT
) -> Scan:
    """Search all documents, read by training or held out.

    :param languages: default: those of the card.
    :raises MissingExtraError: the extra ``privacy`` is not installed.
    """
    documents = [*corpus.train, *corpus.held]
    begin(reporter, "searching for personal data", sum(len(document.text) for document in documents), "characters")
    texts = ((document.source, document.text) for document in documents)
    return scan(texts, regions_of(languages or recipe.card.languages), reporter)


def contradictions(recipe: TrainRecipe, found: Scan) -> list[str]:
    """A line for each source that the recipe declares to hold no personal data, and that seems to hold some."""
    stated = {source.name: recipe.personal_data(source) for source in recipe.corpus.sources}
    return [
        f'source {name!r} says personal_data = "{kind}", and it holds {why}'
        for name, kind in stated.items()
        if kind in ("none", "removed") and (why := found.contradicts(name))
    ]


def report(recipe: TrainRecipe, corpus: CorpusParts, reporter: Reporter) -> None:
    """Before training: what is found, as notes for the publisher alone; without the libraries a note says so."""
    try:
        found = search(recipe, corpus, reporter=reporter)
    except MissingExtraError as error:
        if recipe.private:
            reporter.note(f"not searched for personal data: {error.hint}")
        return
    for line in lines(found):
        reporter.note(line)
    for line in contradictions(recipe, found):
        reporter.note(f"warning: {line}; look at it, and correct the recipe or the text")


def lines(found: Scan) -> list[str]:
    """What was found, with masked examples, and what cannot be found."""
    shown = [
        f"{hits.source}: {hits.hits} × {hits.kind} in {hits.documents} documents, such as {', '.join(hits.examples)}"
        for hits in found.found
    ]
    return [*shown, f"personal data: searched {found.documents:,} documents; {BLIND}"]
