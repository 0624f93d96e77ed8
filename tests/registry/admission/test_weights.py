"""Files of weights: allowed kinds, and nothing in disguise."""

from __future__ import annotations

import json
import os
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from cogen.checkpoints.digests import file_digest, sha256_file
from cogen_registry.admission.weights import check_weight_file, folder_digest, taken
from cogen_registry.errors import Refused


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("true",)


def safetensors(path: Path) -> Path:
    save_file({"a": numpy.arange(6, dtype=numpy.float32).reshape(2, 3)}, path)
    return path


def header(**changes: object) -> bytes:
    """A safetensors file of 24 bytes of tensors with a header that is given as text."""
    text = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]} | changes}).encode()
    return len(text).to_bytes(8, "little") + text + bytes(24)


def raw(text: bytes, tail: bytes = bytes(24)) -> bytes:
    return len(text).to_bytes(8, "little") + text + tail


ONE = b'"a":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]}'


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", b"{}"),
        ("model.safetensors.index.json", b'{"weight_map": {}}'),
        ("deep/folder/vocab.txt", "ä\nb\n".encode()),
        ("README.md", b"# Title\n"),
        ("tokenizer.model", b"\n\x0e\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02"),
        ("tokenizer.model", b"IQ== 0\nIg== 1\n"),
        ("chat_template.jinja", b"{{ messages }}"),
        ("LICENSE", b"Apache"),
        (".gitattributes", b"*.safetensors filter=lfs\n"),
        ("empty.txt", b""),
        ("words.txt", b"copper\nzinc\nR\n(alloys)\ncat\ndog\n."),
        ("model.safetensors", header()),
        ("model.safetensors", raw(b"{}", b"")),
    ],
)
def test_data_may_lie_here(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    check_weight_file(str(tmp_path / "x"), name)


@pytest.mark.parametrize(
    "name",
    [
        "pytorch_model.bin",
        "x.pkl",
        "x.pt",
        "x.pth",
        "x.ckpt",
        "x.py",
        "x.npy",
        "x.npz",
        "x.zip",
        "x.so",
        "x.gguf",
        "x",
        "x.safetensors.bak",
        "x.html",
        "x.yaml",
        "x.joblib",
    ],
)
def test_other_kinds_are_refused(tmp_path: Path, name: str) -> None:
    safetensors(tmp_path / "x")
    with pytest.raises(Refused, match="not a kind of file that may lie here") as refused:
        check_weight_file(str(tmp_path / "x"), name)
    assert refused.value.status == 400


@pytest.mark.parametrize("name", ["a.safetensors", "a.json", "a.txt", "a.model", "a.md", "a.sig", "LICENSE"])
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_in_disguise_is_refused(tmp_path: Path, name: str, protocol: int) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(Evil(), protocol))
    with pytest.raises(Refused, match="is a pickle in disguise"):
        check_weight_file(str(tmp_path / "x"), name)


def test_an_old_instance_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"(S'true'\nios\nsystem\n.")
    with pytest.raises(Refused, match="is a pickle in disguise"):
        check_weight_file(str(tmp_path / "x"), "a.txt")


def test_archives_and_arrays_in_disguise_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(Evil()))
    with (tmp_path / "n").open("wb") as file:
        numpy.save(file, numpy.array([Evil()], dtype=object), allow_pickle=True)
    for path, what in ((tmp_path / "z", "a zip archive"), (tmp_path / "n", "a NumPy file")):
        for name in ("model.safetensors", "tokenizer.model", "a.json"):
            with pytest.raises(Refused, match=f"is {what}"):
                check_weight_file(str(path), name)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x10",
        b"\xff" * 8 + b"{}",
        raw(b"{}", b"x"),
        raw(b"[]", b""),
        raw(b"{" + ONE + b"," + ONE + b"}"),
        raw(b'{"a":{"dtype":"F32","dtype":"F32","shape":[2,3],"data_offsets":[0,24]}}'),
        raw(b"  {" + ONE + b"}"),
        raw(b"{" + ONE + b"}", bytes(23)),
        raw(b"{" + ONE + b"}", bytes(25)),
        raw(b'{"a":{"dtype":"F32","shape":[2,2],"data_offsets":[0,24]}}'),
        raw(b'{"a":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]}}', bytes(28)),
        raw(b'{"a":{"dtype":"X9","shape":[2,3],"data_offsets":[0,24]}}'),
        raw(b'{"a":{"dtype":"F32","shape":[-2,-3],"data_offsets":[0,24]}}'),
        raw(b"\xff\xfe"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused, match="safetensors file"):
        check_weight_file(str(tmp_path / "x"), "model.safetensors")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"{", "is not JSON"),
        ("a.sig", b"signature", "is not JSON"),
        ("a.json", b"[" * 200_000, "is not JSON"),
        ("a.txt", b"a\0b", "is not UTF-8"),
        ("a.md", b"\xff\xfe", "is not UTF-8"),
        ("a.md", b"\xe2\x82", "is not UTF-8"),
        ("a.model", b"\x00\x01\xff", "not a vocabulary"),
    ],
)
def test_bytes_are_of_the_kind_that_the_name_says(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(Refused, match=message):
        check_weight_file(str(tmp_path / "x"), name)


def test_a_folders_digest_is_that_of_the_core(tmp_path: Path) -> None:
    for name in ("b.txt", "a/z.txt", "a.txt", "a-b.txt", "ü.txt", ".hidden", "__pycache__/x.pyc", "c/.d/e.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    entries = [
        (file.relative_to(tmp_path).as_posix(), sha256_file(file)) for file in tmp_path.rglob("*") if file.is_file()
    ]
    assert folder_digest(reversed(entries)) == file_digest(tmp_path)


def test_the_hubs_source_takes_no_pickles_and_no_code() -> None:
    assert [taken(name) for name in ("model.safetensors", "a/b.json", "LICENSE", "README.md")] == [True] * 4
    assert [taken(name) for name in ("pytorch_model.bin", "x.py", "CHANGES.md", ".gitattributes")] == [False] * 4
