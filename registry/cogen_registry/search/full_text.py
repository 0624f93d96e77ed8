"""Search by words: FTS5 on SQLite, tsvector on PostgreSQL. Both are kept by the database, see migration 0002."""

from __future__ import annotations

import re

from sqlalchemy import text
from sqlalchemy.orm import Session

#: A longer query is a text; its meaning is searched, its later words are not.
MOST_WORDS = 16
#: They stand in nearly every text and cost the most to look up. PostgreSQL's own list is longer.
_STOP = frozenset(
    ("a", "an", "and", "are", "as", "at", "be", "by", "for", "from", "has", "in", "into", "is", "it", "its", "of", "on",
     "or", "that", "the", "this", "to", "was", "were", "which", "with")
)  # fmt: skip
#: Weights of title, summary and the rest; PostgreSQL's own for A, B and D are 1.0, 0.4 and 0.1.
_SQLITE = text(
    "SELECT rowid FROM experts_text WHERE experts_text MATCH :query "
    "ORDER BY bm25(experts_text, 8.0, 4.0, 1.0), rowid LIMIT :limit"
)
_POSTGRESQL = text(
    "SELECT id FROM experts, websearch_to_tsquery('english', :query) AS query WHERE current AND words @@ query "
    "ORDER BY ts_rank(words, query) DESC, id LIMIT :limit"
)


def words_of(query: str) -> list[str]:
    """The words of a query, at most :data:`MOST_WORDS`, each once; stop words only if there are no others."""
    words = list(dict.fromkeys(re.findall(r"\w+", query.casefold())))
    return ([word for word in words if word not in _STOP] or words)[:MOST_WORDS]


def ranked(session: Session, query: str, limit: int, enough: int = 10) -> list[int]:
    """Ids of current experts, best first: those that hold all words, then, if these are few, those that hold some.

    :param limit: the most of each of the two kinds.
    :param enough: with so many that hold all words, nobody asks for the others.
    """
    words = words_of(query)
    if not words:
        return []
    # Quoted: nothing that a user writes is an operator. No word holds a quote.
    quoted = [f'"{word}"' for word in words]
    postgresql = session.get_bind().dialect.name == "postgresql"
    statement = _POSTGRESQL if postgresql else _SQLITE
    found = list(session.scalars(statement, {"query": " ".join(quoted), "limit": limit}))
    if len(found) < enough and len(words) > 1:
        either = (" or " if postgresql else " OR ").join(quoted)
        found += session.scalars(statement, {"query": either, "limit": limit})
    return list(dict.fromkeys(found))
