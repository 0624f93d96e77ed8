"""Is text of any language kept, and are near-copies of it found? On the real pipeline of `cogen train`.

    python benchmarks/languages.py

Texts (fetched by `apt-get download`, so a Debian system is needed): the Debian Reference (GPL-2.0-or-later), the Debian
Administrator's Handbook (GPL-2.0-or-later or CC-BY-SA-3.0), the GNOME user documentation in Marathi (CC-BY-SA-3.0, in
Devanagari), and the longer messages of LibreOffice in Thai (MPL-2.0). Nothing of them is stored here. Short pages are
joined to texts of at least 4,000 characters.

kept: share of the extracted text that became documents, before near-copies and `max_bytes`; also of the same text
without empty lines between paragraphs, as many programs export it. found: of copies with so many per cent of their
characters replaced, the share that counts as a duplicate (more than half of its runs of words are known). repeats: of
every second document of the text without its empty lines, the share that counts as a duplicate of the others. Each with
segmentation `unicode` and, as "latin", the way of comparing that there was before.
"""

from __future__ import annotations

import argparse
import gettext
import io
import json
import random
import re
import tempfile
from pathlib import Path

from cogen.forge.account import SourceAccount
from cogen.forge.archives import members
from cogen.forge.documents import Document, TextComparison, _chunks
from cogen.forge.recipe import Corpus, CorpusSource, Segmentation
from cogen.reporter import SILENT

HANDBOOK = (
    "deb://debian-handbook==11.20220922",
    "sha256:3d5dbeac1f1afc9c094eab9d0f701f6ecff99c4927d5a4794cf6c85678134faa",
    "usr/share/doc/debian-handbook/html/{}/*.html",
)
REFERENCE = "usr/share/debian-reference/*.html"
GNOME = (
    "deb://gnome-user-docs==43.0-2",
    "sha256:0d635a840747958ca84da778b40d341f1155603851f922c9a171f5a181d6a39f",
    "usr/share/help/{}/gnome-help/*.page",
)
OFFICE = (
    "deb://libreoffice-l10n-th==4:7.4.7-1+deb12u14",
    "sha256:7a5e58f89c338a7f5a7d284d7356ad3434df1d22a59e62f692460a025b0fa484",
    "**/LC_MESSAGES/*.mo",
)
REFERENCE_ZH = (
    "deb://debian-reference-zh-cn==2.100",
    "sha256:6d2d8d9a646397e28b04cdff23d2e4374101ebf9be348e35961af62c8a2d0977",
    REFERENCE,
)
REFERENCE_TW = (
    "deb://debian-reference-zh-tw==2.100",
    "sha256:d2785bbfcb9c3eb6343a37520df595a720bb30fa634d4cf0750d1c04a0226057",
    REFERENCE,
)
REFERENCE_JA = (
    "deb://debian-reference-ja==2.100",
    "sha256:f67140e0b994409413bd5fcc8dfcce832445c99d724401f0275fa238daf30325",
    REFERENCE,
)
REFERENCE_EN = (
    "deb://debian-reference-en==2.100",
    "sha256:9f31d3a17df505de09689ca255512ea58c1fc47c59bb1b0c7bf1c23362e9743f",
    REFERENCE,
)
LANGUAGES = {
    "Chinese": (REFERENCE_ZH, "zh-cn"),
    "Chinese (traditional)": (REFERENCE_TW, "zh-tw"),
    "Japanese": (REFERENCE_JA, "ja"),
    "Thai": (OFFICE, "th"),
    "Arabic": (HANDBOOK, "ar-MA"),
    "Persian": (HANDBOOK, "fa-IR"),
    "Marathi": (GNOME, "mr"),
    "Russian": (HANDBOOK, "ru-RU"),
    "English": (REFERENCE_EN, "en"),
}
#: Translations are not complete: a paragraph counts where most of its letters are of the language's scripts.
SCRIPTS = {
    "Chinese": "\u4e00-\u9fff",
    "Chinese (traditional)": "\u4e00-\u9fff",
    "Japanese": "\u3040-\u30ff\u4e00-\u9fff",
    "Thai": "\u0e00-\u0e7f",
    "Arabic": "\u0600-\u06ff",
    "Persian": "\u0600-\u06ff",
    "Marathi": "\u0900-\u097f",
    "Russian": "\u0400-\u04ff",
    "English": "a-zA-Z",
}
COPIES = 200


def texts(language: str) -> list[str]:
    """The paragraphs of each page that are written in the language."""
    (uri, digest, pattern), code = LANGUAGES[language]
    source = CorpusSource.model_validate(
        {
            "name": "s",
            "uri": uri,
            "digest": digest,
            "members": [pattern.format(code)],
            "extract": "html",
            "license": "unknown",
            "license_evidence": "unknown",
        }
    )
    own = re.compile(f"[{SCRIPTS[language]}]")
    found = []
    for name, data in members(source, Path(), SILENT):
        paragraphs = _messages(data) if name.endswith(".mo") else _paragraphs(data.decode())
        kept = [one for one in paragraphs if len(own.findall(one)) > 0.5 * sum(map(str.isalpha, one))]
        text = "\n\n".join(kept)
        if found and len(found[-1]) < 4000:
            found[-1] += "\n\n" + text
        else:
            found.append(text)
    return found


def _paragraphs(page: str) -> list[str]:
    blocks = re.findall(r"<(p|li|dd)\b[^>]*>(.*?)</\1>", page, flags=re.S)
    return [re.sub(r"\s*\n\s*", " ", re.sub(r"<[^>]+>", "", block)).strip() for _, block in blocks]


def _messages(catalogue: bytes) -> list[str]:
    found = gettext.GNUTranslations(io.BytesIO(catalogue))._catalog.values()  # type: ignore[attr-defined]
    return [one for one in found if len(one) >= 60 and "<" not in one]


def documents(folder: Path, segmentation: Segmentation) -> tuple[list[Document], SourceAccount]:
    """All documents that the texts of a folder give, and the account of what was dropped."""
    source = {"name": "s", "uri": f"file://{folder}", "members": ["**"], "extract": "text"}
    recipe = Corpus.model_validate(
        {"segmentation": segmentation, "sources": [source | {"license": "unknown", "license_evidence": "unknown"}]}
    )
    account = SourceAccount("s")
    found = list(_chunks(recipe.sources[0], recipe, folder, account, SILENT))
    account.kept_bytes = sum(document.bytes for document in found)
    return found, account


def changed(text: str, share: float, rng: random.Random) -> str:
    """The text with so many of its letters replaced by other letters of the text, at least one."""
    letters = [place for place, character in enumerate(text) if character.isalpha()]
    copy = list(text)
    for place in rng.sample(letters, max(1, round(share * len(letters)))):
        copy[place] = next(c for c in rng.choices([text[i] for i in letters], k=99) if c != copy[place])
    return "".join(copy)


def copies(found: list[Document], segmentation: Segmentation, share: float) -> float:
    """Share of near-copies that count as duplicates."""
    rng = random.Random(1)
    some = rng.sample(found, min(COPIES, len(found)))
    compare = TextComparison(segmentation)
    return sum(compare.overlap(changed(d.text, share, rng), compare.ngrams(d.text)) > 0.5 for d in some) / len(some)


def repeats(found: list[Document], segmentation: Segmentation) -> float:
    """Share of the documents of every second place that count as duplicates of the others."""
    compare = TextComparison(segmentation)
    known: set[int] = set().union(*(compare.ngrams(document.text) for document in found[::2]))
    others = found[1::2]
    return sum(compare.overlap(document.text, known) > 0.5 for document in others) / len(others)


def measured(pages: list[str], segmentation: Segmentation) -> tuple[float, float, list[Document]]:
    """Kept share of the pages, the same without empty lines, and the documents of the latter."""
    kept = []
    found: list[Document] = []
    for joint in ("\n\n", "\n"):
        with tempfile.TemporaryDirectory() as scratch:
            for number, page in enumerate(pages):
                (Path(scratch) / f"{number:04}.txt").write_text(page.replace("\n\n", joint), encoding="utf-8")
            found, account = documents(Path(scratch), segmentation)
        kept.append(account.kept_share)
    return kept[0], kept[1], found


def row(language: str) -> dict[str, float | int]:
    """All figures of one language."""
    pages = texts(language)
    kept, kept_plain, found = measured(pages, "unicode")
    before, before_plain, _ = measured(pages, "latin")
    return {
        "characters": sum(map(len, pages)),
        "kept": kept,
        "kept_latin": before,
        "kept_without_empty_lines": kept_plain,
        "kept_without_empty_lines_latin": before_plain,
        "found_0.6": copies(found, "unicode", 0.006),
        "found_0.6_latin": copies(found, "latin", 0.006),
        "found_2": copies(found, "unicode", 0.02),
        "repeats": repeats(found, "unicode"),
        "repeats_latin": repeats(found, "latin"),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("languages", nargs="*", default=list(LANGUAGES), help="default: all")
    parser.add_argument("--json", type=Path, help="write all figures there")
    options = parser.parse_args()
    rows = {}
    for language in options.languages:
        rows[language] = row(language)
        if len(rows) == 1:
            print("| language | " + " | ".join(name.replace("_", " ") for name in rows[language]) + " |")
            print("|---" * (len(rows[language]) + 1) + "|")
        cells = [f"{value:,}" if isinstance(value, int) else f"{value:.1%}" for value in rows[language].values()]
        print(f"| {language} | " + " | ".join(cells) + " |", flush=True)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    targets = ("kept", 0.99), ("kept_without_empty_lines", 0.99), ("found_0.6", 0.95)
    missed = [f"{one}: {name}" for one, found in rows.items() for name, target in targets if found[name] < target]
    print("missed: " + ", ".join(missed) if missed else "kept 99 % and near-copies found 95 %: held in every language")
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
