"""No module imports itself over others, at the top of a file or inside a function; types alone may point back."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _modules(root: Path) -> dict[str, Path]:
    """Dotted name → file, of every package below ``root``."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def _imports(node: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child
        elif not (isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test)):
            yield from _imports(child)


def graph(root: Path) -> dict[str, set[str]]:
    """Module → modules of the same tree that it imports when it runs."""
    modules = _modules(root)
    edges: dict[str, set[str]] = {}
    for name, path in modules.items():
        named: set[str] = set()
        for found in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(found, ast.Import):
                named |= {one.name for one in found.names}
            elif found.module is not None and not found.level:
                full = [f"{found.module}.{one.name}" for one in found.names]
                named |= {one if one in modules else found.module for one in full}
        edges[name] = named & modules.keys() - {name}
    return edges


def circles(edges: dict[str, set[str]]) -> list[list[str]]:
    """Modules that reach themselves, by Kahn's algorithm: what is left when nothing can be taken away any more."""
    left = {name: set(targets) for name, targets in edges.items()}
    while ends := {name for name, targets in left.items() if not targets & left.keys()}:
        left = {name: targets for name, targets in left.items() if name not in ends}
    used = {target for targets in left.values() for target in targets}
    return [sorted([name, *(targets & left.keys())]) for name, targets in left.items() if name in used]


@pytest.mark.parametrize("folder", ["core", "registry"])
def test_there_is_none(folder: str) -> None:
    assert circles(graph(_ROOT / folder)) == []


def test_one_is_found(tmp_path: Path) -> None:
    """Also where it closes inside a function; one that exists for type checkers only is none."""
    package = tmp_path / "p"
    package.mkdir()
    for name, text in {
        "__init__": "",
        "a": "from p import b\n",
        "b": "def late():\n    from p.c import x\n",
        "c": "import p.a\nx = 1\n",
        "d": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from p import e\n",
        "e": "import p.d\n",
    }.items():
        (package / f"{name}.py").write_text(text)
    assert circles(graph(tmp_path)) == [["p.a", "p.b"], ["p.b", "p.c"], ["p.a", "p.c"]]
