"""``cogen.scan``: personal data in texts, found by its form."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.api.checks import as_names, as_path, check_reporter
from cogen.api.options import PathLike
from cogen.errors import UsageError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter, begin

if TYPE_CHECKING:
    from cogen.privacy.scan import Hits


@dataclass(frozen=True)
class Scanned:
    """What a search found.

    :param found: by source and kind, the number of hits and of documents, with masked examples.
    :param contradictions: a line for each source that its recipe declares to hold no personal data, and that seems to.
    :param notes: the same as lines for the publisher, and what cannot be found.
    """

    documents: int
    found: tuple[Hits, ...]
    contradictions: tuple[str, ...]
    notes: tuple[str, ...]


def scan(path: PathLike, *, languages: Iterable[str] | None = None, reporter: Reporter = SILENT) -> Scanned:
    """Search texts for personal data; report only, nothing is changed.

    :param path: the recipe of ``cogen train``, for its documents; a folder or a file of texts.
    :param languages: of the texts: they say which countries' telephone numbers to look for; default: those of the
        recipe's card, otherwise all that are known.
    :raises UsageError: there are no texts. :raises MissingExtraError: the extra ``privacy`` is not installed.
    """
    require("privacy", "cogen.scan()")
    from cogen.conformance.training_text import read_training
    from cogen.forge.personal_data import contradictions, lines, search
    from cogen.forge.recipe import read_recipe
    from cogen.privacy import scan as searching
    from cogen.privacy.identifiers import REGIONS

    check_reporter(reporter)
    target = as_path("path", path)
    if target.is_dir() and (target / "recipe.toml").is_file():
        target = target / "recipe.toml"
    if not target.exists():
        raise UsageError(f"{target} is not there", hint="name a recipe, a folder of texts or a text file")
    named = as_names("languages", languages)
    if target.suffix == ".toml":
        from cogen.forge.corpus import build_corpus

        recipe = read_recipe(target)
        corpus = build_corpus(recipe.corpus, target.resolve().parent, reporter, chats=recipe.training.data == "chat")
        found = search(recipe, corpus, tuple(named), reporter)
        return Scanned(found.documents, found.found, tuple(contradictions(recipe, found)), tuple(lines(found)))
    begin(reporter, "searching for personal data", None, "characters")
    texts = ((target.name, text) for text in read_training(target))
    found = searching.scan(texts, searching.regions_of(named or REGIONS), reporter)
    return Scanned(found.documents, found.found, (), tuple(lines(found)))
