"""The documentation says what the code does: commands, options, variables, fields, checks, methods and losses."""

from __future__ import annotations

import ast
import functools
import importlib
import re
import shlex
import tomllib
from typing import Any

import pytest
from pydantic import AliasChoices, BaseModel
from support.commands_page import PAGE, helps, names, sections
from support.documents import DOCUMENTS, ROOT, blocks, text_of

from cogen.fusion.distill.losses.names import known as known_losses
from cogen.fusion.recipe import Distillation, ExpertOptions, FuseRecipe
from cogen.host.builtin import METHODS


def _commands(program: str) -> list[str]:
    """Every line of the documents' shell blocks that runs ``program``, without comments and variables."""
    found = set()
    for document in DOCUMENTS:
        for block in blocks(text_of(document).replace("\\\n", " "), "sh"):
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


def _python() -> list[tuple[str, str]]:
    return [(document, block) for document in DOCUMENTS for block in blocks(text_of(document), "python")]


@pytest.mark.parametrize(("document", "block"), _python(), ids=[document for document, _ in _python()])
def test_python_of_the_documents(document: str, block: str) -> None:
    """It compiles, and every name that it takes from cogen exists. docs/python.md has a test that runs it."""
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "cogen":
            module = importlib.import_module(str(node.module))
            assert [alias.name for alias in node.names if not hasattr(module, alias.name)] == [], document
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "cogen":
            assert hasattr(importlib.import_module("cogen"), node.attr), document


def test_every_environment_variable_is_documented() -> None:
    """Each COGEN_ variable that the code reads is in docs/environment.md."""
    folders = (ROOT / "core", ROOT / "registry")
    sources = "\n".join(file.read_text(encoding="utf-8") for folder in folders for file in folder.rglob("*.py"))
    read = set(re.findall(r"\"(COGEN_[A-Z_]+[A-Z])\"", sources))
    assert len(read) > 8, "the pattern finds nothing any more"
    text = text_of("docs/environment.md")
    assert sorted(name for name in read if f"`{name}`" not in text) == []


def test_every_test_that_the_security_page_names_exists() -> None:
    """docs/security.md names a test for each attack."""
    rows = [line for line in text_of("docs/security.md").splitlines() if re.match(r"\| (?!attack|---|who|\*\*)", line)]
    assert len(rows) > 70
    assert [row for row in rows if not re.search(r"`tests/[\w/]+\.py", row.rsplit("|", 2)[1])] == []
    named = {
        tuple(one.split("::")) for one in re.findall(r"`(tests/[\w/]+\.py(?:::\w+)*)`", text_of("docs/security.md"))
    }
    missing = []
    for path, *parts in sorted(named):
        found = text_of(path) if (ROOT / path).is_file() else ""
        if not found or not all(re.search(rf"\b(?:def|class) {part}\b", found) for part in parts):
            missing.append("::".join((path, *parts)))
    assert missing == []


def test_every_module_that_the_security_page_names_exists() -> None:
    """Modules of cogen, and what of them, by their full names."""
    missing = []
    for name in sorted(
        set(re.findall(r"`(cogen(?:\.\w+)+)`", text_of("docs/security.md"))) - {"cogen.toml", "cogen.lock"}
    ):
        path = ROOT.joinpath("core", *name.split("."))
        owner, _, attribute = name.rpartition(".")
        file = ROOT.joinpath("core", *owner.split(".")).with_suffix(".py")
        defined = file.is_file() and re.search(rf"^(?:def|class) {attribute}\b", file.read_text(encoding="utf-8"), re.M)
        if not (path.is_dir() or path.with_suffix(".py").is_file() or defined):
            missing.append(name)
    assert missing == []


def test_every_check_is_documented() -> None:
    """docs/conformance.md explains each test of the conformance kit, and no other."""
    from cogen.conformance import ExpertConformance

    tests = {name for name in vars(ExpertConformance) if name.startswith("test_")}
    assert set(re.findall(r"^\| `(test_\w+)`", text_of("docs/conformance.md"), flags=re.M)) == tests
    assert f"{len(tests)} checks" in text_of("docs/experts.md")


def test_the_departures_from_mergekit_are_those_of_the_benchmark(monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/merging.md has the table that `benchmarks/merge.py correctness` checks, line by line."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    departures = importlib.import_module("merging.departures")
    text = text_of("docs/merging.md")
    lines = [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in (entry.methods, entry.documented, entry.does)) + " |"
        for entry in departures.table()
    ]
    assert len(lines) > 20
    assert [line for line in lines if line not in text] == []


def test_every_distillation_loss_is_documented() -> None:
    """And the recipe of the page is valid."""
    text = text_of("docs/distillation.md")
    assert [name for name in known_losses() if f"`{name}`" not in text] == []
    (shown,) = blocks(text, "toml")
    FuseRecipe.model_validate(tomllib.loads(shown))


def test_the_recipe_of_the_fusing_page_is_valid() -> None:
    """As `cogen fuse --recipe` would read it."""
    (shown,) = blocks(text_of("docs/fusing.md"), "toml")
    FuseRecipe.model_validate(tomllib.loads(shown))


def test_the_settings_of_the_registry_page_are_valid() -> None:
    """As `cogen-registry serve --settings` would read them."""
    from cogen_registry.settings import Settings

    (shown,) = blocks(text_of("docs/registry-setup.md"), "toml")
    Settings.model_validate({"root": "/srv/registry", **tomllib.loads(shown)})


def test_every_method_is_documented() -> None:
    """With the paper or library that it equals."""
    text = text_of("docs/merging.md")
    assert [name for name in METHODS if f"`{name}`" not in text] == []
    assert f"{len(METHODS)} methods" in text_of("README.md")


def test_measurements_have_commands() -> None:
    """Every section with figures names the script that reproduces them, and that script exists."""
    text = text_of("docs/measurements.md")
    for section in re.split(r"^## ", text, flags=re.M)[1:]:
        scripts = re.findall(r"python (benchmarks/\w+\.py)", section)
        assert scripts or re.search(r"\]\((?:distillation|registry-scaling)\.md#", section), section.splitlines()[0]
        assert [script for script in scripts if not (ROOT / script).is_file()] == []


def _models() -> dict[str, type[BaseModel]]:
    """Heading of docs/fields.md → the model that reads these fields."""
    from cogen.forge.recipe import (
        AuditRecipe,
        Card,
        Corpus,
        CorpusSource,
        StatementsRecipe,
        StatisticsRecipe,
        TrainingRecipe,
        TrainRecipe,
    )
    from cogen.spec.data import Audit, DataCard, DataSource, DifferentialPrivacy
    from cogen.spec.expert import ExpertSpec
    from cogen.spec.model import BaseRef, ModelSpec, RouterSpec, TokenizerSpec
    from cogen.spec.suite import PrivateSuite, Samples, Statistics, Suite
    from cogen_registry.settings import Limits, Settings

    return {
        "Recipe of `cogen fuse`": FuseRecipe,
        "`[experts.ID]`": ExpertOptions,
        "`[distill]`": Distillation,
        "Recipe of `cogen train`": TrainRecipe,
        "`[corpus]`": Corpus,
        "`[[corpus.sources]]`": CorpusSource,
        "`[statistics]` of a recipe": StatisticsRecipe,
        "`[statements]` of a recipe": StatementsRecipe,
        "`[training]`": TrainingRecipe,
        "`[audit]`": AuditRecipe,
        "`[card]`": Card,
        "Manifest of an expert": ExpertSpec,
        "`[model]`": ModelSpec,
        "`[model.base]`": BaseRef,
        "`[tokenizer]`": TokenizerSpec,
        "`[samples]`": Samples,
        "`[router]`": RouterSpec,
        "`[[suites]]`": Suite,
        "`[[private_suites]]`": PrivateSuite,
        "`[statistics]`": Statistics,
        "`[data]`": DataCard,
        "`[[data.sources]]`": DataSource,
        "`[data.audit]`": Audit,
        "`[data.training.privacy]`": DifferentialPrivacy,
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
    parts = re.split(r"^#{2,3} (.+)$", text_of("docs/fields.md"), flags=re.M)[1:]
    documented = {
        heading: [(name, default) for name, default in re.findall(r"^\| `(\w+)` \| (.*?) ?\| ", body, flags=re.M)]
        for heading, body in zip(parts[::2], parts[1::2], strict=True)
    }
    models = _models()
    assert list(documented) == list(models)
    for heading, model in models.items():
        fields = [(_name(name, field), _default(field)) for name, field in model.model_fields.items()]
        assert documented[heading] == fields, heading
