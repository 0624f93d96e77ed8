"""Every byte of a file's text is in a document or in the account, whatever an extractor makes of it."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cogen.forge.account import text_size
from cogen.forge.documents import collect
from cogen.forge.recipe import Corpus
from cogen.reporter import SILENT

WORDS = ("alpha", "beta", "gamma", "delta", "omega", "kappa", "sigma")


class Made:
    """Pieces of files, different for each seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def text(self) -> str:
        """A sentence in English or Chinese."""
        count = self.random.randint(2, 40)
        if self.random.random() < 0.5:
            return "".join(chr(self.random.randint(0x4E00, 0x9000)) for _ in range(count)) + "。"
        return " ".join(f"{self.random.choice(WORDS)}{self.random.randint(0, 999)}" for _ in range(count)) + "."

    def some(self, *templates: str, count: int = 12) -> list[str]:
        """Templates with a sentence in the place of each @."""
        chosen = (self.random.choice(templates) for _ in range(count))
        return ["".join(part if part != "@" else self.text() for part in template) for template in chosen]

    def row(self) -> Any:
        one, other = self.text(), self.text()
        rows: tuple[Any, ...] = ({"text": one, "n": other}, {"text": [one, other]}, {"other": one}, {"text": None})
        return self.random.choice((*rows, {"text": 5}, {"text": {"a": one}}, {"text": "  "}, [one], one))

    def chat(self) -> Any:
        turns = [{"role": "user", "content": self.text()}, {"role": "assistant", "content": self.text()}]
        return self.random.choice(({"messages": turns}, {"prompt": self.text(), "response": self.text()}, {"a": "b"}))


def lines(rows: list[Any]) -> str:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)


MARKDOWN = (
    "# @",
    "@",
    "- @\n  - @",
    "```\n@\n```",
    "|@|@|\n|-|-|\n|@|x|",
    "> @",
    "<div>@</div>",
    "<!-- @ -->",
    "    @",
)
HTML = ("<p>@</p>", "<div>@<br>@</div>", "<nav>@</nav>", "<style>@</style>", "<ul><li>@<li>@</ul>", "<!--@-->", "<p>@")
HTML += ("<table><tr><td>@<td>x</table>", "<footer>@</footer>", "<textarea>@</textarea>", "<svg><text>@</text></svg>")
RST = ("@", "- @", ".. note:: @", ".. code-block:: python\n\n   @", "| @\n| @", ":field: @", ".. [1] @", ".. @", "$ @")
CODE = ('"""@@@@@"""', "# @", "x = '@'", 'class A:\n    """@@@@@@"""')
XML = ("<text>@</text>", "<q>@<text a='b'>@</text>@</q>", "<!-- @ -->", "<text>a &lt; b @</text>")
OBO = ('[Term]\nid: X:1\nname: x\ndef: "@" [a:b]\ncomment: @', "[Typedef]\nid: y\nname: @")
ROWS = ("1,@,@", '2,"",@', "3", "4,@", "5,@,@,@")
FILES: dict[str, Callable[[Made], str]] = {
    "text": lambda made: "\n\n".join(made.some("@", "@\n@")),
    "markdown": lambda made: "\n\n".join(made.some(*MARKDOWN)),
    "html": lambda made: f"<html><title>{made.text()}</title><body>{''.join(made.some(*HTML))}</body></html>",
    "rst": lambda made: "\n\n".join(made.some(*RST)) + "\n",
    "docstrings": lambda made: "\n\n".join(made.some(*CODE)) + "\n",
    "xml": lambda made: f"<r>{''.join(made.some(*XML))}</r>",
    "obo": lambda made: "format-version: 1.2\n\n" + "\n\n".join(made.some(*OBO)),
    "csv": lambda made: "\n".join(["id,text,note", *(row.replace(".,", ",") for row in made.some(*ROWS))]),
    "json": lambda made: lines([made.row() for _ in range(20)]),
    "datasets": lambda made: lines([made.row() for _ in range(20)]),
    "chat": lambda made: lines([made.chat() for _ in range(15)]),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("kind", FILES)
def test_every_byte_is_in_the_account(kind: str, seed: int, tmp_path: Path) -> None:
    """What was read is what was kept and what was dropped, and it is the files' text, packed and encoded or not."""
    made, size, most = Made(seed), 0, 0
    for number in range(3):
        text = FILES[kind](made)
        data = text.encode(("utf-8", "utf-16", "utf-8")[number] if kind not in ("docstrings", "xml") else "utf-8")
        suffix = "jsonl" if kind in ("datasets", "chat") else "x"
        name = f"{number}.{suffix}{'.gz' if number == 2 else ''}"
        (tmp_path / name).write_bytes(gzip.compress(data) if number == 2 else data)
        size, most = size + text_size(text), most + len(text.encode())
    source: dict[str, Any] = {
        "name": "s",
        "uri": f"file://{tmp_path}",
        "members": ["**"],
        "extract": kind,
        "license": "CC0-1.0",
    }
    source |= {"license_evidence": "none", "allow_loss": 1.0, "max_bytes": (3000, 2_000_000)[seed % 2]}
    source |= {"drop": ["alpha12"]} if seed == 2 else {}
    corpus: dict[str, Any] = {"sources": [source], "segmentation": "unicode", "max_characters": 300}
    corpus["min_characters"] = (1, 40, 60)[seed]
    documents, (account,) = collect(Corpus.model_validate(corpus), tmp_path, SILENT)
    assert account.kept_bytes == sum(document.bytes for document in documents)
    assert account.kept_bytes + sum(entry.bytes for entry in account.dropped.values()) == account.read_bytes
    assert 0.99 * size <= account.read_bytes <= most
