"""Prose out of files: small inputs, whole outputs."""

from __future__ import annotations

from typing import Any

import pytest

from cogen.errors import TrainError
from cogen.forge.account import NO_PROSE, NOT_PYTHON, Dropped, SourceAccount
from cogen.forge.extract import extract
from cogen.forge.recipe import CorpusSource


def source(kind: str, **changes: Any) -> CorpusSource:
    fields: dict[str, Any] = {
        "name": "s",
        "uri": "file://x",
        "members": ["**"],
        "extract": kind,
        "license": "CC0-1.0",
        "license_evidence": "none",
    }
    return CorpusSource(**(fields | changes))


def pieces(kind: str, text: str, segmentation: Any = "unicode", **changes: Any) -> list[tuple[str, str]]:
    return list(extract(source(kind, **changes), "f", text.encode(), segmentation=segmentation))


LONG = "A sentence about the voltage of a power line that says something. " * 4

CASES: dict[str, tuple[str, str, str]] = {
    "text": ("text", "One  two\nthree.\n\n\nFour\tfive.\r\n", "One two three.\n\nFour five."),
    "a comment": ("text", "One <!-- two\nthree --> four.", "One <!-- two three --> four."),
    "rst marks": ("rst", "Title\n=====\n\nA **bold** and *slanted* word.", "Title\n\nA bold and slanted word."),
    "rst literal": ("rst", "A ``literal`` word.", "A literal word."),
    "rst roles": ("rst", "See :class:`~pkg.mod.Name` and :ref:`the text <label>`.", "See Name and the text."),
    "rst links": ("rst", "A `link <https://x.y>`_ and `other`_ [1]_.", "A link and other ."),
    "rst code": ("rst", "Before::\n\n    code here\n    more\n\nAfter.", "Before:\n\nAfter."),
    "rst directive": ("rst", "Before.\n\n.. image:: x.png\n   :alt: y\n\nAfter.", "Before.\n\nAfter."),
    "rst note": ("rst", "Before.\n\n.. note:: Take care.\n\nAfter.", "Before.\n\nTake care.\n\nAfter."),
    "rst fields": ("rst", "Before.\n\n:param x: a number\n:returns: another\n\nAfter.", "Before.\n\nAfter."),
    "rst table": ("rst", "Before.\n\n+---+---+\n| a | b |\n+---+---+\n\nAfter.", "Before.\n\nAfter."),
    "rst console": ("rst", "Before.\n\n>>> f(1)\n... 2\n\nAfter.", "Before.\n\nAfter."),
    "md heading": ("markdown", "# Title\nText **bold** and `code`.", "Title\n\nText bold and code."),
    "md front matter": ("markdown", "---\ntitle: x\n---\nText.", "Text."),
    "md code": ("markdown", "Before.\n\n```python\ncode\n```\n\nAfter.", "Before.\n\nAfter."),
    "md links": ("markdown", "A [link](https://x.y) and ![image](a.png) [ref][1].", "A link and [ref][1]."),
    "md table": ("markdown", "Before.\n\n| a | b |\n|---|---|\n\nAfter.", "Before.\n\nAfter."),
    "md html": ("markdown", "A <b>bold</b> word.", "A bold word."),
    "docstring": ("docstrings", f'def f():\n    """{LONG}"""\n', LONG.strip()),
    "html": (
        "html",
        "<nav><p>Menu</p></nav><p>One <b>two</b></p><script>x</script><li>Three</li><div>four</div>",
        "One two\n\nThree\n\nfour",
    ),
    "xml": (
        "xml",
        '<a xmlns="urn:x"><!-- no --><b><text>One <text>two</text>\n three</text></b><other>six</other></a>',
        "One two three",
    ),
    "json": ("json", '{"text": "One"}', "One"),
    "obo": (
        "obo",
        '[Term]\nid: X:1\nname: Fever\ndef: "Too \\"warm\\"." [a:b]\nsynonym: "Pyrexia" []\nis_a: X:0 ! Abnormality\n',
        'Fever: Too "warm". Also called: Pyrexia. It is a kind of abnormality.',
    ),
    "icd10": (
        "icd10",
        "<a><chapter><section id='A00-A09'><diag><name>A00</name><desc>Cholera</desc>"
        "<includes><note>this</note></includes><diag><name>A00.0</name><desc>Classical</desc></diag></diag></section></chapter></a>",
        "Cholera (A00). Includes: this. Classical (A00.0).",
    ),
    "idd": (
        "idd",
        "\\group Zone\nBuilding,\n  \\memo Describes the building.\n  A1, \\field Name\n  \\note Any name.\n",
        "Building. Describes the building. Name: Any name.",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_prose(name: str) -> None:
    """Marks, code, tables and navigation are dropped; the words stay, in order."""
    kind, text, expected = CASES[name]
    text = "\n" + text if kind == "obo" else text
    assert [piece for _, piece in pieces(kind, text)] == [expected]


#: What the published experts were trained on: the faults of that time stay where a recipe asks for them.
LATIN = {
    "a comment": "One four.",
    "md links": "A link and ref.",
    "html": "One two\n\nThree",
    "rst literal": "A `literal` word.",
    "rst code": "Before:\n\ncode here more\n\nAfter.",
}


@pytest.mark.parametrize("name", CASES)
def test_what_was_prose(name: str) -> None:
    """With segmentation ``latin`` every extractor gives what it gave when the published experts were trained."""
    kind, text, expected = CASES[name]
    text = "\n" + text if kind == "obo" else text
    assert [piece for _, piece in pieces(kind, text, "latin")] == [LATIN.get(name, expected)]


def test_a_literal_block_inside_a_list() -> None:
    """It ends where the text is indented as before; a paragraph that is not indented more is none."""
    text = "* One::\n\n      code\n\n  still one.\n\n* Two::\n\nNot indented.\n\nThree.\n\n::\n\n  code\n\nFour."
    assert pieces("rst", text)[0][1] == "* One:\n\nstill one.\n\n* Two:\n\nNot indented.\n\nThree.\n\nFour."


class TestGroups:
    """What must not be parted: a file, the children of a term, a section."""

    def test_a_file(self) -> None:
        """One group for all docstrings of a module."""
        text = f'"""{LONG}"""\ndef f():\n    """{LONG} Again."""\ndef g():\n    "short"\n'
        assert [group for group, _ in pieces("docstrings", text)] == ["s:f", "s:f"]

    def test_children_of_one_term(self) -> None:
        """Siblings are one group, cousins are not; what is obsolete or has no definition is left out."""
        term = '\n[Term]\nid: X:{0}\nname: n{0}\ndef: "d{0}" []\nis_a: X:{1} ! p\n'
        text = term.format(1, 8) + term.format(2, 9) + term.format(3, 8)
        text += '\n[Term]\nid: X:4\nname: n\ndef: "d" []\nis_obsolete: true\n'
        text += "\n[Term]\nid: X:5\nname: n\n\n[Typedef]\nid: y\n"
        assert [group for group, _ in pieces("obo", text)] == ["s:f#X:8", "s:f#X:9", "s:f#X:8"]

    def test_entries_of_a_file(self) -> None:
        """Each text of a JSON file stands alone; a dotted path with ``*`` finds them."""
        text = '{"items": [{"a": {"t": "One"}}, {"a": {"t": "Two"}}, {"a": {"t": 3}}, {"b": 1}]}'
        found = pieces("json", text, field="items.*.a.t")
        assert [piece for _, piece in found] == ["One", "Two"]
        assert len({group for group, _ in found}) == 2
        assert [p for _, p in pieces("json", '{"t": "One"}\n\n{"t": "Two"}\n', field="t")] == ["One", "Two"]

    def test_sections(self) -> None:
        """Of the ICD-10 list."""
        diag = "<diag><name>{0}</name><desc>{0}</desc></diag>"
        one, two = diag.format("A") + diag.format("B"), diag.format("C")
        text = f"<a><chapter><section id='1'>{one}</section><section id='2'>{two}</section></chapter></a>"
        assert [group for group, _ in pieces("icd10", text)] == ["s:f#1", "s:f#1", "s:f#2"]

    def test_groups_of_a_data_dictionary(self) -> None:
        """A ``\\group`` ends where the next one begins; ``latin`` counts its last object to the next one."""
        text = "\\group One\nA,\n \\memo a\nB,\n \\memo b\n\\group Two\nC,\n \\memo c\n"
        assert pieces("idd", text) == [("s:f#One", "A. a"), ("s:f#One", "B. b"), ("s:f#Two", "C. c")]
        assert pieces("idd", text, "latin") == [("s:f#One", "A. a"), ("s:f#Two", "B. b"), ("s:f#Two", "C. c")]


def test_elements_of_xml() -> None:
    """In the order of the file, which is one group; a text that stands twice counts once."""
    text = "<a><D>one</D><b><D>two</D></b><D> one </D><D/><D>three</D></a>"
    assert pieces("xml", text, field="D") == [("s:f", "one"), ("s:f", "two"), ("s:f", "three")]


def test_python_that_is_none() -> None:
    """A file that does not parse gives nothing; warnings about its escapes are nobody's business."""
    assert pieces("docstrings", "def f(:") == []
    assert pieces("docstrings", f'x = "\\d"\ndef f():\n    """{LONG}"""\n') != []
    account = SourceAccount("s")
    assert list(extract(source("docstrings"), "f", b"def f(:", account)) == []
    assert account.dropped == {NOT_PYTHON: Dropped(1, 6)}
    assert account.lost_share == 1.0
    older = SourceAccount("s")
    assert list(extract(source("docstrings"), "f", b"def f(:", older, "latin")) == []
    assert older.dropped == {NOT_PYTHON: Dropped(1, 0), NO_PROSE: Dropped(1, 7)}


@pytest.mark.parametrize(
    ("kind", "text"), [("json", "{"), ("json", "not\njson"), ("icd10", "<a><b></a>"), ("icd10", ""), ("xml", "<a>")]
)
def test_a_file_of_another_kind(kind: str, text: str) -> None:
    """Named, with a hint, instead of a traceback."""
    with pytest.raises(TrainError, match="f of source 's'") as caught:
        pieces(kind, text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"One \xff two\x00.", "at byte 9"),
        (b"One \xff two.", "at byte 4"),
        ("发热\ufffd\ufffd".encode(), "at byte 6"),
        ("发热三天\n".encode() + "发热三天".encode("gb18030"), "at byte 13"),
    ],
)
def test_bytes_that_are_no_text(data: bytes, place: str) -> None:
    """Refused by file and offset; nothing is replaced in silence."""
    with pytest.raises(TrainError, match=f"^f of source 's', {place}: ") as caught:
        list(extract(source("text"), "f", data))
    assert caught.value.hint


def test_files_that_give_nothing_are_counted() -> None:
    """A page without text is named in the account and lost; an empty file is nothing that could be lost."""
    account = SourceAccount("s")
    assert list(extract(source("html"), "f", b"<div><hr></div>", account)) == []
    assert list(extract(source("html"), "f", b" ", account)) == []
    assert account.dropped == {NO_PROSE: Dropped(1, 15)}
    assert account.dropped[NO_PROSE].names == ["f"]
    assert account.lost_share == 1.0
    older = SourceAccount("s")
    assert list(extract(source("html"), "f", b"<div>Text</div>", older, "latin")) == []
    assert older.dropped == {NO_PROSE: Dropped(1, 15)}


def one(data: bytes, account: SourceAccount, **changes: Any) -> str:
    ((_, text),) = extract(source("text", **changes), "f", data, account)
    return text


def test_a_declared_encoding() -> None:
    """It wins; what was detected stands in the account."""
    data = "Le café était fermé.".encode("cp1252")
    account = SourceAccount("s")
    assert one(data, account, encoding="latin-1") == "Le café était fermé."
    text = "患者因发热三天入院，伴有咳嗽、咳痰。"
    assert one(text.encode("gb18030"), account) == text
    assert one(text.encode(), account) == text
    assert account.encodings == {"iso8859-1 (declared)": 1, "gb18030 (detected)": 1, "utf-8": 1}
    assert account.detected() == "gb18030 (detected): 1, iso8859-1 (declared): 1"
    assert (account.files, account.file_bytes) == (3, len(data) + len(text.encode("gb18030")) + len(text.encode()))
