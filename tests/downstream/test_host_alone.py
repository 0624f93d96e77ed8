"""`pip install cogen-core` and nothing else: what the host alone can do, and what it says of the rest."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from importlib.metadata import distributions
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network]

_ROOT = Path(__file__).parents[2]
#: Millions of bytes of site-packages without pip, and distributions: 102 and 56 when this was written.
_SIZE, _COUNT = 120, 65


class HostAlone:
    """A virtual environment with cogen-core and one plugin."""

    def __init__(self, folder: Path) -> None:
        venv.create(folder, with_pip=True)
        self.home = folder
        self.bin = folder / ("Scripts" if os.name == "nt" else "bin")
        (self.packages,) = folder.glob("[Ll]ib/**/site-packages")
        self.run("python", "-m", "pip", "install", "--quiet", str(_ROOT))

    def run(self, command: str, *arguments: str, code: int = 0) -> str:
        """stdout of one command, which ends with the exit code ``code``."""
        env = {key: value for key, value in os.environ.items() if not key.startswith(("COGEN_", "PYTHON"))}
        env |= {"COGEN_CACHE": str(self.home / "cache"), "COGEN_CONFIG": str(self.home / "config")}
        run = subprocess.run(
            [str(self.bin / command), *arguments], cwd=self.home, env=env, capture_output=True, text=True, check=False
        )
        assert run.returncode == code, f"{command} {arguments}: {run.stdout}\n{run.stderr}"
        assert "Traceback" not in run.stderr
        return run.stdout

    def installed(self) -> set[str]:
        return {found.name.lower().replace("_", "-") for found in distributions(path=[str(self.packages)])}


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> HostAlone:
    return HostAlone(tmp_path_factory.mktemp("host") / "env")


def test_it_is_small(host: HostAlone) -> None:
    installed = host.installed() - {"pip", "setuptools"}
    assert not {"torch", "transformers", "numpy", "scipy", "lm-eval", "peft", "sentence-transformers"} & installed
    assert "cogen-core" in installed
    assert len(installed) <= _COUNT
    tools = {"pip", "setuptools", "pkg_resources", "_distutils_hack"}
    files = (file for file in host.packages.rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    size = sum(file.stat().st_size for file in files if file.relative_to(host.packages).parts[0] not in tools)
    assert size <= _SIZE * 1e6


def test_from_a_new_plugin_to_a_verified_one(host: HostAlone) -> None:
    """new, list, show, check, verify, doctor, search, publish --dry-run, remove: without a library of the extra."""
    assert "Build one model" in host.run("cogen", "--help")
    host.run("cogen", "new", "my-law", "-o", "my-law", "--license", "Apache-2.0", "--publisher", "Me")
    host.run("python", "-m", "pip", "install", "--quiet", "--no-deps", "./my-law")
    (row,) = json.loads(host.run("cogen", "list", "--json"))["experts"]
    assert (row["expert"], row["state"]) == ("my-law", "ok")
    assert json.loads(host.run("cogen", "show", "my-law", "--json"))["id"] == "my-law"
    report = json.loads(host.run("cogen", "check", "my-law", "--json"))
    assert (report["passed"], report["level"]) == (True, "static")
    assert len(report["checks"]) >= 10
    assert "my-law" in host.run("cogen", "verify", "--json")
    assert json.loads(host.run("cogen", "doctor", "--json"))["healthy"] is True
    assert "properties" in json.loads(host.run("cogen", "schema"))
    assert json.loads(host.run("cogen", "search", "law", "--json"))
    host.run("cogen", "publish", "my-law", "--to", "hub", "--dry-run", "--json")
    assert json.loads(host.run("cogen", "remove", "my-law", "--yes", "--json"))["uninstalled"] is True


@pytest.mark.parametrize("arguments", [("fuse",), ("plan", "power"), ("eval", "base"), ("chat", "x", "-p", "y")])
def test_the_rest_says_what_to_install(host: HostAlone, arguments: tuple[str, ...]) -> None:
    answer = json.loads(host.run("cogen", *arguments, "--json", code=1))
    assert answer == {
        "error": f"cogen {arguments[0]} needs torch and transformers",
        "hint": 'pip install "cogen-core[fuse]"',
    }
    assert "--json" in host.run("cogen", arguments[0], "--help")


def test_importing_from_python_loads_no_library_of_the_extra(host: HostAlone) -> None:
    code = (
        "import sys, cogen; cogen.Host.discover(); print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    assert host.run("python", "-c", code).strip() == "[]"
