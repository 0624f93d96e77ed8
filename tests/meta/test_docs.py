"""The documentation matches the code: commands, options, settings, fields, files and anchors that it names exist."""

from __future__ import annotations

import functools
import importlib
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import AliasChoices, BaseModel
from support.commands_page import PAGE, helps, names, sections

from cogen.fusion.distill.losses.names import known as known_losses
from cogen.fusion.recipe import Distillation, ExpertOptions, FuseRecipe
from cogen.host.builtin import METHODS

_ROOT = Path(__file__).parents[2]
_DOCS = _ROOT / "docs"
_PAGES = sorted(f"docs/{page.name}" for page in _DOCS.glob("*.md"))
_DOCUMENTS = (
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "registry/README.md",
    "benchmarks/README.md",
    *_PAGES,
)


def _text(document: str) -> str:
    return (_ROOT / document).read_text(encoding="utf-8")


def _blocks(text: str, language: str = r"\w*") -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)


def _commands(program: str) -> list[str]:
    """Every line of the documents' shell blocks that runs ``program``, without comments and variables."""
    found = set()
    for document in _DOCUMENTS:
        for block in _blocks(_text(document).replace("\\\n", " "), "sh"):
            for line in block.splitlines():
                for command in line.split("#")[0].split("&&"):
                    command = re.sub(r'^\s*(?:[A-Z_]+=(?:"[^"]*"|\S*)\s+)*', "", command).strip()
                    if command.startswith(f"{program} "):
                        found.add(command)
    return sorted(found)


@functools.cache
def _helps() -> dict[str, str]:
    """The help text of every command, of both programs."""
    return dict(helps())


@pytest.mark.parametrize("line", [*_commands("cogen"), *_commands("cogen-registry")])
def test_commands_exist(line: str) -> None:
    """The command, or sub-command, exists and takes every option that the line gives it."""
    words = shlex.split(line)
    known = [command for n in (2, 3) if (command := " ".join(words[:n])) in _helps()]
    assert known, "no such command"
    command = known[-1]
    for option in (word for word in words if re.match(r"--?[a-zA-Z]", word)):
        assert re.search(rf"(^|[\s,/]){re.escape(option)}\b", _helps()[command]), f"{command} has no {option}"


def test_every_command_and_option_is_documented() -> None:
    """docs/commands.md has them all, and no other; ``python tests/support/commands_page.py`` writes it again."""
    documented = sections(PAGE.read_text(encoding="utf-8"))
    today = _helps()
    assert list(documented) == list(today)
    assert {line: names(text) for line, text in documented.items()} == {
        line: names(text) for line, text in today.items()
    }


def test_every_environment_variable_is_documented() -> None:
    """Each COGEN_ variable that the code reads is in docs/environment.md."""
    folders = (_ROOT / "core", _ROOT / "registry")
    sources = "\n".join(file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.py"))
    read = set(re.findall(r"(?:environ(?:\.get\(|\[)|envvar=)\s*\"(COGEN_[A-Z_]+)\"", sources))
    assert len(read) > 8, "the pattern finds nothing any more"
    text = _text("docs/environment.md")
    assert sorted(name for name in read if f"`{name}`" not in text) == []


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    """Links, and paths in code marks that look like files of this repository."""
    text = _text(document)
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:core|docs|examples|benchmarks|tests|plugins|registry)/[\w./-]*)`", text)
    assert [path for path in links if not ((_ROOT / document).parent / path).exists()] == []
    assert [path for path in paths if not (_ROOT / path).exists()] == []


def test_pages_that_the_code_names_exist() -> None:
    """Hints and docstrings send people to pages by their path."""
    files = [file for folder in ("core", "registry") for file in (_ROOT / folder).rglob("*.py")]
    named = {
        page for file in files for page in re.findall(r"(?<![\w/])docs/[\w-]+\.md", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 2
    assert sorted(page for page in named if not (_ROOT / page).is_file()) == []


@pytest.mark.parametrize("document", _DOCUMENTS)
def test_sections_that_links_name_exist(document: str) -> None:
    """As GitHub makes anchors of headings: lower case, dashes for spaces, no punctuation."""
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", _text(document)):
        target = (_ROOT / document).parent / path if path else _ROOT / document
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
        assert anchor in [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]


def test_the_readme_is_short() -> None:
    """What it is, two commands, a picture, and where everything else is."""
    assert len(_text("README.md").splitlines()) <= 150
    assert len(_text("README.zh.md").splitlines()) <= 150


def test_the_chinese_readme_keeps_step() -> None:
    """The same headings by level, code (comments are translated), links, picture and table rows, in the same order."""

    def outline(document: str) -> dict[str, list[Any]]:
        text = _text(document)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
        rows = [line for line in prose.splitlines() if line.startswith("|")]
        return {
            "headings": [len(level) for level in re.findall(r"^(#+) ", prose, flags=re.M)],
            "code": [re.sub(r"\s*# .*$", "", block, flags=re.M) for block in _blocks(text)],
            "links": sorted(re.findall(r"\]\(((?:docs|C)[^)]+)\)", prose)),
            "rows": [row.count("|") for row in rows],
            "options": [re.findall(r"`[^`]+`", row) for row in rows],
            "items": [line[:2] for line in prose.splitlines() if line.startswith("- ")],
        }

    assert outline("README.zh.md") == outline("README.md")


@pytest.mark.parametrize("document", [one for one in _DOCUMENTS if one not in ("CONTRIBUTING.md", "CHANGELOG.md")])
def test_no_retired_words(document: str) -> None:
    """The field's terms; CONTRIBUTING.md and CHANGELOG.md say what replaces what."""
    prose = re.sub(r"Older recipes call it `pivot`", "", _text(document))
    retired = r"\b(wish\w*|licenc\w*|(?:dev|test|development) parts?|pivot|of ours|sought|taught|stderr is talk)\b"
    assert re.findall(retired, prose, flags=re.I) == []


def test_the_map_of_the_code_is_complete() -> None:
    """CONTRIBUTING.md names every package of core, registry/README.md every file that it names exists."""
    packages = {path.parent.name for path in (_ROOT / "core" / "cogen").glob("*/*.py")}
    (table,) = re.findall(r"^\| folder of `core/cogen` \|.*?\n\n", _text("CONTRIBUTING.md"), flags=re.S | re.M)
    first = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    named = {name for cell in first for name in re.findall(r"`([\w/]+)`", cell)}
    assert packages - {"cogen"} - named == set()
    assert [
        one
        for one in sorted(named)
        if not any((_ROOT / "core" / "cogen" / (one + end)).exists() for end in ("", ".py"))
    ] == []
    registry = _ROOT / "registry" / "cogen_registry"
    (tree,) = re.findall(r"^    cogen_registry/\n.*?tests:", _text("registry/README.md"), flags=re.S | re.M)
    files = {path.name for path in registry.rglob("*.py")}
    assert [name for name in re.findall(r"\b\w+\.py\b", tree) if name not in files] == []
    folders = re.findall(r"^        (\w+)/", tree, flags=re.M)
    assert sorted(folders) == sorted({path.parent.name for path in registry.glob("*/*.py")})


def _pages_of_the_site() -> list[str]:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]

    return pages(yaml.safe_load(_text("mkdocs.yml"))["nav"])


def test_every_page_is_in_the_navigation() -> None:
    """Once; and every page of the navigation exists."""
    assert sorted(f"docs/{page}" for page in _pages_of_the_site()) == _PAGES


def test_the_site_builds(tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere fails. No page needs another host."""
    pytest.importorskip("zensical", reason="needs the extra docs")
    shutil.copy(_ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(_DOCS, tmp_path / "docs")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in _pages_of_the_site():
        html = (tmp_path / "site" / page).with_suffix(".html").read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"https?:", html) == []
        assert re.findall(r"<link[^>]*rel=\"stylesheet\"[^>]*href=\"https?:", html) == []


def test_every_test_that_the_security_page_names_exists() -> None:
    """docs/security.md names a test for each attack."""
    rows = [line for line in _text("docs/security.md").splitlines() if re.match(r"\| (?!attack|---|who|\*\*)", line)]
    assert len(rows) > 70
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py", row.rsplit("|", 2)[1])] == []
    named = {tuple(one.split("::")) for one in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", _text("docs/security.md"))}
    missing = []
    for path, *parts in sorted(named):
        found = _text(path) if (_ROOT / path).is_file() else ""
        if not found or not all(re.search(rf"\b(?:def|class) {part}\b", found) for part in parts):
            missing.append("::".join((path, *parts)))
    assert missing == []


def test_every_check_is_documented() -> None:
    """docs/conformance.md explains each test of the conformance kit, and no other."""
    from cogen.conformance import ExpertConformance

    tests = {name for name in vars(ExpertConformance) if name.startswith("test_")}
    assert set(re.findall(r"^\| `(test_\w+)`", _text("docs/conformance.md"), flags=re.M)) == tests
    assert f"{len(tests)} checks" in _text("docs/experts.md")


def test_no_file_is_too_long_to_read() -> None:
    """No Python file is over 500 lines."""
    files = [f for folder in ("core", "tests", "benchmarks", "examples") for f in (_ROOT / folder).rglob("*.py")]
    assert [str(f) for f in files if len(f.read_text(encoding="utf-8").splitlines()) > 500] == []


def test_the_departures_from_mergekit_are_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/merging.md has the table that `benchmarks/merge.py correctness` checks, line by line."""
    monkeypatch.syspath_prepend(str(_ROOT / "benchmarks"))
    departures = importlib.import_module("merging.departures")
    text = _text("docs/merging.md")
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (entry.methods, entry.documented, entry.does)) + " |"
        for entry in departures.table()
    ]
    assert len(lines) > 20
    assert [line for line in lines if line not in text] == []


def test_every_distillation_loss_is_documented() -> None:
    """And the recipe of the page is valid."""
    text = _text("docs/distillation.md")
    assert [name for name in known_losses() if f"`{name}`" not in text] == []
    (shown,) = _blocks(text, "toml")
    FuseRecipe.model_validate(tomllib.loads(shown))


def test_the_recipe_of_the_fusing_page_is_valid() -> None:
    """As `cogen fuse --recipe` would read it."""
    (shown,) = _blocks(_text("docs/fusing.md"), "toml")
    FuseRecipe.model_validate(tomllib.loads(shown))


def test_the_settings_of_the_registry_page_are_valid() -> None:
    """As `cogen-registry serve --settings` would read them."""
    from cogen_registry.settings import Settings

    (shown,) = _blocks(_text("docs/registry-setup.md"), "toml")
    Settings.model_validate({"root": "/srv/registry", **tomllib.loads(shown)})


def test_every_method_is_documented() -> None:
    """With the paper or library that it equals."""
    text = _text("docs/merging.md")
    assert [name for name in METHODS if f"`{name}`" not in text] == []
    assert f"{len(METHODS)} methods" in _text("README.md")


def test_measurements_have_commands() -> None:
    """Every section with figures names the script that reproduces them, and that script exists."""
    text = _text("docs/measurements.md")
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        scripts = re.findall(r"python (benchmarks/\w+\.py)", section)
        assert scripts or re.search(r"\]\((?:distillation|registry-scaling)\.md#", section), section.splitlines()[0]
        assert [script for script in scripts if not (_ROOT / script).is_file()] == []


def _models() -> dict[str, type[BaseModel]]:
    """Heading of docs/fields.md → the model that reads these fields."""
    from cogen.forge.recipe import Card, Corpus, CorpusSource, TrainingRecipe, TrainRecipe
    from cogen.spec.data import DataCard, DataSource
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.model import BaseRef, ModelSpec, RouterSpec, TokenizerSpec
    from cogen.spec.suite import Samples, Suite
    from cogen_registry.settings import Limits, Settings

    return {
        "Recipe of `cogen fuse`": FuseRecipe,
        "`[experts.ID]`": ExpertOptions,
        "`[distill]`": Distillation,
        "Recipe of `cogen train`": TrainRecipe,
        "`[corpus]`": Corpus,
        "`[[corpus.sources]]`": CorpusSource,
        "`[training]`": TrainingRecipe,
        "`[card]`": Card,
        "Manifest of an expert": ExpertSpec,
        "`[model]`": ModelSpec,
        "`[model.base]`": BaseRef,
        "`[tokenizer]`": TokenizerSpec,
        "`[samples]`": Samples,
        "`[router]`": RouterSpec,
        "`[[suites]]`": Suite,
        "`[data]`": DataCard,
        "`[[data.sources]]`": DataSource,
        "Settings of a registry": Settings,
        "`[limits]`": Limits,
    }


def _name(name: str, field: Any) -> str:
    """What a recipe calls the field; where it has an older name as well, the first of its aliases."""
    alias = field.validation_alias
    return str(alias.choices[0]) if isinstance(alias, AliasChoices) else alias or name


def _default(field: Any) -> str:
    """As the page writes a default; nothing for what is empty by default."""
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    if value is None or value in ((), {}) or isinstance(value, BaseModel):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    return f"`{value:_}`" if isinstance(value, int) else f"`{value}`"


def test_every_field_is_documented() -> None:
    """docs/fields.md has every field of every TOML file with its default, and no other, in the order of the models."""
    parts = re.split(r"^#{2,3} (.+)$", _text("docs/fields.md"), flags=re.M)[1:]
    documented = {
        heading: [(name, default) for name, default in re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", body, flags=re.M)]
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }
    models = _models()
    assert list(documented) == list(models)
    for heading, model in models.items():
        fields = [(_name(name, field), _default(field)) for name, field in model.model_fields.items()]
        assert documented[heading] == fields, heading
