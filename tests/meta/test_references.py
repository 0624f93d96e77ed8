"""Modules, names and files that docstrings, comments and pages refer to are there."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.documents import ROOT

from cogen.host.host import _MOVED

PACKAGES = {"cogen": ROOT / "core", "cogen_registry": ROOT / "registry"}
ROLE = re.compile(r":(?:func|class|mod|meth|data|attr|exc):`~?(\w[\w.]*)(?:\(\))?`")
DOTTED = re.compile(r"(?<![\w./@:-])(cogen(?:_registry)?(?:\.[A-Za-z_]\w*)+)(?![\w/*<-])")
FILE = re.compile(
    r"(?<![\w./-])((?:core|registry|tests|benchmarks|docs|examples)/[\w./-]+?\.(?:py|md|toml|yml|json|sh))\b"
)
#: Files that begin with the package's name.
SUFFIXES = {"lock", "toml", "py", "json", "md", "log"}


def _modules() -> dict[str, Path]:
    found = {}
    for package, base in PACKAGES.items():
        for path in (base / package).rglob("*.py"):
            parts = path.relative_to(base).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()


@functools.cache
def _names(module: str) -> frozenset[str]:
    """Everything that is defined, assigned, imported or listed by name in a module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                found.add(node.name)
            case ast.Name(ctx=ast.Store()):
                found.add(node.id)
            case ast.Attribute(ctx=ast.Store()):
                found.add(node.attr)
            case ast.arg():
                found.add(node.arg)
            case ast.alias():
                found.add((node.asname or node.name).rpartition(".")[2])
            case ast.Constant(value=str(value)) if value.isidentifier():
                found.add(value)
    return frozenset(found)


def exists(dotted: str, here: str | None = None) -> bool:
    """Is it a module, or a name in one? ``here`` is the module whose text says so.

    A name with dots that begins elsewhere may be of any library, and is not looked up.
    """
    parts = dotted.split(".")
    if parts[0] not in PACKAGES:
        return here is None or len(parts) > 1 or parts[0] in _names(here)
    end = next(end for end in range(len(parts), 0, -1) if ".".join(parts[:end]) in MODULES)
    return end == len(parts) or parts[end] in _names(".".join(parts[:end]))


def broken(path: Path, module: str | None) -> Iterator[str]:
    """What a text refers to and is not there."""
    text = path.read_text(encoding="utf-8")
    if module is not None:
        yield from (name for name in ROLE.findall(text) if not exists(name, module))
    for name in DOTTED.findall(text):
        former = name in _MOVED and module == "cogen.host.host"  # what plugins are told of
        if name.rpartition(".")[2] not in SUFFIXES and "__" not in name and not former and not exists(name):
            yield name
    yield from (name for name in FILE.findall(text) if not (ROOT / name).exists())


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_docstrings_and_comments(package: str) -> None:
    wrong = {
        f"{path.relative_to(ROOT)}: {name}"
        for module, path in MODULES.items()
        if module.partition(".")[0] == package
        for name in broken(path, module)
    }
    assert wrong == set()


def test_pages() -> None:
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "README.zh.md", ROOT / "CONTRIBUTING.md"]
    assert len(pages) > 20
    assert {f"{page.name}: {name}" for page in pages for name in broken(page, None)} == set()


def test_what_is_gone_is_found(tmp_path: Path) -> None:
    """Each kind of reference, once right and once wrong."""
    text = (
        ":func:`exists` :func:`cogen.api.fusion.fuse` :class:`~cogen.errors.CogenError` `cogen.cli.output.out`\n"
        "core/cogen/errors.py, cogen.lock\n"
        ":func:`gone` :func:`cogen.api.fusion.gone` cogen.artifacts.evolve core/cogen/gone.py\n"
    )
    (tmp_path / "page.py").write_text(text.replace("exists", "fuse"), encoding="utf-8")
    found = list(broken(tmp_path / "page.py", "cogen.api.fusion"))
    assert sorted(set(found)) == ["cogen.api.fusion.gone", "cogen.artifacts.evolve", "core/cogen/gone.py", "gone"]
