"""What is counted at every request, and written only now and then: downloads, and when tokens were used."""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from typing import Any

from sqlalchemy import select, update

from cogen_registry.database.tables import Downloads, Project, Token, now


class Tally:
    """In memory until :meth:`flush`; what a killed process had not written is lost, and nothing depends on it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._downloads: Counter[int] = Counter()
        self._tokens: dict[int, datetime.datetime] = {}

    def downloaded(self, project: int) -> None:
        with self._lock:
            self._downloads[project] += 1

    def used(self, token: int) -> None:
        with self._lock:
            self._tokens[token] = now()

    def flush(self, sessions: Any, *, tokens_too: bool = True) -> None:
        """Add what was counted since the last time; nothing is written where nothing was."""
        tokens: dict[int, datetime.datetime] = {}
        with self._lock:
            downloads, self._downloads = self._downloads, Counter()
            if tokens_too:
                tokens, self._tokens = self._tokens, {}
        if not downloads and not tokens:
            return
        with sessions.write() as session:
            # in one order, so that two processes of PostgreSQL's never wait for each other in a circle
            known = set(session.scalars(select(Project.id).where(Project.id.in_(list(downloads)))))
            for project in sorted(known):
                added = update(Downloads).where(Downloads.project_id == project)
                if not session.execute(added.values(number=Downloads.number + downloads[project])).rowcount:
                    session.add(Downloads(project_id=project, number=downloads[project]))
            for token in sorted(tokens):
                session.execute(update(Token).where(Token.id == token).values(used=tokens[token]))
