"""Digests against sha256sum and plain hashlib."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import save_file
from support.tiny import tokenizer

from cogen.checkpoints.digests import check_file, file_digest, tokenizer_digest
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.side_files import side_files
from cogen.errors import DigestError, SourceError


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="coreutils are not installed")
def test_a_folder_is_what_sha256sum_prints(tmp_path: Path) -> None:
    """`find -type f | LC_ALL=C sort | xargs sha256sum | sha256sum`, hidden files and __pycache__ left out."""
    folder = tmp_path / "folder"
    for name in ("b.txt", "a.txt", "Z", "a/x", "a.d/y", "ä", "sub/deep/er", "a\nb", "back\\slash", "re\rturn"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    expected = subprocess.run(
        r"find . -type f -printf '%P\0' | sort -z | xargs -0 sha256sum | sha256sum",
        shell=True,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()[0]
    assert file_digest(folder) == f"sha256:{expected}"
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "x.pyc").write_text("x")
    (folder / ".hidden").write_text("x")
    (folder / "sub" / ".git").mkdir()
    (folder / "sub" / ".git" / "x").write_text("x")
    assert file_digest(folder) == f"sha256:{expected}"


def test_one_file_cannot_pass_for_two(tmp_path: Path) -> None:
    """A name with a line feed and a digest in it made the same lines as two files."""
    two, one = tmp_path / "two", tmp_path / "one"
    for folder in (two, one):
        folder.mkdir()
        (folder / "a").write_bytes(b"a")
    (two / "b").write_bytes(b"b")
    (one / "a").rename(one / f"a\n{hashlib.sha256(b'b').hexdigest()}  b")
    assert file_digest(one) != file_digest(two)


def test_a_link_to_a_folder_is_refused(tmp_path: Path) -> None:
    """Its files can be opened by their names, and would be in no digest; links to files are followed."""
    folder = tmp_path / "folder"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "config.json").write_text("{}")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere" / "config.json")
    before = file_digest(folder)
    (folder / "1_Pooling").symlink_to(tmp_path / "elsewhere")
    for read in (file_digest, side_files):
        with pytest.raises(SourceError, match="1_Pooling in folder is a link to a folder"):
            read(folder)
    (folder / "1_Pooling").rename(folder / ".1_Pooling")
    assert file_digest(folder) == before


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / os.fsdecode(b"\xff")).write_bytes(b"x")
    line = hashlib.sha256(b"x").hexdigest().encode() + b"  \xff\n"
    assert file_digest(folder) == "sha256:" + hashlib.sha256(line).hexdigest()


def test_a_file_is_its_sha256(tmp_path: Path) -> None:
    """Also when it is larger than a block."""
    data = os.urandom(5_000_001)
    (tmp_path / "x").write_bytes(data)
    assert file_digest(tmp_path / "x") == "sha256:" + hashlib.sha256(data).hexdigest()


def test_a_moved_byte_is_refused(tmp_path: Path) -> None:
    """With the name of the thing and a hint; no promise, no check."""
    (tmp_path / "x").write_bytes(b"x")
    check_file(tmp_path / "x", None, "x")
    check_file(tmp_path / "x", file_digest(tmp_path / "x"), "x")
    with pytest.raises(DigestError, match="hf://a/b is not the file that was published") as caught:
        check_file(tmp_path / "x", "sha256:" + "0" * 64, "hf://a/b")
    assert caught.value.hint
    with pytest.raises(SourceError) as missing:
        file_digest(tmp_path / "nothing")
    assert missing.value.hint


def reference(tensors: dict[str, torch.Tensor]) -> str:
    """The weights digest by its definition, with hashlib and numpy alone."""
    sha = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        dtype = str(tensor.dtype).removeprefix("torch.")
        sha.update(json.dumps([name, dtype, list(tensor.shape)], separators=(",", ":")).encode() + b"\n")
        flat = tensor.reshape(-1)
        sha.update((flat.view(torch.int16) if dtype == "bfloat16" else flat).numpy().tobytes())
    return "sha256:" + sha.hexdigest()


class TestWeightsDigest:
    """Two packagings of the same weights are the same lineage."""

    TENSORS: ClassVar = {
        "z.weight": torch.randn(3, 4),
        "a.weight": torch.randn(5).bfloat16(),
        "scalar": torch.tensor(2.5),
        "empty": torch.empty(0, 7),
        "ids": torch.arange(6).reshape(2, 3),
    }

    def folder(self, path: Path) -> Path:
        path.mkdir()
        (path / "config.json").write_text("{}")
        return path

    def test_equals_a_reference(self, tmp_path: Path) -> None:
        """names, dtypes, shapes and bytes, by hashlib alone."""
        save_file(self.TENSORS, self.folder(tmp_path / "x") / "model.safetensors")
        assert open_folder(tmp_path / "x").weights_digest == reference(self.TENSORS)

    def test_is_independent_of_the_files_layout(self, tmp_path: Path) -> None:
        """One file or shards, any order of tensors, any metadata, any further files."""
        names = list(self.TENSORS)
        save_file(self.TENSORS, self.folder(tmp_path / "one") / "model.safetensors", {"format": "pt", "x": "y"})
        shards = self.folder(tmp_path / "shards")
        (shards / "README.md").write_text("Hello")
        parts = {"b.safetensors": names[:2], "a.safetensors": names[2:]}
        for file, inside in parts.items():
            save_file({name: self.TENSORS[name] for name in reversed(inside)}, shards / file)
        where = {name: file for file, inside in parts.items() for name in inside}
        (shards / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
        digests = {open_folder(tmp_path / name).weights_digest for name in ("one", "shards")}
        assert digests == {reference(self.TENSORS)}

    @pytest.mark.parametrize("change", ["name", "dtype", "shape", "byte"])
    def test_changes_with_every_part(self, tmp_path: Path, change: str) -> None:
        """A name, a dtype, a shape or one bit."""
        tensors = dict(self.TENSORS)
        if change == "name":
            tensors["y.weight"] = tensors.pop("z.weight")
        elif change == "dtype":
            tensors["ids"] = tensors["ids"].double().view(torch.int64).view(torch.float64)
        elif change == "shape":
            tensors["z.weight"] = tensors["z.weight"].reshape(4, 3)
        else:
            tensors["z.weight"] = tensors["z.weight"].clone()
            tensors["z.weight"].view(torch.int32)[0, 0] ^= 1
        save_file(tensors, self.folder(tmp_path / "x") / "model.safetensors")
        assert open_folder(tmp_path / "x").weights_digest != reference(self.TENSORS)


def test_a_tokenizer_is_what_it_does(tmp_path: Path) -> None:
    """Saved and loaded it is the same; another special token, another tokenizer. Padding plays no part."""
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    digest = tokenizer_digest(tokenizer())
    tokenizer().save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer_digest(loaded) == digest
    loaded.backend_tokenizer.enable_padding()
    loaded.backend_tokenizer.enable_truncation(5)
    assert tokenizer_digest(loaded) == digest
    other = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, bos_token="<|endoftext|>")
    assert tokenizer_digest(other) != digest
