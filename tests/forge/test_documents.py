"""From sources to documents: the account of what was read, kept and dropped, and how texts are compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cogen.errors import SpecError, TrainError
from cogen.forge.account import (
    BROKEN_LINK,
    CODE,
    DUPLICATE,
    FEWER_CELLS,
    MATCHED,
    NO_FIELD,
    NO_PROSE,
    NOT_PYTHON,
    OTHER_CASE,
    TOO_LARGE,
    TOO_MUCH,
    UNCLOSED,
    Dropped,
    SourceAccount,
    check_loss,
)
from cogen.forge.corpus import build_corpus, mean_overlap
from cogen.forge.documents import Document, TextComparison, collect, joined
from cogen.forge.recipe import Corpus, read_recipe
from cogen.reporter import SILENT
from cogen.text.cut import NO_BOUNDARY, TOO_SHORT
from cogen.text.scripts import length
from cogen.text.starters import starter_texts

#: Sentences of each script; no two numbers share a run of words.
SENTENCES = {
    "Chinese": "患者{0}因发热{1}天入院治疗，体温{2}度，住{3}病区{4}床。",
    "Japanese": "患者{0}は発熱のため{1}日間入院した。体温は{2}度、{3}病棟の{4}号室。",
    "Thai": "ผู้ป่วย{0}มีไข้{1}วัน อุณหภูมิ{2}องศา ตึก{3}เตียง{4} ",
    "Arabic": "دخل المريض {0} بسبب الحمى {1} أيام؟ الحرارة {2}، الجناح {3} سرير {4}. ",
    "English": "Patient {0} had a fever for {1} days, of {2} degrees, in ward {3}, bed {4}. ",
}


def corpus(folder: Path, texts: dict[str, bytes], **changes: Any) -> Corpus:
    folder.mkdir(exist_ok=True)
    for name, data in texts.items():
        (folder / name).write_bytes(data)
    source = {"name": "notes", "uri": f"file://{folder}", "members": ["**"], "extract": "text", "license": "CC0-1.0"}
    source |= {"license_evidence": "none"} | {k: v for k, v in changes.items() if k not in Corpus.model_fields}
    return Corpus.model_validate({"sources": [source]} | {k: v for k, v in changes.items() if k in Corpus.model_fields})


def notes(language: str, count: int) -> str:
    """Sentences in one paragraph, wrapped into lines, as a program exports them."""
    return "\n".join(SENTENCES[language].format(*(n * k % 9973 for k in (7, 11, 13, 17, 19))) for n in range(1, count))


@pytest.mark.parametrize("language", SENTENCES)
def test_text_of_every_script_is_kept(tmp_path: Path, language: str) -> None:
    """All of it, in documents within the bounds; with ``latin`` what puts no space after its stops was lost."""
    recipe = corpus(tmp_path / "a", {"a.txt": notes(language, 400).encode()})
    documents, (account,) = collect(recipe, tmp_path, SILENT)
    assert account.kept_share == 1.0
    assert account.dropped == {}
    assert all(250 <= length(document.text) <= 1200 for document in documents)
    whole = "".join(notes(language, 400).split())
    assert sum(len("".join(d.text.split())) for d in documents) == len(whole)
    older = corpus(tmp_path / "a", {}, segmentation="latin")
    if language in ("Chinese", "Japanese", "Thai"):
        with pytest.raises(TrainError, match=r"lost 100% of its text, 20% are allowed: no sentence ends") as caught:
            collect(older, tmp_path, SILENT)
        assert 'segmentation = "unicode"' in str(caught.value.hint)
    else:
        assert collect(older, tmp_path, SILENT)[1][0].kept_share > 0.8


@pytest.mark.parametrize("language", SENTENCES)
def test_near_copies_are_found_in_every_script(tmp_path: Path, language: str) -> None:
    """Of copies in which every 166th letter is another one, all count as duplicates, and none of other texts."""
    recipe = corpus(tmp_path / "a", {"a.txt": notes(language, 400).encode()})
    documents, _ = collect(recipe, tmp_path, SILENT)
    copies = []
    for document in documents:
        letters = [place for place, one in enumerate(document.text) if one.isalpha()]
        text = list(document.text)
        for place in letters[80::166] or letters[-1:]:
            text[place] = "龘" if language in ("Chinese", "Japanese") else "ฬ" if language == "Thai" else "q"
        copies.append("".join(text))
    compare = TextComparison("unicode")
    assert [compare.overlap(c, compare.ngrams(d.text)) > 0.5 for c, d in zip(copies, documents, strict=True)] == (
        [True] * len(documents)
    )
    (tmp_path / "a" / "b.txt").write_text("\n\n".join(copies), encoding="utf-8")
    again, (account,) = collect(recipe, tmp_path, SILENT)
    assert account.dropped[DUPLICATE].count >= 0.95 * len(copies)
    assert len(again) <= len(documents) * 1.05
    known: set[int] = set().union(*(compare.ngrams(document.text) for document in documents[::2]))
    assert max(compare.overlap(document.text, known) for document in documents[1::2]) < 0.2


def test_what_was_left_out_and_why(tmp_path: Path) -> None:
    """Every byte of the text that was read is kept or has a reason; what the recipe asked for is no loss."""
    texts = {
        "a.txt": ("A long sentence about power lines. " * 10).encode(),
        "b.txt": ("A long sentence about power lines. " * 10).encode(),
        "c.txt": ("Contents of the chapter follow here. " * 10).encode(),
        "d.txt": b"Short.",
        "e.txt": "Ein längerer Satz über Leitungen, mit Umlauten für größere Sicherheit. ".encode("cp1252") * 8,
    }
    recipe = corpus(tmp_path / "a", texts, drop=["^Contents"], max_bytes=600)
    documents, (account,) = collect(recipe, tmp_path, SILENT)
    assert len(documents) == account.kept_documents == 1
    counts = {reason: entry.count for reason, entry in account.dropped.items()}
    assert counts == {MATCHED: 1, TOO_SHORT: 1, TOO_MUCH: 2}
    assert account.kept_bytes + sum(entry.bytes for entry in account.dropped.values()) == account.read_bytes
    assert account.lost_share == 6 / account.read_bytes
    assert account.encodings == {"utf-8": 4, "cp1252 (detected)": 1}
    assert account.line().startswith(f"notes: read {account.read_bytes:,} bytes of text in 5 files; kept ")
    assert "encodings cp1252 (detected): 1" in account.line()
    assert account.fields()["read_bytes"] == account.read_bytes
    assert account.json()["dropped"][TOO_SHORT] == {"count": 1, "bytes": 6}


def test_a_loss_stops_the_training(tmp_path: Path) -> None:
    """Where more than a fifth is lost; the recipe can accept it."""
    texts = {f"{i}.txt": f"Short note number {i}.".encode() for i in range(20)}
    texts["long.txt"] = " ".join(f"Sentence {i} about something." for i in range(40)).encode()
    with pytest.raises(TrainError, match=r"source 'notes' lost \d+% of its text, 20% are allowed: shorter") as caught:
        collect(corpus(tmp_path / "a", texts), tmp_path, SILENT)
    assert str(caught.value.hint).startswith("lower min_characters; or accept the loss: allow_loss = 0.")
    allowed = float(str(caught.value.hint).split("allow_loss = ")[1].split()[0])
    documents, _ = collect(corpus(tmp_path / "a", {}, allow_loss=allowed), tmp_path, SILENT)
    assert documents
    assert collect(corpus(tmp_path / "a", {}, min_characters=10), tmp_path, SILENT)[1][0].kept_share == 1.0


@pytest.mark.parametrize(
    ("kind", "texts", "reason"),
    [
        (
            "json",
            {"a.jsonl": "\n".join(f'{{"note": "Note {n} of the ward, which is about nothing."}}' for n in range(99))},
            NO_FIELD,
        ),
        ("csv", {"a.csv": "id,text\n" + "Note of the ward in the first column\n" * 40}, FEWER_CELLS),
        ("text", {"A.TXT": notes("English", 90)}, OTHER_CASE),
        ("html", {"a.html": f"<p>x</p><script>{notes('English', 90)}"}, UNCLOSED),
        ("xml", {"a.xml": f"<r><q>{notes('English', 90)}</q></r>"}, NO_PROSE),
        ("docstrings", {"a.py": notes("English", 90)}, NOT_PYTHON),
    ],
)
def test_what_no_extractor_finds_is_a_loss(tmp_path: Path, kind: str, texts: dict[str, str], reason: str) -> None:
    """The limit sees it: before, a source could lose nearly all, and say that everything was kept."""
    field = {"json": "text", "csv": "text", "xml": "p"}.get(kind, "text")
    kept = {
        "json": ("kept.jsonl", '{"text": "%s"}'),
        "csv": ("kept.csv", 'id,text\n1,"%s"'),
        "text": ("kept.txt", "%s"),
        "html": ("kept.html", "<div>%s</div>"),
        "xml": ("kept.xml", "<r><p>%s</p></r>"),
        "docstrings": ("kept.py", '"""%s"""'),
    }[kind]
    files = {name: text.encode() for name, text in texts.items()}
    files[kept[0]] = (kept[1] % " ".join(f"Sentence {n} about the ward." for n in range(20))).encode()
    members = ["**/*.txt"] if kind == "text" else ["**"]
    with pytest.raises(
        TrainError, match=rf"source 'notes' lost \d+% of its text, 20% are allowed: .*{reason}"
    ) as caught:
        collect(corpus(tmp_path / "a", files, extract=kind, field=field, members=members), tmp_path, SILENT)
    assert "allow_loss = 0." in str(caught.value.hint)
    changes = {"extract": kind, "field": field, "members": members, "allow_loss": 0.99}
    _, (account,) = collect(corpus(tmp_path / "a", {}, **changes), tmp_path, SILENT)
    assert account.kept_bytes + sum(entry.bytes for entry in account.dropped.values()) == account.read_bytes
    assert account.dropped[reason].bytes > 0.5 * account.read_bytes


def test_code_and_markup_are_no_loss(tmp_path: Path) -> None:
    """They are in the account, and in the share that was kept."""
    code = "\n".join(f"x = f({n})" for n in range(900))
    text = f"# Head\n\n{notes('English', 40)}\n\n```python\n{code}\n```\n"
    _, (account,) = collect(corpus(tmp_path / "a", {"a.md": text.encode()}, extract="markdown"), tmp_path, SILENT)
    assert account.lost_share == 0.0
    assert account.kept_share < 0.5
    assert account.dropped[CODE] == Dropped(1, len("".join(code.split())))
    assert f"code: 1 ({account.dropped[CODE].bytes:,} bytes)" in account.line()
    older = corpus(tmp_path / "a", {}, extract="markdown", segmentation="latin")
    assert collect(older, tmp_path, SILENT)[1][0].kept_share == 1.0


def test_files_that_are_not_read_are_named(tmp_path: Path) -> None:
    """For the publisher alone: the card has no names. ``latin`` counts as it did."""
    recipe = corpus(tmp_path / "a", {"a.txt": notes("English", 90).encode(), "B\n.TXT": b"b"}, members=["**/*.txt"])
    (tmp_path / "a" / "gone.txt").symlink_to(tmp_path / "nothing")
    _, (account,) = collect(recipe, tmp_path, SILENT)
    assert "(1 bytes: B\\n.TXT)" in account.line()
    assert "broken link: 1 (0 bytes: gone.txt)" in account.line()
    assert account.json()["dropped"][OTHER_CASE] == {"count": 1, "bytes": 1, "names": ["B\n.TXT"]}
    assert "TXT" not in str(account.fields())
    older = corpus(tmp_path / "a", {}, members=["**/*.txt"], segmentation="latin")
    assert collect(older, tmp_path, SILENT)[1][0].dropped.keys().isdisjoint({OTHER_CASE, BROKEN_LINK})


def test_a_source_that_gives_nothing(tmp_path: Path) -> None:
    """Says why."""
    with pytest.raises(TrainError, match=r"gave no text \(matches a drop pattern: 1 \(300 bytes\)\)") as caught:
        collect(corpus(tmp_path / "a", {"a.txt": b"x" * 300}, drop=["x"]), tmp_path, SILENT)
    assert caught.value.hint
    with pytest.raises(TrainError, match=r"gave no text \(0 files match its members\)"):
        collect(corpus(tmp_path / "a", {}, members=["*.md"]), tmp_path, SILENT)


@pytest.mark.parametrize(
    ("reason", "hint"), [(TOO_SHORT, "min_characters"), (NO_BOUNDARY, "segmentation"), (TOO_LARGE, "split the file")]
)
def test_each_loss_has_its_hint(reason: str, hint: str) -> None:
    """The greatest one is named."""
    account = SourceAccount(
        "s", read_bytes=100, kept_bytes=60, dropped={reason: Dropped(1, 40), MATCHED: Dropped(1, 5)}
    )
    with pytest.raises(TrainError, match="'s' lost") as caught:
        check_loss(account, 0.2)
    assert hint in str(caught.value.hint)
    check_loss(account, 0.4)


def test_older_recipes_stop_where_they_stopped() -> None:
    """With ``latin``, files without prose and rows without text are no loss, as at first."""
    dropped = {NO_PROSE: Dropped(3, 900), NO_FIELD: Dropped(9, 0), TOO_SHORT: Dropped(1, 10)}
    older = SourceAccount("s", read_bytes=100, kept_bytes=90, dropped=dropped, older=True)
    assert older.lost_share == 0.1
    check_loss(older, 0.1)
    newer = SourceAccount("s", read_bytes=1000, kept_bytes=90, dropped=dropped)
    assert newer.lost_share == 0.91
    with pytest.raises(TrainError, match="lost 91%"):
        check_loss(newer, 0.9)


def test_short_pieces_of_a_group_are_joined() -> None:
    """With the one before or after; those of another group, and a group that is short as a whole, stay as they are."""
    pieces = [("a", "xx"), ("a", "yyyy"), ("a", "z"), ("b", "w"), ("a", "long enough"), ("a", "v")]
    assert list(joined(pieces, 5)) == [("a", "xx\n\nyyyy\n\nz"), ("b", "w"), ("a", "long enough\n\nv")]


def test_not_checked_is_not_zero() -> None:
    """A comparison that cannot see says so: ``latin`` in a script without spaces, texts shorter than a run."""
    text = "患者因发热三天入院伴有咳嗽咳痰体温三十八度血压正常经治疗好转出院。"
    document, copy = Document(text, "s", "a", "CC0-1.0"), Document("前言" + text, "s", "b", "CC0-1.0")
    assert mean_overlap([document], [copy]) == 1.0
    assert mean_overlap([document], [copy], TextComparison("latin")) is None
    assert mean_overlap([Document("Too short.", "s", "a", "CC0-1.0")], [copy]) is None
    assert mean_overlap([], [copy]) is None
    english = Document("one two three four five six seven eight nine", "s", "a", "CC0-1.0")
    assert mean_overlap([english, document], [english], TextComparison("latin")) is None
    assert mean_overlap([english, english, document], [english], TextComparison("latin")) == 1.0


class TestRecipe:
    """Equal digests mean equal documents."""

    def test_a_recipe_of_before_keeps_its_digest_by_naming_its_segmentation(self, recipe: Any) -> None:
        """``latin`` is what recipes without the field were read as; ``unicode`` is another recipe."""
        path = recipe()
        default = read_recipe(path)
        assert default.corpus.segmentation == "unicode"
        older = read_recipe(recipe(corpus={"segmentation": "latin"}))
        assert older.digest != default.digest
        assert "segmentation" not in older.model_dump()["corpus"]
        assert default.model_dump()["corpus"]["segmentation"] == "unicode"

    def test_accepting_a_loss_is_no_other_recipe(self, recipe: Any) -> None:
        """It changes no document; a declared encoding does."""
        one = read_recipe(recipe()).corpus.sources[0]
        dumped = one.model_dump()
        assert type(one)(**dumped, allow_loss=0.5).model_dump() == dumped
        assert "encoding" not in dumped
        assert type(one)(**dumped, encoding="gb18030").model_dump() == dumped | {"encoding": "gb18030"}

    def test_an_encoding_that_is_none(self, recipe: Any) -> None:
        """Is refused when the recipe is read."""
        path = recipe()
        path.write_text(path.read_text().replace('extract = "text"', 'extract = "text"\nencoding = "rot13"'))
        with pytest.raises(SpecError, match="'rot13' is not an encoding of text"):
            read_recipe(path)


def test_accounts_come_with_the_corpus(recipe: Any) -> None:
    """One a source."""
    path = recipe()
    parts = build_corpus(read_recipe(path).corpus, path.parent)
    (account,) = parts.accounts
    assert account.name == "invented"
    assert account.kept_share == account.kept_bytes / account.read_bytes
    assert account.kept_documents >= len(parts.train) + len(parts.dev) + len(parts.test)


def test_starter_texts_that_were_left(tmp_path: Path) -> None:
    """What `cogen new` put there is not trained on, however its lines were wrapped since."""
    starters = [text for text in starter_texts() if len(text) >= 150]
    texts = {"own.txt": notes("English", 60).encode()}
    left = {f"starter-{n}.txt": text.replace(". ", ".\n").encode() for n, text in enumerate(starters[:3])}
    assert collect(corpus(tmp_path / "a", texts, min_characters=100), tmp_path, SILENT)[0]
    with pytest.raises(TrainError, match="source 'notes': 3 documents are the starter texts of `cogen new`"):
        collect(corpus(tmp_path / "a", left, min_characters=100), tmp_path, SILENT)
