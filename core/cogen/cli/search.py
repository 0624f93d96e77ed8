"""`cogen search`: find experts in the registry."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cogen.cli.arguments import renamed
from cogen.cli.output import Column, out
from cogen.untrusted.printable import one_line


def command(
    words: Annotated[
        list[str] | None,
        typer.Argument(help="Search terms, matched by word and by meaning; default: the newest experts."),
    ] = None,
    domain: Annotated[str | None, typer.Option(metavar="NAME", help="Domain, as experts declare it.")] = None,
    language: Annotated[str | None, typer.Option(metavar="TAG", help="Language (BCP 47), such as de or en-GB.")] = None,
    license: Annotated[str | None, typer.Option(metavar="SPDX", help="License (SPDX), such as Apache-2.0.")] = None,
    base: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Base model that it was trained from: a name or digest.")
    ] = None,
    size: Annotated[
        str | None, typer.Option(metavar="RANGE", help="Number of parameters: <200M, >=1B, 1B-7B, 135M.")
    ] = None,
    limit: Annotated[int, typer.Option(metavar="N", min=1, max=100, help="Maximum number of results.")] = 20,
    registry: Annotated[
        str | None, typer.Option(metavar="URL", help="Registry to use instead of the one that you logged in to.")
    ] = None,
    licence: Annotated[str | None, typer.Option("--licence", hidden=True)] = None,
) -> None:
    """Find experts in the registry; with none configured, among those installed and in a static index."""
    from cogen.sharing.index import read_index
    from cogen.sharing.search import RegistryQuery, ask, choose, installed_cards
    from cogen.trust.registries import chosen, static_index

    if licence is not None:
        renamed("--licence", "--license")
    query = RegistryQuery(" ".join(words or []), domain, language, license or licence, base, size, limit)
    where = chosen(registry)
    note = None
    if where is not None:
        from cogen.remote.client import Client

        total, cards, note = ask(Client(where, timeout=(5, 30)), query)
        place = where.url
    else:
        known = {card["id"]: card for card in read_index(index)} if (index := static_index()) else {}
        known |= {card["id"]: card for card in installed_cards()}
        total, cards = choose(list(known.values()), query)
        place = "the installed experts" + (f" and {index}" if index else "")
    if cards:
        size_column = Column("size", justify="right")
        heads: list[str | Column] = ["id", "title", "publisher", "license", size_column, "signed", "kind"]
        out.table([_row(card) for card in cards], heads)
    if note:
        out.hint(note)
    if total > len(cards):
        out.status(f"{len(cards)} of {total:,} in {place}; --limit shows more")
    elif not cards:
        out.status(f"no match in {place}")
    if where is None:
        out.hint("no registry is configured: run `cogen login URL --read-only`")
    elif cards:
        out.hint(f"cogen add {cards[0].get('id')}")
    # "licence" is the former name of "license"; cards have both.
    found = [card | dict.fromkeys(("license", "licence"), card.get("license") or card.get("licence")) for card in cards]
    out.result({"source": place, "total": total, "experts": found})


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
    """Without control characters, which a terminal would act on."""
    return one_line(text or "")
