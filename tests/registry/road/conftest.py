"""One registry in a process of its own for each file of this room, and people with machines of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from support.served import Served, serving
from support.town import Town
from support.users import User, Users

#: Nothing of the settings of whoever runs the tests.
_OURS = ("COGEN_", "HF_", "HUGGING", "PIP_", "UV_", "TWINE_", "PYTHONPATH")
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
    "PIP_CONFIG_FILE": os.devnull,
    "UV_NO_CONFIG": "1",
    "NO_COLOR": "1",
    "OMP_NUM_THREADS": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Slow clients are cut off after two seconds, not thirty."""
    with serving(tmp_path_factory.mktemp("served") / "root", slow_seconds=2.0) as opened:
        yield opened
        opened.healthy()


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Users:
    """Makes a user of the command line, by name."""

    def make(name: str) -> User:
        home = tmp_path / name
        home.mkdir()
        return User(home, monkeypatch, capsys)

    return make


@dataclass
class Machine:
    """A home folder and a virtual environment; programs run there as a person would start them."""

    home: Path
    python: Path

    def run(self, *command: str | Path, check: bool = True, **environment: str) -> str:
        env = CLEAN | {"HOME": str(self.home), "COGEN_CACHE": str(self.home / "cache")} | environment
        env |= {"COGEN_CONFIG": str(self.home / "config"), "HF_HOME": str(self.home / "hf")}
        done = subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            env=env,
            cwd=self.home,
            timeout=300,
            check=False,
        )
        assert (done.returncode == 0) is check, done.stdout + done.stderr
        return done.stdout if check else done.stdout + done.stderr

    def cogen(self, *arguments: str, **environment: str) -> Any:
        """What `cogen … --json` says."""
        return json.loads(self.run(self.python, "-m", "cogen", *arguments, "--json", check=True, **environment))


#: Makes a machine by name.
Machines = Callable[[str], Machine]


@pytest.fixture
def machines(users: Users) -> Machines:
    """The environment is that of :class:`support.users.User`: empty, in front of the packages that run the tests."""

    def make(name: str) -> Machine:
        user = users(name)
        return Machine(user.home, user.env / "bin" / "python")

    return make


@pytest.fixture(scope="session")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two teams: ``grid`` is signed and has its weights apart, ``solar`` is not signed. A third one has little room."""
    folder = tmp_path_factory.mktemp("town")
    with serving(folder / "root", unpacked=100_000_000) as served:
        made = Town(served, folder)
        made.publish("team", "grid", "1.0")
        made.publish("team", "grid", "1.1")
        made.publish("team", "solar", signed=False)
        made.publish("rival", "wind")
        served.hub("poor").create("model")
        served.limit("poor", wheel=20_000, weight=30_000, publisher=40_000)
        yield made


@pytest.fixture(scope="session")
def owner(town: Town) -> User:
    """Somebody who installed ``grid`` before anything happened."""
    user = town.user()
    user.ok("add", "grid")
    return user


@pytest.fixture
def standing(town: Town, owner: User) -> Iterator[None]:
    """Whatever happens: nothing is lost, nothing is left, the service is up."""
    before, traces = town.held(), owner.trace()
    yield
    town.stands()
    assert town.held() == before
    (finding,) = owner.ok("verify", "grid")["findings"]
    assert (finding["ok"], finding["notes"], finding["publisher"]) == (True, [], "team")
    assert owner.trace() == traces
