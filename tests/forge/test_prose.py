"""What a reader would call prose is kept in Markdown, HTML and reStructuredText, and nothing becomes false."""

from __future__ import annotations

import random
import re

import pytest

from cogen.forge.account import (
    CODE,
    COMMENT,
    DIRECTIVE,
    FIELDS,
    FRONT_MATTER,
    IMAGE_TEXT,
    MARKUP,
    NAVIGATION,
    NO_PROSE,
    TABLE,
    UNCLOSED,
    SourceAccount,
    text_size,
)
from cogen.forge.extract import extract
from cogen.forge.extractors.prose import is_prose, is_tag, row_text
from cogen.forge.recipe import CorpusSource

S = "The patient was well on that day and went home."
ZH = "患者诉胸闷三天，遵医嘱停用呋塞米。"


def source(kind: str) -> CorpusSource:
    fields = {"name": "s", "uri": "file://x", "members": ["**"], "license": "CC0-1.0", "license_evidence": "none"}
    return CorpusSource.model_validate(fields | {"extract": kind})


def read(kind: str, text: str, account: SourceAccount | None = None) -> str:
    return "\n\n".join(piece for _, piece in extract(source(kind), "f", text.encode(), account))


#: Text that only looks like marks: it stays, letter for letter, in Markdown, HTML and reStructuredText.
PLAIN = [
    "Potassium <3.5 mmol/L was treated; sodium >145 mmol/L was not. Give 5 mg if BP < 90 and 10 mg if HR > 120.",
    "血钾<3.5mmol/L，遵医嘱停用呋塞米；血钠>145mmol/L，补液。",
    "血钾＜３.５，血钠＞１４５，（见表）",
    "a < b and c > d",
    "a <b and c> d",
    "x <- y and y -> x",
    "x <y> z",
    "List<int> and Map<String, Int>",
    "血钾<b且>145",
    "A<B>C",
    "2*3*4 mg and 5 * 3 * 2",
    "2**3**4",
    "E = m*c**2*x and f(x)*g(y)*h(z)",
    "5mg*3次*7天",
    "snake_case_words and 5_000_000",
    "$a<b$ and $c>d$",
    "(*) p < 0.05 (*)",
    "BP [120](80) mmHg; ranges [3.5][5.0] noted; ![low](K+ 2.9) seen",
    "[阿司匹林](每日一次) [dose](5mg/kg) [BP](120/80)",
    "[note]: 120",
    "an arrow <! here and </3.5 there >",
]


@pytest.mark.parametrize("text", PLAIN)
@pytest.mark.parametrize("kind", ["markdown", "html", "rst", "text"])
def test_text_that_looks_like_marks(kind: str, text: str) -> None:
    account = SourceAccount("s")
    assert read(kind, text, account) == text
    assert account.dropped == {}


MARKDOWN: dict[str, tuple[str, str, set[str]]] = {
    "emphasis": ("**bold** *slanted* _em_ `code` 这**重点**内容", "bold slanted em code 这重点内容", {MARKUP}),
    "escapes and entities": ("K\\*2 \\<b\\> &lt;c&gt; &amp; 5&nbsp;mg", "K*2 <b> <c> & 5 mg", {MARKUP}),
    "CDATA": ("<![CDATA[ a < b ]]>", "a < b", {MARKUP}),
    "formulas": ("$x_1*y_2*z$ and $\\{a\\}$, $5 and *$6*", "$x_1*y_2*z$ and $\\{a\\}$, $5 and $6", {MARKUP}),
    "nested lists": (f"- {S}\n    - {S} 2\n        - {S} 3", f"- {S}\n\n- {S} 2\n\n- {S} 3", set()),
    "numbers of a list": ("3. three\n4) four", "3. three\n\n4) four", set()),
    "a minus": ("- 5 °C", "- 5 °C", set()),
    "a paragraph of an item": ("1. one\n\n    Two words more.", "1. one\n\nTwo words more.", set()),
    "greater at a line's begin": ("BP was\n> 80 mmHg", "BP was > 80 mmHg", set()),
    "a quotation": ("> quoted\n> 5 mg", "quoted 5 mg", {MARKUP}),
    "indented prose": (f"Head\n\n    {S}\n\n    {ZH}", f"Head\n\n{S}\n\n{ZH}", set()),
    "indented code": ("Head\n\n    pip install x\n    x = f(1)", "Head", {CODE}),
    "a fence around prose": (f"```\n{S}\n```", S, {MARKUP}),
    "a fence around code": ("A\n\n```python\nx = 1\n```", "A", {CODE, MARKUP}),
    "a fence that is not closed": (f"```python\nx = f(1)\n\n{S}", S, {CODE, MARKUP}),
    "front matter": (f"---\ntitle: x\ndescription: {S}\n---\nB", f"description: {S}\n\nB", {FRONT_MATTER, MARKUP}),
    "two rules": (f"---\n{S}\n\n---\nB", f"{S}\n\nB", {MARKUP}),
    "a table": (
        f"| Drug | Use |\n|---|---|\n| Aspirin | {S} |\n| B | 5 |",
        f"Drug: Aspirin; Use: {S}",
        {TABLE, MARKUP},
    ),
    "more cells than columns": (f"| A |\n|---|\n| 1 | {S} |", f"1; {S}", {TABLE, MARKUP}),
    "sentences over a table": (f"| {S} | B |\n|---|---|\n| 1 | 2 |", f"{S}; B", {TABLE, MARKUP}),
    "pipes": (f"| {S} |\n| {S} 2 |", f"| {S} | | {S} 2 |", set()),
    "links": ("[Home](docs/index.md) [a](#b) <https://x.y/z> [x](<a b.md>)", "Home a https://x.y/z x", {MARKUP}),
    "references": ("See [x].\n\n[x]: http://a.b 'T'", "See x.", {MARKUP}),
    "an image": ("![alt text](x.png) text", "text", {MARKUP, IMAGE_TEXT}),
    "a footnote": ("[^1]: Footnote text here", "[^1]: Footnote text here", set()),
    "a definition": ("Term\n: Definition", "Term : Definition", set()),
    "tags": ("<p>One <b>two</b></p>\n\na<br>b <foo>c</foo> <baz>", "One two\n\na b c <baz>", {MARKUP}),
    "a comment": ("shown <!-- hidden --> too", "shown too", {COMMENT}),
    "an open comment": ("<!-- open", "<!-- open", set()),
    "an admonition": (
        '!!! note "Careful"\n    Take it.\n\n    Twice.\n\nAfter',
        "Careful\n\nTake it.\n\nTwice.\n\nAfter",
        {MARKUP},
    ),
    "no admonition": ("!!! 注意患者过敏史", "!!! 注意患者过敏史", set()),
    "a container": (f"::: warning\n{S}\n:::\nB", f"{S}\n\nB", {MARKUP}),
    "headings": ("a\n===\nb\n---\n# c\n", "a\n\nb\n\nc", {MARKUP}),
    "a div": ("<div>\n\n**a** b\n\n</div>", "a b", {MARKUP}),
}

HTML: dict[str, tuple[str, str, set[str]]] = {
    "div, br, h4": ("<div>a</div>b<br>c<h4>d</h4><section>e</section>", "a\n\nb c\n\nd\n\ne", {MARKUP}),
    "p inside li": ("<ul><li><p>one</p><p>two</p><li>three</ul>", "one\n\ntwo\n\nthree", {MARKUP}),
    "a definition": ("<dl><dt>T<dd>D</dl>", "T\n\nD", {MARKUP}),
    "entities": ("&lt;b&gt; 5&nbsp;mg &amp;amp;", "<b> 5 mg &amp;", {MARKUP}),
    "CDATA": ("<![CDATA[a < b]]>", "a < b", {MARKUP}),
    "a table": (
        f"<table><tr><th>Drug<th>Use<tr><td>Aspirin<td>{S}<tr><td>1<td>2</table>B",
        f"Drug: Aspirin; Use: {S}\n\nB",
        {MARKUP, TABLE},
    ),
    "cells over columns": (
        f"<table><tr><th>A<th>B<tr><td colspan=2>{S}<td>c</table>",
        f"{S}; c",
        {MARKUP, TABLE},
    ),
    "a table as a frame": (f"<table><tr><td><p>{S}</p><p>b</p></td></tr></table>", f"{S}\n\nb", {MARKUP}),
    "a cell alone": (f"<td>{S}", S, {MARKUP}),
    "code": (f"<pre>x = f(1)</pre><pre>{S}</pre><code>i</code>", f"{S}\n\ni", {MARKUP, CODE}),
    "scripts": ("<script>a='<p>'</script><style>p{}</style>t", "t", {MARKUP, CODE}),
    "navigation": (f"<title>T</title><nav>Home</nav><footer>{S}</footer>", S, {MARKUP, NAVIGATION}),
    "navigation not closed": (f"<nav>x<p>{S}", f"x\n\n{S}", {MARKUP}),
    "a script not closed": (f"a<script>x {S}", "a", {MARKUP, UNCLOSED}),
    "a comment not closed": (f"<!-- {S}", f"<!-- {S}", set()),
    "a comment": ("a<!-- b -->c", "ac", {MARKUP, COMMENT}),
    "ends in a tag": ("a <b", "a <b", set()),
    "an unknown section": ("<![foo bar]> a", "<![foo bar]> a", set()),
    "attributes": ("<td nowrap>x</td><p hidden data-a @click=f>y</p>", "x\n\ny", {MARKUP}),
}

RST: dict[str, tuple[str, str, set[str]]] = {
    "marks": ("*em* **bold** ``lit`` :ref:`a b <c>` `l <http://x>`_", "em bold lit a b l", {MARKUP}),
    "numbers in a role": (":note:`see 3.5 mg. Below` :math:`a<b`", "see 3.5 mg. Below a<b", {MARKUP}),
    "money": ("$ 300 was paid by the patient", "$ 300 was paid by the patient", set()),
    "console": ("A\n\n$ pip install x\nout\n\n>>> f(1)\n... 2\n3\n\nB", "A\n\nB", {CODE}),
    "dots": ("... and so on", "... and so on", set()),
    "line block": ("| one\n| two", "one\n\ntwo", {MARKUP}),
    "substitution": (f"|x| {S}", f"|x| {S}", set()),
    "field of prose": (f":note: {S}\n   More.", f"note: {S} More.", {MARKUP}),
    "parameters": (f":param x: a number\n:param y: {S}", f"y: {S}", {FIELDS, MARKUP}),
    "literal block of prose": (f"Head::\n\n   {S}\n\nB", f"Head:\n\n{S}\n\nB", {MARKUP}),
    "list-table": (f".. list-table::\n\n   * - A\n     - {S}", f"* - A - {S}", {MARKUP}),
    "unknown directive": (f".. unknown:: x\n\n   {S}", S, {DIRECTIVE, MARKUP}),
    "a formula": (".. math::\n\n   a = b\n\nB", "B", {CODE, MARKUP}),
    "a comment": ("A\n\n.. comment\n   more\n\nB", "A\n\nB", {COMMENT, MARKUP}),
    "a footnote": (".. [1] A footnote\n   goes on.", "A footnote goes on.", {MARKUP}),
    "a grid table": (
        f"+---+---+\n| A | B |\n+===+===+\n| 1 | {S} |\n|   | More. |\n+---+---+\n| 2 | 3 |\n+---+---+\n",
        f"A: 1; B: {S} More.",
        {MARKUP, TABLE},
    ),
}
CASES = [
    (kind, *case) for kind, cases in (("markdown", MARKDOWN), ("html", HTML), ("rst", RST)) for case in cases.items()
]


@pytest.mark.parametrize(("kind", "name", "case"), CASES, ids=[f"{kind}: {name}" for kind, name, _ in CASES])
def test_what_is_kept(kind: str, name: str, case: tuple[str, str, set[str]]) -> None:
    """And everything else has its reason: no byte of the file is missing in the account."""
    text, expected, reasons = case
    account = SourceAccount("s")
    assert read(kind, text, account) == expected
    assert set(account.dropped) == reasons
    left_out = sum(entry.bytes for entry in account.dropped.values())
    assert left_out == account.read_bytes == account.left_out_bytes
    # Names of columns stand in each row's text as well.
    assert left_out + text_size(expected) >= text_size(text)


#: Marks, between tabs.
_MARKDOWN = (
    "**\t*\t_\t`\t``\t[\t]\t(\t)\t<\t>\t<b>\t</b>\t<div>\t</div>\t<p>\t-\t1.\t#\t|\t$\t$$\t\\\t&\t&lt;\t!\t![\t"
    "*3*\t===\t!!!\t~\t^\t]:\t[^1]\t<y>\t{\t}\t;\t<pre>\t</pre>\t<td>\t</table>\t<table>\t<br>\t<nav>\t</nav>\t"
    "<b and c>\t\n\t\n\n\t    \t\n    \t\n\n    \t\n```\n\t\n~~~\n\t\n|\t\n|-|-|\n\t---\n\t\n> \t\n- "
)
_HTML = (
    "<p>\t</p>\t<div>\t</div>\t<b>\t</b>\t<td>\t<tr>\t<table>\t</table>\t<th>\t<pre>\t</pre>\t<nav>\t</nav>\t"
    "<br>\t<li>\t<y>\t<\t>\t&lt;\t&\t<title>\t</title>\t<svg>\t</svg>\t</b\t<ul>\t<b\t<!--\t-->\t<![CDATA[\t]]>\t"
    "<![\t<script>\t</script>\t</td>\t</tr>\t<footer>\t\n\n\t < \t > \t<b and c>"
)
_RST = (
    "**\t*\t`\t``\t_\t`_\t|\t:\t<\t>\t-\t[1]_\t\\\t:ref:`\t\n\t\n\n\t   \t\n   \t\n\n   \t::\n\n   \t\n| \t"
    "\n+---+---+\n\t\n====\n\t\n:note: \t\n>>> \t\n... \t\n$ \t\n.. note:: \t\n.. list-table::\n   * - \t"
    "\n.. foo:: \t\n.. [1] \t\n- \tIn [1]: "
)
MARKS = {"markdown": _MARKDOWN.split("\t"), "html": _HTML.split("\t"), "rst": _RST.split("\t")}


@pytest.mark.parametrize("kind", MARKS)
def test_no_word_is_lost(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever marks stand around it, a word is in the text once, or in the account."""
    counted: list[str] = []
    leave_out = SourceAccount.leave_out

    def listening(self: SourceAccount, reason: str, what: str | int, name: str = "") -> None:
        counted.append(str(what))
        leave_out(self, reason, what, name)

    monkeypatch.setattr(SourceAccount, "leave_out", listening)
    draw = random.Random(18)
    for _ in range(800):
        text = ""
        for number in range(draw.randint(1, 25)):
            text += (
                draw.choice(MARKS[kind]) if draw.random() < 0.5 else f" word{number}q{draw.choice([' ', '. ', ', '])}"
            )
        counted.clear()
        account = SourceAccount("s")
        found = read(kind, text, account)
        words = re.findall(r"word\d+q", text)
        assert [word for word in words if word not in found and word not in " ".join(counted)] == [], text
        assert [word for word in words if found.count(word) > 1] == [], text
        assert sum(entry.bytes for entry in account.dropped.values()) == account.read_bytes


@pytest.mark.parametrize(
    ("kind", "mark"),
    [("markdown", mark) for mark in ("[", "![", "<", "<!--", "```a\n", ":::x\n", "[x](", "a*", "$a ", "> ", "<b a='")]
    + [("html", mark) for mark in ("<", "<b ", "<!--", "<![", "</", "<td>", "<table>", "<nav>", "<pre>a\n\n", "<a b='")]
    + [("rst", mark) for mark in ("`", "*", "a::\n\n", ":a:", ":a:`<", "` ", "| a\n", "+--+\n", ".. a\n", "..")],
)
def test_what_is_opened_and_never_closed(kind: str, mark: str) -> None:
    """Thousands of times: it takes time in proportion to its length, and nothing of it becomes more."""
    text = mark * (8_000 // len(mark))
    assert text_size(read(kind, text)) <= text_size(text)


def test_what_is_nested_deeper_than_the_parser_goes() -> None:
    """It is kept as it is: the parser would skip it."""
    assert "deep text" in read("markdown", ">" * 300 + " deep text")
    assert read("markdown", "\n".join("  " * n + f"- w{n}" for n in range(60))).split().count("w59") == 1


def test_a_file_of_marks_alone() -> None:
    """Is no prose, and named."""
    account = SourceAccount("s")
    assert read("html", "<hr><hr>", account) == ""
    assert account.dropped[NO_PROSE].names == ["f"]


def test_prose_and_code() -> None:
    for text in (
        S,
        ZH,
        "Take aspirin once daily in the morning, and call the ward.",
        "Вес пациента был измерен утром в палате.",
    ):
        assert is_prose(text)
    for text in (
        "x = f(1)",
        "$ ls -l",
        "1 2 3 4 5 6 7 8",
        "for i in range(10): print(i)",
        'print("患者")',
        "pip install a",
    ):
        assert not is_prose(text)
        assert not is_prose(text, marked=False)
    assert is_prose("aspirin every morning", marked=False)
    assert not is_prose("aspirin every morning")


def test_rows() -> None:
    """Names of columns stand beside cells only where it is certain which is whose."""
    account = SourceAccount("s")
    assert row_text(["A", "B"], ["1", S], account) == f"A: 1; B: {S}"
    assert row_text(["A"], ["1", S], account) == f"1; {S}"
    assert row_text(["A", "B"], ["", S], account) == S
    assert row_text(["A", "B"], ["1", "2"], account) == ""
    assert account.dropped[TABLE].bytes == 2


@pytest.mark.parametrize("kind", ["markdown", "html"])
def test_powers(kind: str) -> None:
    """10 to the 9th is not 109."""
    text = "5 x 10<sup>9</sup>/L, m<sup>-2</sup>, the 1<sup>st</sup> H<sub>2</sub>O <sup>1</sup>"
    assert read(kind, text) == "5 x 10^9/L, m^-2, the 1st H2O 1"
    assert read("rst", "5 x 10\\ :sup:`9`/L and \\*a\\*") == "5 x 10^9/L and *a*"


def test_tags() -> None:
    closed = frozenset(["foo", "b"])
    for raw in ("<b>", "</B>", "<a href=x>", "<br/>", "<td nowrap>", "<p data-x>", "<foo>", "</foo>", "<Tabs id='x'>"):
        assert is_tag(raw, closed)
    for raw in ("<y>", "<int>", "<b and c>", "<p 0.05>", "<3>", "<foo bar>", "<i>", "<S>"):
        assert not is_tag(raw, closed)
