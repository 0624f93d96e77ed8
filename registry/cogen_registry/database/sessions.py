"""From a URL to sessions: SQLite with a write-ahead log by default, PostgreSQL by URL."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, create_engine, event, text
from sqlalchemy.orm import Session, sessionmaker

from cogen_registry.database import feed
from cogen_registry.database.tally import Tally

#: Number of the lock under which a PostgreSQL database is migrated: replicas start at the same moment.
_MIGRATION = 0x636F67656E


def connect(url: str, lock_seconds: float = 30.0) -> Engine:
    """An engine whose SQLite connections check foreign keys and sync every commit to the disk.

    ``lock_seconds``: how long a writer waits for another one on SQLite.
    Connections to a server are tried before they are used: those of before its restart are replaced.
    """
    sqlite = url.startswith("sqlite")
    arguments = (
        {"timeout": lock_seconds} if sqlite else {"connect_timeout": 5} if "psycopg" in url.partition(":")[0] else {}
    )
    engine = create_engine(
        url,
        connect_args=arguments,
        pool_size=20,
        max_overflow=20,
        pool_pre_ping=not sqlite,
        pool_timeout=20,
        hide_parameters=True,  # an error in the log would show what somebody sent
    )
    if sqlite:

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, record: Any) -> None:
            connection.isolation_level = None  # begin() below, so that a transaction really is one
            # 4 MB a connection: every thread has one, and the system keeps the file in its own cache anyway.
            for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "cache_size=-4096"):
                connection.execute(f"PRAGMA {pragma}")

        @event.listens_for(engine, "begin")
        def begin(connection: Any) -> None:
            # A reader that turns writer fails at once where another writes; who says that it will write waits.
            mode = connection.get_execution_options().get("sqlite_begin", "")
            connection.exec_driver_sql(f"BEGIN {mode}".strip())

    return engine


class Sessions:
    """``with sessions.read() as s`` and ``with sessions.write() as s`` (committed at the end, or rolled back)."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.tally = Tally()
        self.read = sessionmaker(engine, expire_on_commit=False)
        #: Where listeners to transactions that write are added.
        self.writing = sessionmaker(engine.execution_options(sqlite_begin="IMMEDIATE"), expire_on_commit=False)
        #: Called before each commit: they may write more, or raise where this process may not write any longer.
        self.guards: list[Callable[[Session], None]] = []
        self._recorded = threading.local()

    @property
    def postgresql(self) -> bool:
        """Several processes may share it."""
        return self.engine.dialect.name == "postgresql"

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction: whole or not at all. Writers wait for each other.

        What it changes it says with :func:`cogen_registry.database.feed.change`.
        """
        with self.writing.begin() as session:
            yield session
            session.flush()
            for guard in self.guards:
                guard(session)
            recorded = feed.record(session)  # last: others wait from here to the commit
        self._recorded.yes = recorded or self.recorded()

    def bare(self) -> AbstractContextManager[Session]:
        """A transaction of the machinery itself: nobody is asked, and nothing is written down of it."""
        return self.writing.begin()

    def recorded(self) -> bool:
        """Did this thread record a change since it asked last?"""
        found: bool = getattr(self._recorded, "yes", False)
        self._recorded.yes = False
        return found


def migrate(engine: Engine) -> None:
    """Bring the database to the newest revision; an empty one gets all tables."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _MIGRATION})
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


__all__ = ["Session", "Sessions", "connect", "migrate"]
