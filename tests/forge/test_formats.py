"""Files that teams have: PDF, Word, Parquet, CSV, chats, `datasets` folders, each made here by a library."""

from __future__ import annotations

import base64
import ctypes
import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from cogen.errors import MissingExtraError, TrainError
from cogen.forge.account import (
    COMMENT,
    DELETED,
    DUPLICATE,
    FEWER_CELLS,
    MORE_CELLS,
    NO_FIELD,
    NO_PROSE,
    NO_TEXT_PAGE,
    OUTSIDE_FIELD,
    REPEATED,
    SYMBOL,
    Dropped,
    SourceAccount,
)
from cogen.forge.chats import Turn
from cogen.forge.extract import extract, extract_chats
from cogen.forge.recipe import CorpusSource

docx = pytest.importorskip("docx")
pyarrow = pytest.importorskip("pyarrow")
pdfium = pytest.importorskip("pypdfium2")

#: An empty page behind a password (pdfium writes none): made with pypdf 7.1, in base 85.
ENCRYPTED = (
    "B~V00Eio=L3MJy>&(jJqATS_rVrmLJJPI#Ra&KgHV`Xw6JTft5F)%PPW;QZD3O+sxWo~3|VrmL9ATS_rVrmLJJPI#Vd2nSQFHm7;WpfHILvM9%"
    "bRaPbFH31;b0AwFG$1e_QXpLlK0XR%Ze(v_Y6>$TFd%PYY6?6&3NKW7aAhDbLt%7bY;R`@FHm7;Wpf}hATS_O3O+sxWo~3|VrmLBATS_rVrmLJ"
    "JPI#Vd2nSQFHm7;WeP7+Wpi(Ja${w4AUr$@K0XRBO=V<hVM1?sAX^|XE-)Z4E-)Z5Ffbr7Ffbrp3NKJ$a%FCGATl5@AW{lGJ_==SWN%_>3N;`w"
    "Aa7!73OqatFIFHj3NKP1GYT(EWo~D5Xdp2%I0`RNAT%;LG&wdmGC48|FGgu>bY*fNFH>}3Ze(F{WC|}&AUrT-H8L_eGBsf{Wi(|tH#B22V`gDv"
    "Vr6DEF)?8`Ght&iWn(g8WH>f8WMgDAWHdH1H#RXeIWae3VrFDFWi&ntFI6BsFk>+_VP-I4Fg7!0W-%}{HeqHpI59XkH)A<6H#0XiGB{#pG-Wkq"
    "G-Wq6IAJs~HZ(9WG-Wk5W@ct#FflMVJ_<fQ3T19&Z(?c+cyeWC3NRox3NSD*FfcGMFfcG6HZ?UfH6Ugn3NSD*FfcGMFflbCFfcGMFd%Lq3NSD*"
    "FfcGMFf}<KFfcGMFd%Lq3NSD*FfcGMF)=tGFfcGMFd%Lq3NSD*FfcGMF*Y|KFfcGMFd%Lq3NSD*FfcGMGBz<FFfcGMFd%Lq3UqQ|X>4V33Oqat"
    "FH>oHWgs>RFH&!BbRaVzFd$M2FG+4@Zy+%sFd$M2FG)loTOd3!VK+2nHe)h3Fk><@GBh$}FflS?VrFAAGcsW^WH&WFAUrW)H#B56V=^}|V=^)_"
    "G%{r{F*0LfW@9rmGGQ`gH#I&WT?#KnZewzJaC9IwATS_O3O+sxb97;Hba--QW(qVnHVP#rMNdWw"
)
TEXT = "患者因发热三天入院，伴有咳嗽、咳痰。体温38.5度，血压正常。"


SPACES = (
    'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" '
    'xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"'
)


def saved(document: Any) -> bytes:
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def read(kind: str, data: bytes, name: str = "f", account: SourceAccount | None = None, **changes: Any) -> list[str]:
    return [text for _, text in extract(made(kind, **changes), name, data, account)]


def made(kind: str, **changes: Any) -> CorpusSource:
    fields = {"name": "s", "uri": "file://x", "members": ["**"], "license": "CC0-1.0", "license_evidence": "none"}
    return CorpusSource.model_validate(fields | {"extract": kind} | changes)


def pdf(*pages: list[str], size: float = 12) -> bytes:
    """A PDF with these lines on its pages, in Helvetica, written by pdfium."""
    from pypdfium2 import raw

    document = pdfium.PdfDocument.new()
    font = raw.FPDFText_LoadStandardFont(document, b"Helvetica")
    for lines in pages:
        page = document.new_page(595, 842)
        for number, line in enumerate(lines):
            text = raw.FPDFPageObj_CreateTextObj(document, font, size)
            encoded = (line + "\x00").encode("utf-16-le")
            buffer = (ctypes.c_ushort * (len(encoded) // 2)).from_buffer_copy(encoded)
            raw.FPDFText_SetText(text, buffer)
            raw.FPDFPageObj_Transform(text, 1, 0, 0, 1, 60, 780 - 16 * number)
            raw.FPDFPage_InsertObject(page, text)
        page.gen_content()
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


def word(*paragraphs: str) -> bytes:
    document = docx.Document()
    for paragraph in paragraphs:
        document.add_paragraph(paragraph)
    out = io.BytesIO()
    document.save(out)
    return out.getvalue()


class TestPdf:
    """Text of all pages, in one group."""

    def test_lines_become_paragraphs(self) -> None:
        """A short line that ends a sentence ends one; a hyphen of a line end is taken out."""
        lines = [
            "The patient was admitted with fever and was exam-",
            "ined again on the next day. He left.",
            "The end.",
        ]
        lines += ["A second paragraph of the same length as the first", "one, which ends here."]
        (text,) = read("pdf", pdf(lines))
        assert text.replace("\n\n", " ") == (
            "The patient was admitted with fever and was examined again on the next day. He left. The end. A second "
            "paragraph of the same length as the first one, which ends here."
        )
        assert text.count("\n\n") >= 1

    def test_running_headers_and_page_numbers(self) -> None:
        """What stands on most pages, but for its numbers, is no prose; the account says how often."""
        account = SourceAccount("s")
        pages = [["Ward 7, report", f"Patient {n} was well on that day.", f"Page {n} of 4"] for n in (1, 2, 3, 4)]
        (text,) = read("pdf", pdf(*pages), account=account)
        assert "Ward" not in text
        assert "Page" not in text
        assert [f"Patient {n} was well on that day." in text for n in (1, 2, 3, 4)] == [True] * 4
        assert account.dropped[REPEATED].count == 8
        assert account.read_bytes == account.dropped[REPEATED].bytes == 4 * len("Ward7,reportPage1of4")
        assert account.pages == 4

    def test_pages_without_text_are_counted(self) -> None:
        """Of a file that is scanned in part; one that is scanned as a whole is refused."""
        account = SourceAccount("s")
        assert read("pdf", pdf(["One."], [], []), account=account) == ["One."]
        assert account.dropped[NO_TEXT_PAGE].count == 2
        assert account.lost_share == 2 / 3
        with pytest.raises(TrainError, match="f of source 's' has no text in 2 pages: it was scanned") as caught:
            read("pdf", pdf([], []))
        assert caught.value.hint

    def test_encrypted_and_damaged(self) -> None:
        """By name, each with its hint."""
        with pytest.raises(TrainError, match="f of source 's' is encrypted") as caught:
            read("pdf", base64.b85decode(ENCRYPTED))
        assert caught.value.hint == "save it without a password"
        for data in (b"hello", b"", pdf(["One."])[:200]):
            with pytest.raises(TrainError, match="is damaged, or no PDF file"):
                read("pdf", data)


class TestWord:
    """Text of .docx files."""

    def test_paragraphs_tables_and_text_of_changes(self) -> None:
        """In reading order; inserted text is read, deleted text is not."""
        from docx.oxml import parse_xml

        document = docx.Document()
        document.add_heading("Bericht", 1)
        document.add_paragraph(TEXT)
        document.add_table(1, 2).cell(0, 1).text = "In a cell."
        space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
        document.add_paragraph("Before ")._p.append(parse_xml(f"<w:ins {space}><w:r><w:t>new</w:t></w:r></w:ins>"))
        document.paragraphs[-1]._p.append(parse_xml(f"<w:del {space}><w:r><w:delText>old</w:delText></w:r></w:del>"))
        document.add_paragraph("a\tb")
        out = io.BytesIO()
        document.save(out)
        assert read("docx", out.getvalue()) == [f"Bericht\n\n{TEXT}\n\nIn a cell.\n\nBefore new\n\na b"]

    def test_what_is_beside_the_text_is_counted(self) -> None:
        """Headers, footers, comments and deleted text are no documents, and stand in the account."""
        document = docx.Document()
        run = document.add_paragraph(TEXT).runs[0]
        document.sections[0].header.paragraphs[0].text = "Ward 3, page"
        document.sections[0].footer.paragraphs[0].text = "Confidential"
        deleted = f"<w:del {SPACES}><w:r><w:delText>old text</w:delText></w:r></w:del>"
        document.paragraphs[-1]._p.append(docx.oxml.parse_xml(deleted))
        if hasattr(document, "add_comment"):
            document.add_comment([run], text="Is that right?", author="A", initials="A")
        account = SourceAccount("s")
        assert read("docx", saved(document), account=account) == [TEXT]
        sizes = {reason: entry.bytes for reason, entry in account.dropped.items()}
        assert sizes.pop(COMMENT, 12) == 12
        assert sizes == {REPEATED: len("Ward3,page") + len("Confidential"), DELETED: len("oldtext")}

    def test_powers_symbols_and_formulas(self) -> None:
        """10 to the 9th is not 109, K with a sign before its figure is not K of that figure, a half is not 12."""
        document = docx.Document()
        paragraph = document.add_paragraph("WBC 4.5 x 10")
        paragraph.add_run("9").font.superscript = True
        paragraph.add_run("/L, the 1")
        paragraph.add_run("st").font.superscript = True
        paragraph.add_run(" of H")
        paragraph.add_run("2").font.subscript = True
        paragraph.add_run("O, K ")
        symbols = '<w:sym w:font="Symbol" w:char="F0B3"/><w:t>3.5 </w:t><w:sym w:font="Wingdings" w:char="F0FC"/>'
        paragraph._p.append(docx.oxml.parse_xml(f"<w:r {SPACES}>{symbols}</w:r>"))
        power = "<m:sSup><m:e><m:r><m:t>10</m:t></m:r></m:e><m:sup><m:r><m:t>-3</m:t></m:r></m:sup></m:sSup>"
        half = "<m:f><m:num><m:r><m:t>a+b</m:t></m:r></m:num><m:den><m:r><m:t>2</m:t></m:r></m:den></m:f>"
        paragraph._p.append(docx.oxml.parse_xml(f"<m:oMath {SPACES}>{power}<m:r><m:t> = </m:t></m:r>{half}</m:oMath>"))
        account = SourceAccount("s")
        (text,) = read("docx", saved(document), account=account)
        assert text == "WBC 4.5 x 10^9/L, the 1st of H2O, K ≥3.5 10^(-3) = (a+b)/2"
        assert account.dropped[SYMBOL].bytes == 1
        (older,) = [t for _, t in extract(made("docx"), "f", saved(document), None, "latin")]
        assert older == "WBC 4.5 x 109/L, the 1st of H2O, K 3.5"

    def test_encrypted_damaged_and_huge(self) -> None:
        """By name, each with its hint; a bomb is not unpacked."""
        bomb = io.BytesIO()
        with (
            zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open("x", "w", force_zip64=True) as file,
        ):
            for _ in range(300):
                file.write(bytes(1 << 20))
        for data, message in (
            (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(100), "is encrypted, or in the older format"),
            (b"hello", "is damaged, or no Word file"),
            (word("x")[:500], "is damaged, or no Word file"),
            (bomb.getvalue(), "unpacks to 315 MB, where 268 are allowed"),
        ):
            with pytest.raises(TrainError, match=f"f of source 's' {message}") as caught:
                read("docx", data)
            assert caught.value.hint


class TestTables:
    """Rows: a text each, a group of its own."""

    def test_csv(self) -> None:
        """Any usual separator, any encoding; empty cells give nothing, a wrong column is answered with the columns."""
        data = f'id,note\n1,"{TEXT}, with a ""quote"" and\na line"\n2,\n'
        assert read("csv", data.encode("gb18030"), field="note") == [f'{TEXT}, with a "quote" and a line']
        assert read("csv", "id;note\n1;one, two\n".encode("utf-16"), field="note") == ["one, two"]
        assert read("csv", b"note\n" + b"x" * 200_000, field="note") == ["x" * 200_000]
        with pytest.raises(TrainError, match="has no column 'text'") as caught:
            read("csv", data.encode())
        assert caught.value.hint == "field is one of id, note"

    def test_parquet(self) -> None:
        """A column, or what is inside a structure or list."""
        from pyarrow import parquet

        table = pyarrow.table({"id": [1, 2, 3], "note": [TEXT, None, "two"], "deep": [[{"t": "a"}], [], [{"t": "b"}]]})
        out = io.BytesIO()
        parquet.write_table(table, out)
        assert read("parquet", out.getvalue(), field="note") == [TEXT, "two"]
        assert read("parquet", out.getvalue(), field="deep.*.t") == ["a", "b"]
        with pytest.raises(TrainError, match="has no column 'text'") as caught:
            read("parquet", out.getvalue())
        assert caught.value.hint == "field is one of id, note, deep"
        with pytest.raises(TrainError, match="is not what extract = 'parquet' reads"):
            read("parquet", b"hello")

    def test_datasets_folder(self, tmp_path: Path) -> None:
        """As `save_to_disk` writes it: .arrow files are read, the notes beside them are not."""
        datasets = pytest.importorskip("datasets")
        datasets.Dataset.from_dict({"text": [TEXT, "two"]}).save_to_disk(tmp_path / "d")
        found = {file.name: read("datasets", file.read_bytes(), file.name) for file in (tmp_path / "d").rglob("*.*")}
        assert found == {
            "data-00000-of-00001.arrow": [TEXT, "two"],
            "dataset_info.json": [],
            "state.json": [],
        }
        assert read("datasets", b'{"text": "one"}\n{"text": "two"}\n', "train.jsonl") == ["one", "two"]
        assert read("datasets", b"text\none\n", "train.csv") == ["one"]
        with pytest.raises(TrainError, match=r"ends in \.parquet"):
            read("datasets", b"x", "README.md")

    def test_rows_without_text_are_counted(self) -> None:
        """A field that some rows lack, or that is no text."""
        account = SourceAccount("s")
        assert read("json", b'{"text": "a"}\n{"body": "b"}\n{"text": 3}\n', account=account) == ["a"]
        assert account.dropped[NO_FIELD].count == 2


CHATS: dict[str, tuple[Any, str | None]] = {
    "messages": (
        {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes."}]},
        "Hi\n\nYes.",
    ),
    "ShareGPT": ({"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yes."}]}, "Hi\n\nYes."),
    "a field": ({"talk": [{"role": "user", "text": "Hi"}]}, "Hi"),
    "parts": ({"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "image"}]}]}, "Hi"),
    "Alpaca": ({"instruction": "Say", "input": "it", "output": "Yes."}, "Say\n\nit\n\nYes."),
    "Dolly": ({"instruction": "Say", "context": "C", "response": "Yes."}, "Say\n\nC\n\nYes."),
    "a list": ([{"role": "user", "content": "Hi"}], "Hi"),
    "nothing": ({"id": 3}, None),
}


@pytest.mark.parametrize("name", CHATS)
def test_chats(name: str) -> None:
    """A conversation is one text, its turns paragraphs; a row that is none is counted."""
    row, expected = CHATS[name]
    account = SourceAccount("s")
    line = json.dumps(row) + "\n"
    found = read("chat", (line + line).encode(), "f.jsonl", account, field="talk")
    assert found == ([expected] * 2 if expected else [])
    assert (NO_FIELD in account.dropped) is (expected is None)


CONVERSATION = (Turn("user", "Hi"), Turn("assistant", "Yes."))


def test_conversations_of_every_file() -> None:
    """What data = "chat" learns has the same reader: CSV, lists, lines and tables, in any encoding, and an account."""
    from pyarrow import parquet

    rows = [{"prompt": "Hi", "response": "Yes."}, {"prompt": "你好", "response": "好的。"}]
    table = io.BytesIO()
    parquet.write_table(pyarrow.Table.from_pylist(rows), table)
    files = {
        "c.parquet": table.getvalue(),
        "c.csv": "prompt,response\nHi,Yes.\n你好,好的。\n".encode(),
        "c.json": json.dumps(rows).encode(),
        "c.jsonl": "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode("utf-16"),
    }
    account = SourceAccount("s")
    for name, data in files.items():
        found = list(extract_chats(made("chat"), name, data, account))
        assert found == [
            (f"s:{name}#1", CONVERSATION),
            (f"s:{name}#2", (Turn("user", "你好"), Turn("assistant", "好的。"))),
        ]
        assert read("chat", data, name) == ["Hi\n\nYes.", "你好\n\n好的。"]
    assert account.files == len(files)
    with pytest.raises(TrainError, match=r"c\.csv row 1 has no text under 'response'"):
        list(extract_chats(made("chat"), "c.csv", b"prompt,response\nHi,\n", account))


@pytest.mark.parametrize(
    ("kind", "name", "module"), [("pdf", "f", "pypdfium2"), ("docx", "f", "docx"), ("parquet", "f", "pyarrow")]
)
def test_without_the_extra(kind: str, name: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line with the command that installs it."""
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.setattr("cogen.extras.find_spec", lambda one: None if one == module else object())
    with pytest.raises(MissingExtraError, match=f'extract = "{kind}" needs {module}') as caught:
        read(kind, b"", name)
    assert caught.value.hint == 'pip install "cogen-core[documents]"'


def test_rows_that_a_separator_has_cut() -> None:
    """A comma in a cell without quotes: what is behind it would be lost without a word, so the row is counted."""
    account = SourceAccount("s")
    data = b'id,text\n1,whole\n2,"quoted, whole"\n3,cut here, lost there\n4,trailing,,\n'
    assert read("csv", data, "f.csv", account, field="text") == ["whole", "quoted, whole", "trailing"]
    assert (account.dropped[MORE_CELLS].count, account.dropped[MORE_CELLS].bytes) == (1, len("3cutherelostthere"))
    assert account.lost_share == 1.0  # of what was read so far: nothing else was counted yet
    unnamed = SourceAccount("s")
    assert read("csv", b",text\n0,first\n1,second\n", "f.csv", unnamed, field="text") == ["first", "second"]
    assert unnamed.dropped == {OUTSIDE_FIELD: Dropped(1, len(",text0,1,"))}


def test_json_that_is_nested_too_deeply() -> None:
    with pytest.raises(TrainError, match="f of source 's' is nested too deeply"):
        read("json", b"[" * 200_000 + b"]" * 200_000)


def test_a_word_file_of_other_elements() -> None:
    """Well-formed, and nothing that Word writes."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
        archive.writestr("word/document.xml", "<x>a patient</x>")
    with pytest.raises(TrainError, match="is damaged, or no Word file"):
        read("docx", packed.getvalue(), "f.docx")


def test_a_document_without_text_is_named() -> None:
    """Its size says nothing about a text."""
    account = SourceAccount("s")
    assert read("docx", word(), "empty.docx", account) == []
    assert account.dropped == {NO_PROSE: Dropped(1, 0)}
    assert "(0 bytes: empty.docx)" in account.line()


class TestRowsThatHaveNoText:
    """Each loss is counted in bytes; what was read as one of two is read as both, or refused."""

    def test_rows_without_the_field(self) -> None:
        """A note under another name in nine of ten rows."""
        account = SourceAccount("s")
        rows = [{"text": "kept"} if n % 10 == 0 else {"note": "a note that is lost"} for n in range(20)]
        assert read("json", "\n".join(map(json.dumps, rows)).encode(), account=account) == ["kept"] * 2
        assert account.dropped[NO_FIELD] == Dropped(18, 18 * len('{"note":"anotethatislost"}'))
        assert account.lost_share > 0.9
        older = SourceAccount("s")
        assert [*extract(made("json"), "f", b'{"note": "a"}', older, "latin")] == []
        assert older.dropped[NO_FIELD] == Dropped(1, 0)

    def test_null_is_no_loss(self) -> None:
        account = SourceAccount("s")
        assert read("json", b'{"text": null}\n{"text": "a"}', account=account) == ["a"]
        assert account.lost_share == 0.0

    def test_lists(self) -> None:
        """Of strings: one text. Of anything else: counted. A list at the top is its elements."""
        account = SourceAccount("s")
        data = json.dumps([{"text": ["a", "b"]}, {"text": ["c", 1]}, {"text": {"d": "e"}}, {"text": "f"}]).encode()
        assert read("json", data, account=account) == ["a\n\nb", "f"]
        assert account.dropped[NO_FIELD] == Dropped(2, len('["c",1]{"d":"e"}'))
        assert read("json", b'[{"text": "a"}, {"text": "b"}]', field="*.text") == ["a", "b"]

    def test_names_that_stand_twice(self) -> None:
        """In JSON both are read; of two columns of a table nobody knows which is meant."""
        assert read("json", b'{"text": "a", "text": "b"}') == ["a\n\nb"]
        assert read("json", b'{"text": "a", "text": null}') == []
        with pytest.raises(TrainError, match="f of source 's' has 2 columns 'text'") as caught:
            read("csv", b"text,text\na,b\n")
        assert caught.value.hint
        assert read("csv", b"text,id,id\na,b,c\n") == ["a"]

    def test_a_name_with_dots(self) -> None:
        assert read("json", b'{"a.text": "x", "a": {"text": "y"}}', field="a.text") == ["x"]
        assert read("json", b'{"a": {"b.c": "y"}}', field="a.b.c") == ["y"]

    def test_rows_that_are_too_short(self) -> None:
        """They end before the column; an empty cell has no text to lose."""
        account = SourceAccount("s")
        data = b"id,text,more\na long note in the wrong place\n2,kept\n3,,x\n"
        assert read("csv", data, account=account) == ["kept"]
        assert account.dropped[FEWER_CELLS] == Dropped(1, len("alongnoteinthewrongplace"))
        assert account.lost_share == 1.0
        assert [text for _, text in extract(made("csv"), "f", data, None, "latin")] == ["kept"]

    def test_escapes_are_counted_as_what_they_stand_for(self) -> None:
        """JSON of programs that write ASCII alone has 6 bytes for each of 3."""
        account = SourceAccount("s")
        assert read("json", json.dumps({"text": TEXT * 20}).encode(), account=account) == [TEXT * 20]
        assert account.dropped[OUTSIDE_FIELD].bytes == len('{"text":""}')

    def test_elements_of_other_names(self) -> None:
        """A file in which no element is called so is lost as a whole, and named."""
        account = SourceAccount("s")
        assert read("xml", b"<r><p>One</p><p>One</p><q>Two</q></r>", account=account, field="p") == ["One"]
        assert account.dropped[DUPLICATE].bytes == 3
        assert account.dropped[OUTSIDE_FIELD].bytes == len("<r><p></p><p></p><q>Two</q></r>")
        assert read("xml", b"<r><q>Two</q></r>", "other.xml", account, field="p") == []
        assert account.dropped[NO_PROSE] == Dropped(1, len("<r><q>Two</q></r>"))
        assert "other.xml" in account.line()
        assert "other.xml" not in account.fields()["dropped"]


SECRET = "王伟因胸闷气短于三月入院，既往有咳嗽病史"


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("csv", f"1,{SECRET}{SECRET}{SECRET}\n2,x\n"),
        ("csv", "王伟,67\n李娜,54\n"),
        ("csv", "王伟,2026-03-01\n李娜,2026-03-02\n"),
        ("chat", json.dumps({"messages": [{"role": SECRET, "content": "x"}]})),
        ("chat", json.dumps({"messages": [{"role": "user", "content": [{"type": SECRET}]}]})),
        ("chat", json.dumps({SECRET: "x"})),
        ("json", '{"text": "' + SECRET),
        ("xml", f"<r><text>{SECRET}</r>"),
        ("docstrings", f'def f(): """{SECRET}'),
        ("datasets", json.dumps({SECRET: SECRET})),
    ],
)
def test_no_message_repeats_a_text(kind: str, text: str) -> None:
    """Not even of a table whose first row is a patient: messages are sent to those who help."""
    account = SourceAccount("s")
    message = ""
    try:
        if kind == "chat":
            list(extract_chats(made(kind), "f.jsonl", text.encode(), account))
        else:
            read(kind, text.encode(), "f.json" if kind == "datasets" else "f", account)
    except TrainError as error:
        message = f"{error.message} {error.hint}"
    for line in (message, account.line()):
        assert "王伟" not in line
        assert "\\u738b" not in line
    assert message or account.dropped


def test_columns_are_named() -> None:
    """A first row of names is shown, as long as it is one; of many columns the first."""
    with pytest.raises(TrainError) as caught:
        read("csv", (",".join(f"c{n}" for n in range(40)) + "\n").encode() + b"1," * 40)
    assert caught.value.hint == f"field is one of {', '.join(f'c{n}' for n in range(30))}, …"
    with pytest.raises(TrainError) as caught:
        read("csv", b",id,note\n0,1,x\n")
    assert caught.value.hint == "field is one of id, note"
