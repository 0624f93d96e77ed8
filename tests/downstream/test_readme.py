"""The README's section "Publish an expert", followed to the letter, by real pip in an environment of its own.

The two comment lines of its commands are instructions for a person; here the texts are the docstrings of Python's own
library, and the card is filled in with few tokens, so that training takes a minute and not a quarter of an hour.
"""

from __future__ import annotations

import ast
import json
import re
import shlex
import sysconfig
from pathlib import Path

import pytest
from downstream.environment import Environment

pytestmark = [pytest.mark.slow, pytest.mark.network]

_README = Path(__file__).parents[2] / "README.md"


def commands() -> list[str]:
    """The lines of the section's code block."""
    section = _README.read_text(encoding="utf-8").split("## Publish an expert")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, flags=re.S)
    assert block is not None
    return [line for line in block[1].splitlines() if line.strip()]


def write_texts(folder: Path) -> None:
    """Docstrings of the standard library (PSF-2.0), one document a file."""
    for old in folder.glob("*.txt"):
        old.unlink()
    count = 0
    for file in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
                text = ast.get_docstring(node) or ""
                if 400 < len(text) < 1500:
                    (folder / f"{count:04}.txt").write_text(text, encoding="utf-8")
                    count += 1
    assert count > 200


def fill_card(recipe: Path) -> None:
    """What the recipe's TODO lines ask for."""
    text = recipe.read_text(encoding="utf-8")
    text = re.sub(r'summary = "TODO[^"]*"', 'summary = "The documentation of Python\'s own library"', text)
    text = re.sub(r'collected = "TODO[^"]*"', 'collected = "2023"', text)
    text = re.sub(r'license_evidence = "TODO[^"]*"', 'license_evidence = "LICENSE.txt of Python: PSF license"', text)
    text = text.replace('license = "TODO"', 'license = "PSF-2.0"').replace('publisher = "TODO"', 'publisher = "Me"')
    text = text.replace('leaves = "nothing"', 'leaves = "heldout"')
    text = text.replace('personal_data = "unknown"', 'personal_data = "none"')
    text = re.sub(r"^tokens = \d+", "tokens = 16384", text, flags=re.M)
    assert '"TODO' not in text
    recipe.write_text(text, encoding="utf-8")


def test_publishing_as_the_readme_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From nothing to a composite that holds the new expert, by the README's commands alone."""
    environment = Environment(tmp_path / "env", keep=("COGEN_PLUGINS", "COGEN_CACHE"))
    done = []
    for line in commands():
        if line.startswith("# your texts"):
            write_texts(tmp_path / "cogen-plugin-tides" / "texts")
        elif line.startswith("# your card"):
            fill_card(tmp_path / "cogen-plugin-tides" / "recipe.toml")
        else:
            if line == "cogen fuse":  # together with one reference expert, where one is installed
                monkeypatch.setenv("COGEN_PLUGINS", "tides")
            tool, *arguments = shlex.split(line)
            extra = ["--no-deps", "--quiet"] if arguments[0] == "install" else []
            environment.run(tool, *arguments, *extra, cwd=tmp_path)
            done.append(line)
    assert done[-1] == "cogen fuse"
    lock = json.loads((tmp_path / "composite" / "cogen.lock").read_text())
    assert [expert["id"] for expert in lock["plan"]["experts"]] == ["tides"]
    matrix = lock["matrix"]["cells"]
    assert matrix["tides"]["tides/heldout"]["value"] < matrix["base"]["tides/heldout"]["value"]
    assert (tmp_path / "composite" / "report.html").is_file()
