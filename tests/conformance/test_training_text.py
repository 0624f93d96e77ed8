"""Held-out text against the training text."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from support.manifests import documents, install, make_expert, manifest

from cogen.cli.main import main
from cogen.conformance.result import Failed
from cogen.conformance.training_text import compare_training, read_training
from cogen.errors import UsageError

TEST = documents("powertest", 30)  # of 20 words, so of 13 word 8-grams


def split(overlap: float | str) -> dict[str, Any]:
    return {
        "by": "file",
        "train_documents": 40,
        "dev_documents": 10,
        "test_documents": 30,
        "removed_duplicates": 0,
        "removed_overlapping": 0,
        "test_8gram_overlap": overlap,
    }


def carded(folder: Path, overlap: float | None) -> Any:
    data = manifest("power")["data"] | ({} if overlap is None else {"split": split(overlap)})
    return make_expert(folder, data=data)


def test_the_share_is_that_of_the_test_documents(tmp_path: Path) -> None:
    """One document of 30 shares one of its 13 8-grams."""
    copied = " ".join(TEST[3].split()[:8])
    share = f"{1 / 13 / 30:.5f}"
    assert share in compare_training(carded(tmp_path / "a", None), [f"before {copied} after"])
    held = compare_training(carded(tmp_path / "b", float(share)), [f"before {copied} after"])
    assert held == f"{share} of the test documents' word 8-grams stand in 1 training texts, the card says {share}"
    with pytest.raises(Failed, match=r"the card says 0\.00200"):
        compare_training(carded(tmp_path / "c", 0.002), [copied])
    nothing = " ".join(TEST[3].split()[:7])
    assert compare_training(carded(tmp_path / "d", 0.0), [nothing]).startswith("0.00000")


@pytest.mark.parametrize(
    ("text", "where"), [(TEST[4], "document 5 of suites/test.jsonl"), (documents("powerdev", 2)[1], "2 of suites/dev")]
)
def test_a_whole_document_never_stands_there(tmp_path: Path, text: str, where: str) -> None:
    """Whatever the card says, in either part, in whatever spelling."""
    with pytest.raises(Failed, match=where):
        compare_training(carded(tmp_path, 1.0), [f"so it is: {text.upper()}!"])


CHINESE = "患者因发热三天入院伴有咳嗽咳痰体温三十八度血压正常经治疗好转出院"


def chinese(folder: Path, *texts: str) -> Any:
    """An expert whose first test documents are these."""
    lines = [json.dumps({"text": text}, ensure_ascii=False) for text in (*texts, *TEST[len(texts) :])]
    content = ("\n".join(lines) + "\n").encode()
    suite = manifest("power")["suites"][0]
    pinned = suite | {"test": suite["test"] | {"digest": "sha256:" + hashlib.sha256(content).hexdigest()}}
    expert = make_expert(folder, suites=[pinned])
    (expert.root / "suites" / "test.jsonl").write_bytes(content)
    return expert


def test_a_copy_in_a_script_without_spaces(tmp_path: Path) -> None:
    """A run of 12 Chinese characters is found, one character of another kind in each clause hides nothing else."""
    expert = chinese(tmp_path / "a", CHINESE)
    grams = len(CHINESE) - 11
    assert compare_training(expert, [f"前文，{CHINESE[:12]}。"]).startswith(f"{1 / grams / 30:.5f} ")
    assert compare_training(expert, [f"前文，{CHINESE[:11]}。"]).startswith("0.00000 ")
    with pytest.raises(Failed, match=r"document 1 of suites/test\.jsonl stands in the training text"):
        compare_training(expert, [f"前文：{CHINESE[:9]}，{CHINESE[9:]}。后文"])


@pytest.mark.parametrize(
    ("short", "text"), [("发热三天", "患者发热，三天。"), ("Which voltage?", "So: which  voltage is")]
)
def test_a_short_document_is_looked_for_as_a_whole(tmp_path: Path, short: str, text: str) -> None:
    """It holds no run of 8 words; where no document does, the overlap is not checked rather than zero."""
    with pytest.raises(Failed, match=r"document 1 of suites/test\.jsonl stands in the training text"):
        compare_training(chinese(tmp_path / "a", short), [text])
    every = chinese(tmp_path / "b", *(f"{short} {i}" for i in range(30)))
    assert compare_training(every, [text]) == (
        "no test document that is long enough for runs of 8 words: overlap with 1 texts not checked"
    )


def test_a_card_that_says_not_checked(tmp_path: Path) -> None:
    """Is no claim to compare with."""
    expert = make_expert(tmp_path, data=manifest("power")["data"] | {"split": split("not checked")})
    assert compare_training(expert, ["x"]).endswith("training texts, the card says not checked")


def test_texts_in_other_encodings(tmp_path: Path) -> None:
    """Are read; bytes that are no text are refused by file and offset."""
    (tmp_path / "a.txt").write_bytes((CHINESE * 3).encode("gb18030"))
    (tmp_path / "b.txt").write_bytes("one".encode("utf-16"))
    assert list(read_training(tmp_path)) == [CHINESE * 3, "one"]
    (tmp_path / "c.txt").write_bytes(b"one\0two")
    with pytest.raises(UsageError, match=r"c\.txt, at byte 3") as caught:
        list(read_training(tmp_path))
    assert caught.value.hint


def test_texts_are_read_from_where_a_publisher_has_them(tmp_path: Path) -> None:
    """A folder of files, JSON Lines, one file."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "b.md").write_text("two")
    (tmp_path / "a.txt").write_text("one")
    (tmp_path / "c.jsonl").write_text(json.dumps({"text": "three"}) + "\n" + json.dumps({"text": "four"}) + "\n")
    (tmp_path / "ignored.png").write_bytes(b"\xff")
    assert list(read_training(tmp_path)) == ["one", "three", "four", "two"]
    assert list(read_training(tmp_path / "a.txt")) == ["one"]
    (tmp_path / "empty").mkdir()
    for path, message in ((tmp_path / "nowhere", "is not there"), (tmp_path / "empty", "holds no texts")):
        with pytest.raises(UsageError, match=message):
            list(read_training(path))


def test_by_the_command(site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`cogen check --texts`: a copy is found, and texts that are not there end in one line."""
    install(site, "power")
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("other words")
    assert main(["check", "power", "--texts", str(tmp_path / "texts")]) == 0
    assert "✓ training text: 0.00000" in capsys.readouterr().out
    (tmp_path / "texts" / "b.txt").write_text(TEST[0])
    assert main(["check", "power", "--texts", str(tmp_path / "texts")]) == 1
    output = capsys.readouterr().out
    assert "✗ training text: document 1 of suites/test.jsonl stands in the training text" in output
    assert main(["check", "power", "--texts", str(tmp_path / "no")]) == 3
    assert "is not there" in capsys.readouterr().err
