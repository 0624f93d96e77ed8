"""Hundreds of domains of real text that every machine with CoGen has: docstrings of installed Python modules.

A domain is a package, or a module of it, with enough docstrings of its own; the standard library's modules are domains
too. All of them are software documentation in English, many of one library: they are harder to tell apart than fields
of knowledge are. Nothing is imported, only parsed. The text stays on the machine, under the licenses of the packages.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

#: Characters: the least of a docstring, and the most of a document and of a domain's training text (64 KB, as samples).
SHORT, DOCUMENT, TRAINING = 100, 1200, 65_536
#: One file in so many is held out; of a domain with few files, one docstring in so many.
HELD_OUT = 5
_SKIPPED = {"test", "tests", "testing", "_vendor", "vendor", "site-packages", "__pycache__"}


@dataclass(frozen=True)
class Domain:
    """Training text and held-out documents, which come from other files (or other docstrings of one file)."""

    name: str
    training: str
    documents: tuple[str, ...]


def sites() -> list[Path]:
    """Where installed packages and the standard library lie."""
    import sys

    found = [Path(sysconfig.get_path("stdlib"))]
    found += [Path(name) for name in sys.path if name.endswith("site-packages")]
    return list(dict.fromkeys(found))


def docstrings(work: Path) -> dict[str, list[str]]:
    """Docstrings by module, each once, whichever module has it first; kept in ``work`` for the next run."""
    cache = work / "docstrings.json"
    if cache.is_file():
        found: dict[str, list[str]] = json.loads(cache.read_text(encoding="utf-8"))
        return found
    by_module: dict[str, list[str]] = {}
    seen: set[bytes] = set()
    for site in sites():
        for file in sorted(site.rglob("*.py")):
            relative = file.relative_to(site)
            if _SKIPPED.isdisjoint(relative.parts) and (own := _unseen(file, seen)):
                by_module[".".join(relative.with_suffix("").parts)] = own
    work.mkdir(parents=True, exist_ok=True)
    cache.write_text(json.dumps(by_module), encoding="utf-8")
    return by_module


def _unseen(file: Path, seen: set[bytes]) -> list[str]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError):
        return []
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node) or ""
            digest = hashlib.sha256(text.encode("utf-8", "replace")).digest()
            if len(text) >= SHORT and digest not in seen:
                seen.add(digest)
                found.append(text)
    return found


def domains(modules: dict[str, list[str]], least: int, documents: int) -> list[Domain]:
    """Packages with ``least`` characters, cut into their modules where these have as many; the largest first.

    :param documents: most held-out documents of a domain; one with fewer than half as many is left out.
    """
    size: dict[str, int] = defaultdict(int)
    below: dict[str, set[str]] = defaultdict(set)
    for name, texts in modules.items():
        parts = name.split(".")
        for depth in range(1, len(parts) + 1):
            size[".".join(parts[:depth])] += sum(map(len, texts))
            below[".".join(parts[: depth - 1])].add(".".join(parts[:depth]))

    def leaves(name: str) -> Iterator[tuple[str, list[str]]]:
        """(domain, its modules). Of a package that is cut, modules that are too small for a domain are left out."""
        large = [child for child in sorted(below[name]) if size[child] >= least]
        if name and len(large) < 2:
            yield name, _under(name, modules)
            return
        for child in large:
            yield from leaves(child)

    found = []
    for name, members in leaves(""):
        made = _domain(name, [modules[member] for member in members], documents)
        if made is not None and len(made.training) >= least / 2:
            found.append(made)
    return sorted(found, key=lambda domain: (-size[domain.name], domain.name))


def _under(name: str, modules: dict[str, list[str]]) -> list[str]:
    return [module for module in sorted(modules) if module == name or module.startswith(name + ".")]


def _domain(name: str, files: list[list[str]], documents: int) -> Domain | None:
    """Documents are whole docstrings in a row, cut at :data:`DOCUMENT` characters."""
    units = files if len(files) >= HELD_OUT else [[text] for texts in files for text in texts]
    held = [unit for place, unit in enumerate(units) if place % HELD_OUT == HELD_OUT // 2]
    kept = [unit for place, unit in enumerate(units) if place % HELD_OUT != HELD_OUT // 2]
    pieces = []
    for unit in held:
        text = "\n\n".join(unit)
        pieces += [text[start : start + DOCUMENT] for start in range(0, len(text), DOCUMENT)]
    pieces = [piece for piece in pieces if len(piece) >= DOCUMENT // 2]
    step = max(len(pieces) // documents, 1)
    chosen = tuple(pieces[::step][:documents])
    training = "\n\n".join(text for unit in kept for text in unit)[:TRAINING]
    return Domain(name, training, chosen) if len(chosen) >= documents / 2 else None
