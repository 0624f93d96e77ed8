"""Paths that mean one file everywhere."""

from __future__ import annotations

import pytest

from cogen_registry.errors import Refused
from cogen_registry.weights.paths import check_kind, check_path, check_tree


@pytest.mark.parametrize(
    "path",
    [
        "config.json",
        "deep/folder/model-00001-of-00002.safetensors",
        "größe.txt",
        "電力.txt",
        ".gitattributes",
        "a b.txt",
        "con-fig.json",
        "...a.txt",
        "a..b.txt",
        "x" * 251 + ".txt",
    ],
)
def test_plain_paths(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/etc/passwd",
        "../x.json",
        "a/../../x.json",
        "a//b.json",
        "a/./b.json",
        "a/",
        ".",
        "..",
        "C:/x.json",
        "C:x.json",
        "a\\..\\x.json",
        "\\\\host\\x.json",
        "a\0b.json",
        "a\nb.json",
        "a\x7fb.json",
        "a\u202eb.json",
        "a\ud800b.json",
        "a\u200bb.json",
        "x.json:stream",
        "con",
        "NUL.txt",
        "a/Lpt1.json",
        ".git/config",
        "a/.GIT/config",
        "a /b.json",
        " a.json",
        "a.json.",
        "a/b./c.json",
        "a*.json",
        "a?.json",
        'a".json',
        "a|b.json",
        "<a>.json",
        "e\u0301.json",
        "x" * 252 + ".txt",
        "a/" * 250 + "b.txt",
    ],
)
def test_paths_with_a_trick(path: str) -> None:
    with pytest.raises(Refused) as refused:
        check_path(path)
    assert refused.value.status == 400
    refused.value.headers["X-Error-Message"].encode("latin-1")
    assert "\n" not in refused.value.message


@pytest.mark.parametrize(
    "path", ["model.bin", "model.pt", "model.pkl", "x.py", "x.safetensors.exe", "x", "x.gguf", "a.json/x", ".env"]
)
def test_kinds_that_may_not_lie_here(path: str) -> None:
    with pytest.raises(Refused, match="not a kind of file"):
        check_kind(path)


@pytest.mark.parametrize(
    "paths",
    [
        ("a.json", "A.json"),
        ("dir/a.json", "DIR/b.json"),
        ("a.json", "a.json/b.json"),
        ("ﬁ.json", "fi.json"),
        ("straße.json", "STRASSE.json"),
        ("x/y/z.txt", "x/Y"),
    ],
)
def test_paths_that_are_one_on_some_system(paths: tuple[str, str]) -> None:
    with pytest.raises(Refused) as refused:
        check_tree(paths)
    assert refused.value.status == 400


def test_a_tree_of_plain_paths() -> None:
    check_tree(["a.json", "b/a.json", "b/c/a.json", "ab.json"])
