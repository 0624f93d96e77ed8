"""Search by words: FTS5 on SQLite, tsvector on PostgreSQL. Both are kept by the database, see migration 0002."""

from __future__ import annotations

import json

from sqlalchemy import text
from sqlalchemy.orm import Session

from cogen.sharing import pairs

#: A longer query is a text; its meaning is searched, its later words are not.
MOST_WORDS = 16
#: They say nothing of a subject and cost the most to look up: English, as PostgreSQL's own list has them.
_STOP = frozenset(
    """
    a about above after again against all am an and any are as at be because been before being below between
    both but by can did do does doing down during each few for from further had has have having he her here hers
    him his how i if in into is it its just me more most my no nor not now of off on once only or other our out
    over own same she should so some such than that the their them then there these they this those through to
    too under until up very was we were what when where which while who whom why will with you your
    """.split()  # noqa: SIM905
)
#: A word that stands in so many texts says little; looking for *any* of such words would be slow and find everything.
COMMON = 5_000
#: Weights of title, summary and the rest; PostgreSQL's own for A, B and D are 1.0, 0.4 and 0.1.
#: The + keeps SQLite from running the whole query anew for every id.
_SQLITE = (
    "SELECT rowid FROM experts_text WHERE experts_text MATCH :query {only} "
    "ORDER BY bm25(experts_text, 8.0, 4.0, 1.0), rowid LIMIT :limit",
    "AND +rowid IN (SELECT value FROM json_each(:ids))",
    "SELECT count(*) FROM (SELECT 1 FROM experts_text WHERE experts_text MATCH :query LIMIT :limit)",
)
_POSTGRESQL = (
    "SELECT id FROM experts, websearch_to_tsquery('english', :query) AS query WHERE current AND words @@ query {only} "
    "ORDER BY ts_rank(words, query) DESC, id LIMIT :limit",
    "AND id IN (SELECT value::integer FROM json_array_elements_text(cast(:ids AS json)))",
    "SELECT count(*) FROM (SELECT 1 FROM experts, websearch_to_tsquery('english', :query) AS query "
    "WHERE current AND words @@ query LIMIT :limit) AS found",
)


def words_of(query: str) -> list[str]:
    """The words of a query, at most :data:`MOST_WORDS`, each once; stop words only if there are no others.

    Scripts without spaces are searched in pairs of characters, see :mod:`cogen.sharing.pairs`.
    """
    words = list(dict.fromkeys(pairs.words(query)))
    return ([word for word in words if word not in _STOP] or words)[:MOST_WORDS]


def ranked(session: Session, query: str, limit: int, only: list[int] | None = None, enough: int = 10) -> list[int]:
    """Ids of current experts, best first: those that hold all words, then, if these are few, those that hold some.

    :param limit: the most of each of the two kinds.
    :param only: among these ids.
    :param enough: with so many that hold all words, nobody asks for the others.
    """
    # Quoted: nothing that a user writes is an operator. No word holds a quote.
    words = [f'"{word}"' for word in words_of(query)]
    if not words:
        return []
    postgresql = session.get_bind().dialect.name == "postgresql"
    search, among, count = _POSTGRESQL if postgresql else _SQLITE
    statement = text(search.format(only="" if only is None else among))
    values = {"limit": limit} | ({} if only is None else {"ids": json.dumps(only)})
    found = list(session.scalars(statement, values | {"query": " ".join(words)}))
    if len(found) < enough and len(words) > 1:
        frequent = {w: session.scalar(text(count), {"query": w, "limit": COMMON}) or 0 for w in words}
        rare = [word for word in words if frequent[word] < COMMON] or [min(words, key=lambda word: frequent[word])]
        either = (" or " if postgresql else " OR ").join(rare)
        found += session.scalars(statement, values | {"query": either})
    return list(dict.fromkeys(found))
