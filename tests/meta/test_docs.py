"""The documentation holds together: links, anchors, navigation, both READMEs, and the field's words."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.documents import DOCS, DOCUMENTS, PAGES, ROOT, blocks, pages_of_the_site, text_of


@pytest.mark.parametrize("document", DOCUMENTS)
def test_files_that_documents_name_exist(document: str) -> None:
    """Links, and paths in code marks that look like files of this repository."""
    text = text_of(document)
    links = re.findall(r"\]\((?!http)([^)#]+)(?:#[^)]*)?\)", text)
    paths = re.findall(r"`((?:core|docs|examples|benchmarks|tests|plugins|registry)/[\w./-]*)`", text)
    assert [path for path in links if not ((ROOT / document).parent / path).exists()] == []
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_pages_that_the_code_names_exist() -> None:
    """Hints and docstrings send people to pages by their path."""
    files = [file for folder in ("core", "registry") for file in (ROOT / folder).rglob("*.py")]
    named = {
        page for file in files for page in re.findall(r"(?<![\w/])docs/[\w-]+\.md", file.read_text(encoding="utf-8"))
    }
    assert len(named) > 2
    assert sorted(page for page in named if not (ROOT / page).is_file()) == []


@pytest.mark.parametrize("document", DOCUMENTS)
def test_sections_that_links_name_exist(document: str) -> None:
    """As GitHub makes anchors of headings: lower case, dashes for spaces, no punctuation."""
    for path, anchor in re.findall(r"\]\((?!http)([^)#]*)#([^)]+)\)", text_of(document)):
        target = (ROOT / document).parent / path if path else ROOT / document
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), flags=re.M)
        assert anchor in [re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings]


def test_the_readme_is_short() -> None:
    """What it is, two commands, a picture, and where everything else is."""
    assert len(text_of("README.md").splitlines()) <= 150
    assert len(text_of("README.zh.md").splitlines()) <= 150


def test_the_chinese_readme_keeps_step() -> None:
    """The same headings by level, code (comments are translated), links, picture and table rows, in the same order."""

    def outline(document: str) -> dict[str, list[Any]]:
        text = text_of(document)
        prose = re.sub(r"^```.*?^```", "", text, flags=re.S | re.M)
        rows = [line for line in prose.splitlines() if line.startswith("|")]
        return {
            "headings": [len(level) for level in re.findall(r"^(#+) ", prose, flags=re.M)],
            "code": [re.sub(r"\s*# .*$", "", block, flags=re.M) for block in blocks(text)],
            "links": sorted(re.findall(r"\]\(((?:docs|C)[^)]+)\)", prose)),
            "rows": [row.count("|") for row in rows],
            "options": [re.findall(r"`[^`]+`", row) for row in rows],
            "items": [line[:2] for line in prose.splitlines() if line.startswith("- ")],
        }

    assert outline("README.zh.md") == outline("README.md")


@pytest.mark.parametrize("document", [one for one in DOCUMENTS if one not in ("CONTRIBUTING.md", "CHANGELOG.md")])
def test_no_retired_words(document: str) -> None:
    """The field's terms; CONTRIBUTING.md and CHANGELOG.md say what replaces what."""
    prose = re.sub(r"[^.|]*\bformer names?\b[^.|]*", "", text_of(document))
    retired = r"\b(wish\w*|licenc\w*|(?:dev|test|development) parts?|pivot|of ours|sought|taught|stderr is talk)\b"
    assert re.findall(retired, prose, flags=re.I) == []


def test_the_map_of_the_code_is_complete() -> None:
    """CONTRIBUTING.md names every package of core, registry/README.md every file that it names exists."""
    packages = {path.parent.name for path in (ROOT / "core" / "cogen").glob("*/*.py")}
    (table,) = re.findall(r"^\| folder of `core/cogen` \|.*?\n\n", text_of("CONTRIBUTING.md"), flags=re.S | re.M)
    first = [row.split("|")[1] for row in table.splitlines()[2:] if row.startswith("|")]
    named = {name for cell in first for name in re.findall(r"`([\w/]+)`", cell)}
    assert packages - {"cogen"} - named == set()
    assert [
        one for one in sorted(named) if not any((ROOT / "core" / "cogen" / (one + end)).exists() for end in ("", ".py"))
    ] == []
    registry = ROOT / "registry" / "cogen_registry"
    (tree,) = re.findall(r"^    cogen_registry/\n.*?tests:", text_of("registry/README.md"), flags=re.S | re.M)
    files = {path.name for path in registry.rglob("*.py")}
    assert [name for name in re.findall(r"\b\w+\.py\b", tree) if name not in files] == []
    folders = re.findall(r"^        (\w+)/", tree, flags=re.M)
    assert sorted(folders) == sorted({path.parent.name for path in registry.glob("*/*.py")})


def test_every_page_is_in_the_navigation() -> None:
    """Once; and every page of the navigation exists."""
    assert sorted(f"docs/{page}" for page in pages_of_the_site()) == PAGES


def test_the_site_builds(tmp_path: Path) -> None:
    """Strictly: a link or an anchor that leads nowhere fails. No page needs another host."""
    pytest.importorskip("zensical", reason="needs the extra docs")
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(DOCS, tmp_path / "docs")
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    for page in pages_of_the_site():
        html = (tmp_path / "site" / page).with_suffix(".html").read_text(encoding="utf-8")
        assert re.findall(r"<(?:script|img|iframe)[^>]*\bsrc=\"https?:", html) == []
        assert re.findall(r"<link[^>]*rel=\"stylesheet\"[^>]*href=\"https?:", html) == []


def test_no_file_is_too_long_to_read() -> None:
    """No Python file is over 500 lines."""
    files = [f for folder in ("core", "tests", "benchmarks", "examples") for f in (ROOT / folder).rglob("*.py")]
    assert [str(f) for f in files if len(f.read_text(encoding="utf-8").splitlines()) > 500] == []
