"""A throw-away PostgreSQL in a temporary folder, over a socket that is a file."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
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

    def restart(self, pause: float = 0.0) -> None:
        """As after a crash: connections break, and for ``pause`` seconds and more nobody answers."""
        self.control("stop")
        time.sleep(pause)
        self.control("start")


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty database."""
    with server() as opened:
        yield opened.url


@contextmanager
def server() -> Iterator[Server]:
    """One that can be restarted."""
    folder, owner = binaries(), user()
    assert folder is not None
    assert owner is not None
    with tempfile.TemporaryDirectory(prefix="pg-") as home:
        run_as = {"user": owner} if os.geteuid() == 0 else {}
        shutil.chown(home, owner)
        place = Path(home) / "data"
        common = {"check": True, "stdout": subprocess.DEVNULL, "cwd": home}
        subprocess.run(
            [folder / "initdb", "-D", place, "-A", "trust", "-U", "cogen", "-E", "UTF8", "--locale=C.UTF-8"],
            **common,
            **run_as,
        )
        options = f"-k {home} -c listen_addresses='' -c fsync=off -c max_connections=200"

        def control(what: str) -> None:
            more = ["-o", options, "-l", Path(home) / "log"] if what == "start" else ["-m", "immediate"]
            subprocess.run([folder / "pg_ctl", "-D", place, "-w", *more, what], **common, **run_as)

        control("start")
        try:
            yield Server(f"postgresql+psycopg://cogen@/postgres?host={home}", control)
        finally:
            control("stop")
