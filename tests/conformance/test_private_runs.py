"""Private text in a comment, a description or a docstring: found where the text is at hand."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit
from support.hospital import chinese, english
from support.private import expert_with, private_files, private_manifest
from support.training import agree, recipe_document, source

from cogen.conformance.private_runs import check_private_runs
from cogen.conformance.result import Check
from cogen.host import Expert

WORDS = english(3).split()
RUN = " ".join(WORDS[2:10])
ESCAPED = "".join(f"\\u{ord(character):04x}" for character in RUN)


def home(folder: Path, leaves: str = "figures") -> Path:
    """A recipe's folder with texts of patients, and a held-out one in ``private/`` alone."""
    texts = folder / "texts"
    texts.mkdir(parents=True)
    for number in range(20):
        (texts / f"{number}.txt").write_text(f"{english(number)}\n\n{chinese(number)}", encoding="utf-8")
    (folder / "private").mkdir()
    (folder / "private" / "test.jsonl").write_text(json.dumps({"text": english(99)}) + "\n")
    document = recipe_document({})
    document["base"] = "smollm2-135m"
    personal = "present" if leaves == "figures" else "none"
    document["corpus"] |= {"min_characters": 40, "max_characters": 400}
    document["corpus"]["sources"] = [source(heldout=False, leaves=leaves, personal_data=personal)]
    agree(document["card"], document["corpus"]["sources"])
    (folder / "recipe.toml").write_text(tomlkit.dumps(document))
    return folder


def package(folder: Path, name: str = "", content: str = "") -> Expert:
    more = {name: content.encode()} if name else {}
    return expert_with(folder, private_manifest(), private_files() | more)


def checked(expert: Expert, folder: Path) -> Check:
    (found,) = check_private_runs(expert, folder)
    return found


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("hooks.py", f'"""{RUN}"""\n'),
        ("hooks.py", f'NAME = b"{ESCAPED}"  # no escape in bytes\nOTHER = "{ESCAPED}"\n'),
        ("hooks.py", f"x = 1\n# {' '.join(WORDS[2:6])}\n# {' '.join(WORDS[6:10])}\n"),
        ("suites/heldout.yaml", f'description: "{RUN}"\n'),
        ("suites/heldout.yaml", f"task: x\n# {RUN}\n"),
        ("README.md", f"# Ward\n\n{RUN}\n"),
        ("more.toml", f'x = "{ESCAPED}"\n'),
        ("weights/chat_template.jinja", f"{{# {RUN} #}}"),
        ("hooks.py", f"# {chinese(4)[4:16]}\n"),
        ("hooks.py", f"# {' '.join(english(99).split()[:8])}\n"),
    ],
)
def test_a_run_of_private_text(tmp_path: Path, name: str, content: str) -> None:
    """Refused with the file's name; the text is not repeated."""
    found = checked(package(tmp_path / "package", name, content), home(tmp_path / "home"))
    assert found.ok is False
    assert found.message.startswith(f"{name} holds ")
    assert "of private text" in found.message
    assert WORDS[1] not in found.message


@pytest.mark.parametrize("content", ["", f"# {' '.join(WORDS[2:9])}\n", f"# {chinese(4)[4:15]}\n"])
def test_less_than_a_run(tmp_path: Path, content: str) -> None:
    """Seven words, or eleven characters, may be anybody's."""
    found = checked(package(tmp_path / "package", "hooks.py", content), home(tmp_path / "home"))
    assert (found.ok, found.message[:24]) == (True, "no run of private text i")


def test_where_there_is_no_private_text(tmp_path: Path) -> None:
    """Text that ships may stand anywhere; what cannot be read is not called checked."""
    folder = home(tmp_path / "home", "heldout")
    (folder / "private" / "test.jsonl").unlink()
    assert list(check_private_runs(package(tmp_path / "package", "hooks.py", f"# {RUN}\n"), folder)) == []
    other = home(tmp_path / "other")
    for file in (other / "texts").iterdir():
        file.unlink()
    found = checked(package(tmp_path / "package"), other)
    assert found.ok is None
    assert found.message.startswith("not checked, the private text cannot be read")
