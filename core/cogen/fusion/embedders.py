"""Which embedding model routing by meaning uses: one that reads the experts' languages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cogen.errors import SourceError
from cogen.fusion.plan import Note
from cogen.fusion.samples import sample_texts
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import DEFAULT, Embedder

if TYPE_CHECKING:
    from cogen.fusion.recipe import FuseRecipe
    from cogen.host import Expert

#: Languages that a model was trained for, where that is known.
_TRAINED_FOR = {DEFAULT: frozenset({"en"})}
_HINT = "choose --embedder multilingual, or --embedder counts, which reads every language"


def choose_embedder(recipe: FuseRecipe, experts: Sequence[Expert], reporter: Reporter = SILENT) -> Embedder:
    """The recipe's embedder. Without one: the default where it reads all experts' samples and languages, else the
    multilingual one, else counts of characters.

    The same experts get the same embedder on every machine that reaches the package index.
    """
    if recipe.embedder:
        return Embedder(recipe.embedder, recipe.embedder_digest, reporter)
    default = Embedder(digest=recipe.embedder_digest, reporter=reporter)
    if not unread(default, experts) or any(_ships_vector_alone(expert) for expert in experts):
        return default
    multilingual = Embedder("multilingual", reporter=reporter)
    try:
        multilingual.folder()
    except SourceError as error:
        reporter.note(f"the multilingual embedder is not here ({error}): texts are compared by counts of characters")
        return Embedder("counts", reporter=reporter)
    return multilingual if not unread(multilingual, experts) else Embedder("counts", reporter=reporter)


def embedder_notes(recipe: FuseRecipe, embedder: Embedder, experts: Sequence[Expert]) -> tuple[Note, ...]:
    """Why another embedder than the default was chosen, and which experts' texts the one that is used cannot read."""
    messages = []
    if not recipe.embedder and embedder.source != DEFAULT:
        reasons = "; ".join(unread(Embedder(), experts).values())
        messages.append(f"texts are compared by {embedder.source}, not by the default embedder: {reasons}")
    for id, reason in unread(embedder, experts).items():
        messages.append(f"routing by meaning will be poor for {id}: {reason}; {_HINT}")
    if error := _unreachable(embedder):
        messages.append(f"not checked: whether {embedder.source} reads the experts' samples ({error})")
    return tuple(Note(severity="warning", source="cogen", message=message) for message in messages)


def unread(embedder: Embedder, experts: Sequence[Expert]) -> dict[str, str]:
    """Experts whose language the embedder does not know, by id, with the reason.

    Their samples decide, by its tokenizer, and the languages that they declare, where the model's own are known.
    """
    found = {}
    trained_for = _TRAINED_FOR.get(embedder.source)
    for expert in experts:
        texts = sample_texts(expert) if expert.spec.samples is not None and expert.spec.samples.path else []
        reading = embedder.reading(texts) if texts and not _unreachable(embedder) else None
        others = {tag.split("-")[0].lower() for tag in expert.spec.languages} - {"unknown"}
        if reading is not None and reading.poor:
            found[expert.id] = (
                f"{embedder.source} cannot read {reading.unread_share:.0%} of the letters of its samples "
                f"({reading.unknown:,} of {reading.pieces:,} pieces are unknown)"
            )
        elif trained_for is not None and others and not others & trained_for:
            found[expert.id] = f"{embedder.source} was trained for {_list(trained_for)} alone, not for {_list(others)}"
    return found


def _unreachable(embedder: Embedder) -> str | None:
    """Why its tokenizer cannot be read here, if it cannot: a plan does not need it, only what is built does."""
    try:
        embedder.reading(["a"])
    except SourceError as error:
        return str(error)
    return None


def _ships_vector_alone(expert: Expert) -> bool:
    """Its publisher computed an embedding, and by the default model: with another it could not be compared."""
    samples = expert.spec.samples
    return samples is not None and samples.path is None and samples.embedding is not None


def _list(names: frozenset[str] | set[str]) -> str:
    return ", ".join(sorted(names))
