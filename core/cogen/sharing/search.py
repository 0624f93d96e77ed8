"""`cogen search`: in the registry, or without one among what is installed and in a static index."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from cogen.remote import fields
from cogen.remote.client import Client
from cogen.remote.errors import RegistryError
from cogen.sharing import pairs
from cogen.sharing.index import read_index
from cogen.sharing.sizes import size_range


@dataclass(frozen=True)
class RegistryQuery:
    """What is looked for; ``None``: whatever it is."""

    q: str = ""
    domain: str | None = None
    language: str | None = None
    license: str | None = None
    base: str | None = None
    size: str | None = None
    limit: int = 20


def ask(client: Client, query: RegistryQuery) -> tuple[int, list[dict[str, Any]], str | None]:
    """(how many there are, the best of them as cards, a note of the registry).

    :raises RegistryError: it can't be reached, or doesn't understand.
    """
    answer = client.get("/api/v1/experts", asdict(query) | {"licence": query.license})  # older registries
    try:
        cards = [fields.card(card) for card in answer["items"]]
        if not cards and "mirror" in str(answer.get("note")):  # files cannot search, but they list everything
            total, cards = choose(read_index(f"{client.url}/api/v1/index.json", client), query)
            return total, cards, "this is a mirror: it was searched by words alone"
        note = answer.get("note")
        return fields.whole(answer["total"]), cards, fields.line(note) if query.q and isinstance(note, str) else None
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise RegistryError(
            f"{client.url} answers in a form that is not known", hint="is this the URL of a registry?"
        ) from error


def installed_cards() -> list[dict[str, Any]]:
    """Cards of the experts that are installed here."""
    from cogen.host import Host
    from cogen.trust.receipts import receipts
    from cogen.wheels.installed import holds_code

    known = receipts()
    keys = {receipt.project: receipt.key for receipt in known}
    accounts = {receipt.project: receipt.publisher for receipt in known}
    found = []
    for plugin in Host.discover().plugins:
        if plugin.expert is None or plugin.state != "ok":
            continue
        document, project = plugin.expert.document, re.sub(r"[-_.]+", "-", plugin.distribution).lower()
        model = document["model"]
        base = model.get("base") or model
        found.append(
            {
                "id": plugin.name,
                "version": plugin.version,
                "project": project,
                "title": document["title"],
                "summary": document["summary"],
                "publisher": accounts.get(project, f"{document['publisher']} (claimed)"),
                "domains": document["domains"],
                "languages": document["languages"],
                "license": document["license"],
                "base": {"name": base.get("name"), "digest": base["weights_digest"]},
                "parameters": model["parameters"],
                "relation": model["relation"],
                "size": None,
                "signed": keys.get(project) is not None,
                "key": keys.get(project),
                "yanked": False,
                "installed": True,
                "code": holds_code(plugin.expert.root.parent, [plugin.expert.root.name]),
            }
        )
    return found


def choose(cards: list[dict[str, Any]], query: RegistryQuery) -> tuple[int, list[dict[str, Any]]]:
    """(how many fit, the best of them): filters as the registry has them, then by the words that a card holds."""
    sizes = size_range(query.size) if query.size else None
    fitting = [card for card in cards if _fits(card, query, sizes)]
    words = list(dict.fromkeys(pairs.words(query.q)))
    if words:
        scored = [(_score(card, words), card) for card in fitting]
        fitting = [card for score, card in sorted(scored, key=lambda one: -one[0]) if score]
    return len(fitting), fitting[: query.limit]


def _fits(card: dict[str, Any], query: RegistryQuery, sizes: tuple[float, float] | None) -> bool:
    base = card.get("base") or {}
    languages = [str(tag).lower() for tag in card.get("languages", ())]
    asked = (query.language or "").lower()
    return all(
        (
            not query.domain or query.domain.lower() in [str(one).lower() for one in card.get("domains", ())],
            not asked or any(tag == asked or tag.startswith(f"{asked}-") for tag in languages),
            not query.license or str(card.get("license", "")).lower() == query.license.lower(),
            not query.base or query.base.lower() in (str(base.get("name")).lower(), base.get("digest")),
            sizes is None or sizes[0] <= float(card.get("parameters") or 0) <= sizes[1],
        )
    )


def _score(card: dict[str, Any], words: list[str]) -> float:
    """A word in the name or a domain counts more than one in the text; beginnings of words count, too."""
    strong = " ".join([card["id"], str(card.get("title")), *map(str, card.get("domains", ()))]).lower()
    weak = str(card.get("summary")).lower()
    return sum(2.0 * _has(strong, word) + 1.0 * _has(weak, word) for word in words)


def _has(text: str, word: str) -> float:
    if pairs.is_run(word):
        return float(word in text)
    if re.search(rf"\b{re.escape(word)}\b", text):
        return 1.0
    return 0.5 if len(word) > 3 and re.search(rf"\b{re.escape(word[:-1])}", text) else 0.0
