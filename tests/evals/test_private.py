"""A private suite at its publisher's: what is written, what is read, and that nothing of it shows."""

from __future__ import annotations

import hashlib
import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml

from cogen.errors import CogenError, DigestError, EvalError
from cogen.evals.documents import rows_of
from cogen.evals.private import read_private, text_digest, write_private, write_private_task
from cogen.evals.task import load_task

SECRET = "Mrs Elsbeth Quill, born 1931, was seen for chest pain"


def write(tmp_path: Path, texts: Any = None) -> Path:
    dev, test = texts or ([f"{SECRET} dev {i}" for i in range(3)], [f"{SECRET} test {i} é" for i in range(5)])
    write_private(tmp_path / "private", "notes", "Clinical notes", dev, test)
    return tmp_path / "private" / "private.yaml"


def edit(path: Path, **changes: Any) -> None:
    found = yaml.safe_load(path.read_text()) | changes
    path.write_text(yaml.safe_dump({name: value for name, value in found.items() if value is not None}))


def test_digest_is_salt_then_length_and_text() -> None:
    """Recomputed by hand; the same characters cut in another way are another text."""
    salt = bytes(range(32))
    data = salt + (2).to_bytes(8, "big") + "é".encode() + (1).to_bytes(8, "big") + b"b"
    assert text_digest(salt, ["é", "b"]) == "sha256:" + hashlib.sha256(data).hexdigest()
    assert len({text_digest(salt, t) for t in (["ab", "c"], ["a", "bc"], ["abc"], ["c", "ab"])}) == 4
    assert text_digest(salt, ["a"]) != text_digest(bytes(32), ["a"])
    with pytest.raises(EvalError, match="salt has 5 bytes"):
        text_digest(b"short", ["a"])


def test_what_was_written_is_read(tmp_path: Path) -> None:
    """Texts, counts, sizes and digests of both splits."""
    task = read_private(write(tmp_path))
    assert (task.id, task.title, task.metric) == ("notes", "Clinical notes", "bits_per_byte")
    assert task.texts("test") == [f"{SECRET} test {i} é" for i in range(5)]
    assert task.documents == {"dev": 3, "test": 5}
    assert task.sizes["test"] == sum(len(text.encode()) for text in task.texts("test"))
    salt = bytes.fromhex((tmp_path / "private" / "salt").read_text().strip())
    assert task.digests["dev"] == text_digest(salt, task.texts("dev"))
    assert read_private(tmp_path / "private") == task  # the folder stands for its file


def test_only_its_owner_reads_it(tmp_path: Path) -> None:
    """0700 for the folder, 0600 for everything in it, also where the folder was there with more."""
    (tmp_path / "private").mkdir(mode=0o755)
    write(tmp_path)
    assert stat.S_IMODE((tmp_path / "private").stat().st_mode) == 0o700
    files = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "private").iterdir()}
    assert files == dict.fromkeys(("private.yaml", "dev.jsonl", "test.jsonl", "salt"), 0o600)


def test_the_salt_stays(tmp_path: Path) -> None:
    """Written twice: the same texts have the same digest. In another folder they have another."""
    first = read_private(write(tmp_path))
    assert read_private(write(tmp_path)).digests == first.digests
    assert read_private(write(tmp_path / "other")).digests != first.digests


def test_nothing_of_it_shows(tmp_path: Path) -> None:
    """Neither text nor salt stands in private.yaml or in what a debugger prints."""
    path = write(tmp_path)
    task, salt = read_private(path), (tmp_path / "private" / "salt").read_text().strip()
    for shown in (path.read_text(), repr(task), repr(task.bound())):
        assert "Quill" not in shown
        assert salt not in shown
        assert repr(task.salt) not in shown


def test_it_runs_as_a_suite(tmp_path: Path, run: Any, heldout: Any) -> None:
    """The same figure as the same texts in an open suite, and no entry in the cache of results."""
    task = read_private(write(tmp_path))
    (private,) = run([task.bound()], use_cache=False)
    assert not (tmp_path / "cache").exists()
    (public,) = run([heldout(task.texts("dev"), task.texts("test"))])
    assert (private.column, private.n) == ("private/notes", 5)
    assert (private.value, private.low, private.high) == (public.value, public.low, public.high)


def test_another_task_file(tmp_path: Path, run: Any) -> None:
    """Multiple choice with a task file of its own; a text is then the whole object."""
    path = write(tmp_path)
    rows = [{"question": f"{SECRET} {i}?", "answer": i % 2} for i in range(4)]
    for split, part in (("dev", rows[:1]), ("test", rows[1:])):
        (path.parent / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    (path.parent / "task.yaml").write_text(
        "output_type: multiple_choice\ndoc_to_text: question\ndoc_to_target: answer\ndoc_to_choice: ['no', 'yes']\n"
    )
    edit(path, metric="acc", task="task.yaml", digests=None)
    task = read_private(path)
    assert task.texts("test")[0] == f'{{"answer":1,"question":"{SECRET} 1?"}}'
    (result,) = run([task.bound()], use_cache=False)
    assert (result.metric, result.n) == ("acc", 3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "No Id"}, "`id`"),
        ({"title": None}, "`title`: Field required"),
        ({"metric": "bleu"}, "`metric`"),
        ({"metric": "acc"}, "metric acc needs `task`"),
        ({"data": {"dev": "dev.jsonl"}}, "`data.test`: Field required"),
        ({"data": {"dev": "dev.jsonl", "test": "../test.jsonl"}}, "`data.test`"),
        ({"data": {"dev": "dev.jsonl", "test": "gone.jsonl"}}, "gone.jsonl cannot be read"),
        ({"salt": "gone"}, "salt gone cannot be read"),
        ({"salt": "dev.jsonl"}, "salt dev.jsonl is not 64 hexadecimal digits"),
        ({"exotic": 1}, "`exotic`"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    """One line and a hint, without a word of the text."""
    path = write(tmp_path)
    edit(path, **changes)
    with pytest.raises(CogenError) as caught:
        read_private(path)
    assert message in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    assert "Quill" not in f"{caught.value} {caught.value.__cause__} {caught.value.hint}"


@pytest.mark.parametrize("line", [f'"{SECRET}"', f'{{"text": {SECRET}', f'{{"text": "{SECRET} \\ud800"}}', ""])
def test_a_broken_line_is_not_shown(tmp_path: Path, line: str) -> None:
    """The number of the line, not what stands there; neither does the cause show it."""
    path = write(tmp_path)
    (path.parent / "test.jsonl").write_text(line + "\n")
    with pytest.raises(EvalError, match=r"test.jsonl (line 1|holds no document)") as caught:
        read_private(path)
    assert "Quill" not in f"{caught.value} {caught.value.__cause__!r} {caught.value.hint}"


@pytest.mark.parametrize("file", ["dev.jsonl", "salt"])
def test_a_changed_file_is_noticed(tmp_path: Path, file: str) -> None:
    """The suite that the manifest's figures are of is another one; without `digests` nothing was promised."""
    path = write(tmp_path)
    (path.parent / file).write_text("0" * 64 + "\n" if file == "salt" else '{"text": "another"}\n')
    with pytest.raises(DigestError, match=r"is not what private.yaml was written for"):
        read_private(path)
    edit(path, digests=None)
    assert read_private(path).documents["test"] == 5


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        (([], ["a"]), "dev split has no text"),
        ((["a"], ["b", ""]), "test split has no text"),
        ((["a", "b"], ["b"]), "both the dev and the test split"),
        ((["a"], ["b" * (8 * 1024 * 1024)]), "test split is larger than 8 MiB"),
    ],
)
def test_texts_that_make_no_suite(tmp_path: Path, texts: Any, message: str) -> None:
    """Refused before anything is written."""
    with pytest.raises(EvalError, match=message):
        write(tmp_path, texts)
    assert not (tmp_path / "private").exists()


def test_no_such_file(tmp_path: Path) -> None:
    """Neither the file nor the folder."""
    with pytest.raises(EvalError, match=r"private.yaml is missing"):
        read_private(tmp_path / "private.yaml")


def test_an_id_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(EvalError, match="private suite: `id`"):
        write_private(tmp_path / "p", "No Id", "x", ["a"], ["b"])
    assert not (tmp_path / "p" / "dev.jsonl").exists()


def test_texts_of_one_file(tmp_path: Path) -> None:
    """What a text is of is no text: digest and size stay, and its names are not written down."""
    plain = read_private(write(tmp_path / "plain"))
    (tmp_path / "private").mkdir()
    (tmp_path / "private" / "salt").write_bytes((tmp_path / "plain" / "private" / "salt").read_bytes())
    of = (["a/quill.txt"] * 3, ["b/quill.txt"] * 3 + ["c/quill.txt"] * 2)
    write_private(tmp_path / "private", "notes", "Clinical notes", plain.texts("dev"), plain.texts("test"), of)
    task = read_private(tmp_path / "private")
    assert (task.digests, task.sizes, task.documents) == (plain.digests, plain.sizes, plain.documents)
    assert task.texts("test") == plain.texts("test")
    rows = rows_of(task.bound(), load_task(task.bound()), "test")
    assert [row.cluster for row in rows] == ["1", "1", "1", "2", "2"]
    assert [row.target for row in rows] == plain.texts("test")
    assert "quill.txt" not in (tmp_path / "private" / "test.jsonl").read_text()


def test_lines_of_one_document_count_once(tmp_path: Path) -> None:
    """Five statements about one patient are figures of one document, not of five."""
    lines = "".join(
        json.dumps({"context": "x", "choices": [f"a{n}", "b"], "answer": 0, "document": f"d{n // 3}"}) + "\n"
        for n in range(5)
    ).encode()
    task = write_private_task(tmp_path / "s", "said", "Said", "acc", "task: x", lines, lines, count_by="document")
    assert (task.documents["test"], task.lines["test"]) == (2, 5)
    assert task.bound().data("test").documents == 5
    with pytest.raises(EvalError, match="no text in the field 'source'"):
        write_private_task(tmp_path / "t", "said", "Said", "acc", "task: x", lines, lines, count_by="source")
