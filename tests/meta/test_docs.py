"""The documents say what is so: verbs, options, settings and files that they name exist."""

from __future__ import annotations

import importlib
import re
import shlex
import tomllib
from pathlib import Path

import pytest

from cogen.cli.main import VERBS, main
from cogen.fusion.distill.losses.names import known
from cogen.fusion.recipe import FuseRecipe
from cogen.host.builtin import METHODS

_ROOT = Path(__file__).parents[2]
_DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "docs/merging.md",
    "docs/mixtures.md",
    "docs/distillation.md",
    "docs/security.md",
    "docs/conformance.md",
    "docs/registry.md",
    "registry/README.md",
)


def _commands() -> list[str]:
    """Every `cogen …` line of the README's code blocks, without comments."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```sh\n(.*?)```", text, flags=re.S)
    lines = [part.strip() for block in blocks for line in block.splitlines() for part in line.split("#")[0].split("&&")]
    return [line for line in lines if line.startswith("cogen ")]


@pytest.mark.parametrize("line", _commands())
def test_commands_of_the_readme_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The verb is one of ours and takes every option that the line gives it."""
    _, verb, *arguments = shlex.split(line)
    assert verb in VERBS
    assert main([verb, "--help"]) == 0
    told = capsys.readouterr().out
    if "Commands:" in told:  # a group: the options are those of its sub-command
        assert main([verb, arguments[0], "--help"]) == 0
        told = capsys.readouterr().out
    for option in (argument for argument in arguments if argument.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", told), f"cogen {verb} has no {option}"


def test_every_verb_stands_in_the_readme() -> None:
    """A verb that nobody is told of is not there."""
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert [verb for verb in VERBS if f"cogen {verb}" not in text] == []


def test_every_setting_is_documented() -> None:
    """Each COGEN_ variable that the code reads stands in the README."""
    sources = "\n".join(file.read_text(encoding="utf-8") for file in (_ROOT / "core").rglob("*.py"))
    read = set(re.findall(r"environ(?:\.get\(|\[)\"(COGEN_[A-Z]+)\"", sources))
    assert read, "the pattern finds nothing any more"
    text = (_ROOT / "README.md").read_text(encoding="utf-8")
    assert sorted(name for name in read if name not in text) == []


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    """Links, and paths in code marks that look like files of this repository."""
    text = (_ROOT / document).read_text(encoding="utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:core|examples|benchmarks|tests|plugins|registry)/[\w./-]*)`", text)
    assert [path for path in links if not ((_ROOT / document).parent / path).exists()] == []
    assert [path for path in paths if not (_ROOT / path).exists()] == []


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_sections_that_links_name_exist(document: str) -> None:
    """As GitHub makes anchors of headings: lower case, dashes for spaces, no punctuation."""
    text = (_ROOT / document).read_text(encoding="utf-8")
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", text):
        target = (_ROOT / document).parent / path if path else _ROOT / document
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
        assert anchor in [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]


def _operators_commands() -> list[str]:
    """Every `cogen-registry …` line of the documents' code blocks, without comments."""
    lines = []
    for document in ("README.md", "docs/registry.md"):
        text = (_ROOT / document).read_text(encoding="utf-8").replace("\\\n", " ")
        for block in re.findall(r"```sh\n(.*?)```", text, flags=re.S):
            lines += [line.split("#")[0].strip() for line in block.splitlines()]
    return sorted({line for line in lines if line.startswith("cogen-registry ")})


@pytest.mark.parametrize("line", _operators_commands())
def test_commands_of_operators_exist(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The command is there and takes every option that the line gives it."""
    from cogen_registry.cli import main as registry

    _, *words = shlex.split(line)
    assert registry([words[0], "--help"]) == 0
    told = capsys.readouterr().out
    if "Commands:" in told:
        assert registry([*words[:2], "--help"]) == 0
        told = capsys.readouterr().out
    for option in (word for word in words if word.startswith("-")):
        assert re.search(rf"(^|[\s,]){re.escape(option)}\b", told), f"cogen-registry {words[0]} has no {option}"


def test_every_test_that_the_security_page_names_exists() -> None:
    """docs/security.md says of each attack which test shows that it is refused."""
    text = (_ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if re.match(r"\| (?!attack|---|who|\*\*)", line)]
    assert len(rows) > 70
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py", row.rsplit("|", 2)[1])] == []
    named = {tuple(one.split("::")) for one in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", text)}
    missing = []
    for path, *names in sorted(named):
        found = (_ROOT / path).read_text(encoding="utf-8") if (_ROOT / path).is_file() else ""
        if not found or not all(re.search(rf"\b(?:def|class) {name}\b", found) for name in names):
            missing.append("::".join((path, *names)))
    assert missing == []


def test_no_file_is_too_long_to_read() -> None:
    """No Python file of ours is over 500 lines."""
    files = [f for folder in ("core", "tests", "benchmarks", "examples") for f in (_ROOT / folder).rglob("*.py")]
    assert [str(f) for f in files if len(f.read_text(encoding="utf-8").splitlines()) > 500] == []


def test_the_departures_from_mergekit_are_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/merging.md has the table that `benchmarks/merge.py correctness` checks, line by line."""
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks"))
    departures = importlib.import_module("merging.departures")
    text = (_ROOT / "docs" / "merging.md").read_text(encoding="utf-8")
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (entry.methods, entry.documented, entry.does)) + " |"
        for entry in departures.table()
    ]
    assert len(lines) > 20
    assert [line for line in lines if line not in text] == []


def test_every_distillation_loss_stands_in_the_documents() -> None:
    """And every field of the recipe's table that its example shows exists."""
    text = (_ROOT / "docs" / "distillation.md").read_text(encoding="utf-8")
    assert [name for name in known() if f"`{name}`" not in text] == []
    (shown,) = re.findall(r"```toml\n(.*?)```", text, flags=re.S)
    FuseRecipe.model_validate(tomllib.loads(shown))


def test_every_method_stands_in_the_documents() -> None:
    """With the paper or library that it equals."""
    text = (_ROOT / "docs" / "merging.md").read_text(encoding="utf-8")
    assert [name for name in METHODS if f"`{name}`" not in text] == []
