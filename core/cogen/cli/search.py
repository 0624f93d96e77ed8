"""`cogen search`: which experts are there for what you need?"""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cogen.cli.output import Column, out


def command(
    words: Annotated[list[str] | None, typer.Argument(help="Words, or what is meant; without any: the newest.")] = None,
    domain: Annotated[str | None, typer.Option(help="A domain, as experts name it.")] = None,
    language: Annotated[str | None, typer.Option(help="BCP 47, such as de or en-GB.")] = None,
    licence: Annotated[str | None, typer.Option(help="SPDX, such as Apache-2.0.")] = None,
    base: Annotated[str | None, typer.Option(help="Name or digest of the model that it was trained from.")] = None,
    size: Annotated[str | None, typer.Option(help="Parameters: <200M, >=1B, 1B-7B, 135M.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="At most so many.")] = 20,
    registry: Annotated[str | None, typer.Option(help="URL, instead of the one that you logged in at.")] = None,
) -> None:
    """Find experts in the registry; with none configured, among those installed and in a static index."""
    from cogen.sharing.search import RegistryQuery, ask, choose, installed_cards, read_index
    from cogen.trust.registries import chosen, static_index

    wish = RegistryQuery(" ".join(words or []), domain, language, licence, base, size, limit)
    where = chosen(registry)
    note = None
    if where is not None:
        from cogen.remote.client import Client

        total, cards, note = ask(Client(where, timeout=(5, 30)), wish)
        place = where.url
    else:
        known = {card["id"]: card for card in read_index(index)} if (index := static_index()) else {}
        known |= {card["id"]: card for card in installed_cards()}
        total, cards = choose(list(known.values()), wish)
        place = "what is installed" + (f" and {index}" if index else "")
    if cards:
        heads = ["id", "title", "publisher", "license", Column("size", justify="right"), "signed", "kind"]
        out.table([_row(card) for card in cards], heads)
    if note:
        out.hint(note)
    if total > len(cards):
        out.status(f"{len(cards)} of {total:,} in {place}; --limit shows more")
    elif not cards:
        out.status(f"nothing fits in {place}")
    if where is None:
        out.hint("no registry is configured: `cogen login URL --read-only` names one")
    elif cards:
        out.hint(f"cogen add {cards[0].get('id')}")
    out.result({"source": place, "total": total, "experts": cards})


def _row(card: dict[str, Any]) -> dict[str, Any]:
    from cogen.sharing.sizes import shown

    return {
        "id": _plain(card.get("id")),
        "title": _plain(card.get("title")),
        "publisher": _plain(card.get("publisher")),
        "license": _plain(card.get("license") or card.get("licence")),
        "size": shown(float(card.get("parameters") or 0)),
        "signed": "yes" if card.get("signed") else "no",
        "kind": "code" if card.get("code") is True else "data" if card.get("code") is False else "?",
    }


def _plain(text: Any) -> str:
    """What a terminal would obey is left out."""
    return "".join(c if c.isprintable() else " " for c in str(text or ""))
