"""A throw-away PostgreSQL in a temporary folder, over a socket that is a file."""

from __future__ import annotations

import atexit
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path


def binaries() -> Path | None:
    """The folder that holds ``initdb``, of the newest version that is installed."""
    if found := shutil.which("initdb"):
        return Path(found).parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: int(path.parent.name))
    return next((folder for folder in reversed(folders) if (folder / "initdb").exists()), None)


def user() -> str | None:
    """Who runs it: the server refuses to be root. ``None``: nobody else is here."""
    if os.geteuid():
        return pwd.getpwuid(os.geteuid()).pw_name
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        return None


@dataclass
class Server:
    """A running server. ``url``: of its empty database."""

    url: str
    control: Callable[[str], None]

    @contextmanager
    def fresh(self) -> Iterator[Server]:
        """The same server with another empty database."""
        import psycopg

        name = f"test_{secrets.token_hex(8)}"
        plain = self.url.replace("+psycopg", "")

        def run(statement: str) -> None:
            with psycopg.connect(plain, autocommit=True) as connection:
                connection.execute(statement)

        run(f"CREATE DATABASE {name} TEMPLATE template0")
        try:
            yield Server(self.url.replace("/postgres?", f"/{name}?"), self.control)
        finally:
            run(f"DROP DATABASE {name} WITH (FORCE)")

    def restart(self, pause: float = 0.0) -> None:
        """As after a crash: connections break, and for ``pause`` seconds and more nobody answers."""
        self.control("stop")
        time.sleep(pause)
        self.control("start")


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty database, of a server that all tests of this process share."""
    with _shared().fresh() as fresh:
        yield fresh.url


@cache
def _shared() -> Server:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(server())


@contextmanager
def server() -> Iterator[Server]:
    """One that can be restarted."""
    folder, owner = binaries(), user()
    assert folder is not None
    assert owner is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as home:
        run_as = owner if os.geteuid() == 0 else None
        shutil.chown(home, owner)
        place = Path(home) / "data"

        def run(*command: str | Path) -> None:
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=home, user=run_as)

        run(folder / "initdb", "-D", place, "-A", "trust", "-U", "cogen", "-E", "UTF8", "--locale=C.UTF-8")
        options = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=200"

        def control(what: str) -> None:
            more = ["-o", options, "-l", Path(home) / "log"] if what == "start" else ["-m", "immediate"]
            run(folder / "pg_ctl", "-D", place, "-w", *more, what)

        control("start")
        try:
            yield Server(f"postgresql+psycopg://cogen@/postgres?host={home}", control)
        finally:
            control("stop")
