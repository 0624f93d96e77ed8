"""Files beside weights: which count, and what of them does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cogen.checkpoints.side_files import check_side_files, differing, side_files
from cogen.errors import DigestError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in {
        "config.json": '{"rope_theta": 1.0, "transformers_version": "5.1"}',
        "tokenizer.model": "x",
        "additional_chat_templates/tool.jinja": "y",
        "model.safetensors": "weights",
        "model.safetensors.index.json": "{}",
        "README.md": "for people",
        "LICENSE": "MIT",
        ".cache/state": "hidden",
        "gguf.json": "{}",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_which_files(folder: Path) -> None:
    """All that a loader reads; neither weights nor files for people."""
    assert list(side_files(folder)) == ["additional_chat_templates/tool.jinja", "config.json", "tokenizer.model"]


def test_json_counts_by_what_it_says(folder: Path) -> None:
    """Not by its white space, its order, or the version that wrote it; anything else by its bytes."""
    before = side_files(folder)
    (folder / "config.json").write_text(json.dumps({"transformers_version": "6", "rope_theta": 1.0}, indent=4))
    assert side_files(folder) == before
    check_side_files(folder, before, "it")
    (folder / "tokenizer.model").write_text("x\n")
    (folder / "config.json").write_text('{"rope_theta": 2.0}')
    assert differing(before, side_files(folder)) == ["config.json", "tokenizer.model"]
    with pytest.raises(DigestError, match=r"config\.json is another file") as caught:
        check_side_files(folder, before, "it")
    assert caught.value.hint


@pytest.mark.parametrize("text", ["{", "[1]", '{"a": NaN}', '{"a": "\\ud800"}', "[" * 100_000])
def test_json_that_is_none_counts_by_its_bytes(folder: Path, text: str) -> None:
    (folder / "config.json").write_text(text)
    one = side_files(folder)
    (folder / "config.json").write_text(text + " ")
    assert differing(one, side_files(folder)) == ["config.json"]
