"""The documents of the repository, as the tests of ``tests/meta`` read them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(f"docs/{page.name}" for page in DOCS.glob("*.md"))
DOCUMENTS = (
    "README.md",
    "README.zh.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "registry/README.md",
    "benchmarks/README.md",
    *PAGES,
)


def text_of(document: str) -> str:
    """:param document: path from the root of the repository."""
    return (ROOT / document).read_text(encoding="utf-8")


def blocks(text: str, language: str = r"\w*") -> list[str]:
    """The code blocks of a text in one language, or in all."""
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.S | re.M)


def pages_of_the_site() -> list[str]:
    """The navigation of mkdocs.yml, flat."""

    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        parts = entry.values() if isinstance(entry, dict) else entry
        return [page for part in parts for page in pages(part)]

    return pages(yaml.safe_load(text_of("mkdocs.yml"))["nav"])
