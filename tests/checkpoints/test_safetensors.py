"""Our reader and writer against the safetensors library, and files that lie."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from cogen.checkpoints.safetensors_file import DTYPES, read_folder, read_header, read_tensor
from cogen.checkpoints.safetensors_writer import SafetensorsWriter, tensor_bytes, write_safetensors
from cogen.errors import CogenError, SourceError, UnsafeError

#: No test is timed.
SETTINGS = settings(deadline=None)


def tensor_of(dtype: str, shape: tuple[int, ...], seed: int = 0) -> torch.Tensor:
    """Random bytes as a tensor, so that NaN payloads, infinities and -0.0 occur."""
    kind = getattr(torch, dtype)
    if kind == torch.bool:
        return torch.randint(0, 2, shape, generator=torch.Generator().manual_seed(seed)).bool()
    width = torch.empty(0, dtype=kind).element_size()
    count = max(1, int(torch.tensor(shape).prod())) if shape else 1
    if 0 in shape:
        return torch.empty(shape, dtype=kind)
    raw = torch.randint(0, 256, (count * width,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)
    return raw.view(kind).reshape(shape)


def same_bits(left: torch.Tensor, right: torch.Tensor) -> bool:
    if left.dtype != right.dtype or left.shape != right.shape:
        return False
    flat = (left.contiguous().reshape(-1), right.contiguous().reshape(-1))
    return left.numel() == 0 or torch.equal(flat[0].view(torch.uint8), flat[1].view(torch.uint8))


def everything() -> dict[str, torch.Tensor]:
    """Every dtype as a matrix, a scalar and an empty tensor."""
    return {
        f"{name}.{label}": tensor_of(dtype, shape)
        for name, (dtype, _) in DTYPES.items()
        for label, shape in (("matrix", (3, 5)), ("scalar", ()), ("empty", (0, 4)), ("one", (1,)))
    }


def test_what_the_library_writes_we_read(tmp_path: Path) -> None:
    """Every dtype, scalars and empty tensors: the same bits, shape and dtype."""
    tensors = everything()
    save_file(tensors, tmp_path / "a.safetensors", {"format": "pt"})
    found = read_header(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_bits(read_tensor(found[name]), tensor), name


def test_what_we_write_the_library_reads(tmp_path: Path) -> None:
    """Every dtype, scalars and empty tensors: the same bits, shape and dtype."""
    tensors = everything()
    write_safetensors(tmp_path / "a.safetensors", tensors, {"format": "pt"})
    found = load_file(tmp_path / "a.safetensors")
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert same_bits(found[name], tensor), name


TENSORS = st.dictionaries(
    st.text(min_size=1, max_size=12).filter(lambda name: name != "__metadata__"),
    st.tuples(st.sampled_from(sorted(dtype for dtype, _ in DTYPES.values())), st.lists(st.integers(0, 4), max_size=3)),
    max_size=6,
)


class TestRoundTrip:
    """“The byte buffer needs to be entirely indexed, and cannot contain holes” (safetensors, README)."""

    @SETTINGS
    @given(spec=TENSORS)
    def test_any_names_and_shapes(self, spec: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
        """Any names, dtypes and shapes: written by us, read by the library and by us, the same bits."""
        path = tmp_path_factory.mktemp("law") / "x.safetensors"
        tensors = {name: tensor_of(dtype, tuple(shape), i) for i, (name, (dtype, shape)) in enumerate(spec.items())}
        shapes = {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
        with SafetensorsWriter(path, shapes) as writer:
            for name, tensor in tensors.items():
                # As bytes: of tensors, those that hold NaN are refused.
                writer.write(name, bytes(tensor_bytes(tensor)))
        theirs, ours = load_file(path), read_header(path)
        assert theirs.keys() == ours.keys() == tensors.keys()
        for name, tensor in tensors.items():
            assert same_bits(theirs[name], tensor)
            assert same_bits(read_tensor(ours[name]), tensor)


def test_tensors_may_be_written_in_any_order(tmp_path: Path) -> None:
    """The file's bytes depend on the tensors alone."""
    tensors = {"b": torch.ones(3), "a": torch.zeros(2, dtype=torch.int8), "c": torch.arange(4)}
    shapes = {name: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for name, t in tensors.items()}
    for i, order in enumerate((["a", "b", "c"], ["c", "a", "b"])):
        with SafetensorsWriter(tmp_path / f"{i}.safetensors", shapes) as writer:
            for name in order:
                writer.write(name, tensors[name])
    assert (tmp_path / "0.safetensors").read_bytes() == (tmp_path / "1.safetensors").read_bytes()


def test_the_writer_demands_every_tensor_once_and_whole(tmp_path: Path) -> None:
    """A tensor that is missing, twice there or of another size is a mistake of ours, never a file."""
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {"a": ("float32", (2,)), "b": ("float32", (1,))}
    writer = SafetensorsWriter(tmp_path / "x.safetensors", shapes)
    with writer:
        with pytest.raises(ValueError, match="4 bytes where 8 were announced"):
            writer.write("a", torch.ones(1))
        writer.write("a", torch.ones(2))
        with pytest.raises(ValueError, match="more bytes than were announced"):
            writer.write("a", torch.ones(2))
        writer.write("b", torch.ones(1))
    with pytest.raises(ValueError, match="not written"), SafetensorsWriter(tmp_path / "y.safetensors", shapes):
        pass


def raw(path: Path, header: Any, data: bytes, *, length: int | None = None) -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes((len(text) if length is None else length).to_bytes(8, "little") + text + data)
    return path


def entry(start: Any, stop: Any, shape: Any = (2,), dtype: Any = "U8") -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape) if isinstance(shape, tuple) else shape, "data_offsets": [start, stop]}


LIES: dict[str, tuple[Any, bytes]] = {
    "truncated": ({"a": entry(0, 2)}, b"x"),
    "longer than announced": ({"a": entry(0, 2)}, b"xxx"),
    "overlapping": ({"a": entry(0, 2), "b": entry(1, 3)}, b"xxx"),
    "the same bytes twice": ({"a": entry(0, 2), "b": entry(0, 2)}, b"xx"),
    "a hole": ({"a": entry(0, 2), "b": entry(4, 6)}, b"xxxxxx"),
    "a hole in front": ({"a": entry(2, 4)}, b"xxxx"),
    "bytes of no tensor": ({}, b"xx"),
    "size against shape": ({"a": entry(0, 3)}, b"xxx"),
    "negative offset": ({"a": entry(-2, 0)}, b""),
    "negative shape": ({"a": entry(0, 2, (-1, -2))}, b"xx"),
    "fractional shape": ({"a": entry(0, 2, [2.5])}, b"xx"),
    "fractional offset": ({"a": entry(0.0, 2.0)}, b"xx"),
    "text as shape": ({"a": entry(0, 2, ["2"])}, b"xx"),
    "true as shape": ({"a": entry(0, 1, [True])}, b"x"),
    "no list": ([1], b""),
    "no offsets": ({"a": {"dtype": "U8", "shape": [2]}}, b"xx"),
    "no JSON": (b"{", b""),
    "not UTF-8": (b'{"\xff": 1}', b""),
    "very deep": (b"[" * 100_000, b""),
    "a field twice": (b'{"a":{"dtype":"F16","dtype":"BF16","shape":[1],"data_offsets":[0,2]}}', b"xx"),
    "a byte order mark": (b'\xef\xbb\xbf{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}', b"xx"),
    "UTF-16": ('{"a":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}'.encode("utf-16"), b"xx"),
    "half a letter": (b'{"a\\ud800":{"dtype":"F16","shape":[1],"data_offsets":[0,2]}}', b"xx"),
    "a size beyond 64 bits": ({"a": entry(0, 0, [10**20, 0])}, b""),
    "notes that are no texts": ({"__metadata__": {"a": 1}, "a": entry(0, 2)}, b"xx"),
    "notes that are a list": ({"__metadata__": ["a"], "a": entry(0, 2)}, b"xx"),
    "dtype of no kind": ({"a": entry(0, 2, dtype=["U8"])}, b"xx"),
    "unknown dtype": ({"a": entry(0, 2, dtype="F3")}, b"xx"),
}


@pytest.mark.parametrize("lie", sorted(LIES))
def test_a_header_that_lies_is_refused(tmp_path: Path, lie: str) -> None:
    """Every byte belongs to exactly one tensor; anything else is an error with a hint, as in the library."""
    header, data = LIES[lie]
    path = raw(tmp_path / "x.safetensors", header, data)
    with pytest.raises(SourceError) as caught:
        read_header(path)
    assert "x.safetensors" in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.hint
    with pytest.raises(SafetensorError):
        load_file(path)


def test_a_tensor_that_stands_twice(tmp_path: Path) -> None:
    """The library takes the last, others the first; the format does not allow it."""
    entries = (f'"a":{json.dumps(entry(0, 2, [1], dtype=dtype))}' for dtype in ("F16", "BF16"))
    path = raw(tmp_path / "x.safetensors", f"{{{','.join(entries)}}}".encode(), b"xx")
    with pytest.raises(SourceError, match="damaged safetensors header"):
        read_header(path)


def test_an_empty_file_of_tensors_is_whole(tmp_path: Path) -> None:
    """A header without tensors is what the library writes for an empty dictionary."""
    save_file({}, tmp_path / "x.safetensors")
    assert read_header(tmp_path / "x.safetensors") == {}


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 8, b"\x80\x02}q\x00." * 9])
def test_no_safetensors_at_all(tmp_path: Path, data: bytes) -> None:
    """An empty file, half a length, a huge length and a pickle under a false name."""
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(SourceError, match="not a whole safetensors file") as caught:
        read_header(tmp_path / "x.safetensors")
    assert caught.value.hint


def test_a_dtype_that_we_lack_is_named(tmp_path: Path) -> None:
    """A good file of a dtype that CoGen cannot merge is not called damaged."""
    path = raw(tmp_path / "x.safetensors", {"a": entry(0, 2, dtype="F4_E2M1")}, b"xx")
    with pytest.raises(SourceError, match="F4_E2M1"):
        read_header(path)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "model.ckpt", "weights.pkl", "model.pth"])
def test_pickles_are_refused(tmp_path: Path, name: str) -> None:
    """A pickle can run code when it is read, so it never is."""
    (tmp_path / name).write_bytes(b"\x80\x02.")
    with pytest.raises(UnsafeError, match=name) as caught:
        read_folder(tmp_path)
    assert "safetensors" in str(caught.value.hint)


class TestFolder:
    """What transformers would load from a folder is what we read."""

    def shards(self, folder: Path) -> dict[str, torch.Tensor]:
        tensors = {"a": torch.ones(2), "b": torch.zeros(3)}
        save_file({"a": tensors["a"]}, folder / "model-00001-of-00002.safetensors")
        save_file({"b": tensors["b"]}, folder / "model-00002-of-00002.safetensors")
        where = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
        return tensors

    def test_shards(self, tmp_path: Path) -> None:
        """All tensors of all shards, and no file that the index doesn't name."""
        tensors = self.shards(tmp_path)
        save_file({"other": torch.ones(1)}, tmp_path / "consolidated.safetensors")
        found = read_folder(tmp_path)
        assert found.keys() == tensors.keys()

    def test_a_missing_shard(self, tmp_path: Path) -> None:
        """Named, with a hint."""
        self.shards(tmp_path)
        (tmp_path / "model-00002-of-00002.safetensors").unlink()
        with pytest.raises(SourceError, match="lacks the shard model-00002-of-00002") as caught:
            read_folder(tmp_path)
        assert caught.value.hint

    def test_the_whole_file_goes_before_the_index(self, tmp_path: Path) -> None:
        """transformers loads model.safetensors when both are there."""
        self.shards(tmp_path)
        save_file({"whole": torch.ones(1)}, tmp_path / "model.safetensors")
        assert list(read_folder(tmp_path)) == ["whole"]

    def test_a_tensor_that_the_index_promises_is_missing(self, tmp_path: Path) -> None:
        """An index that names a tensor which its shard doesn't hold is refused."""
        self.shards(tmp_path)
        save_file({"c": torch.ones(2)}, tmp_path / "model-00001-of-00002.safetensors")
        with pytest.raises(SourceError, match="model-00001-of-00002") as caught:
            read_folder(tmp_path)
        assert caught.value.hint

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "[]",
            "{}",
            '{"weight_map": []}',
            '{"weight_map": {"a": 1}}',
            '{"weight_map": {"a": "../x.safetensors"}}',
            '{"weight_map": {"a": "/x.safetensors"}}',
            '{"weight_map": {}}',
        ],
    )
    def test_a_damaged_index(self, tmp_path: Path, text: str) -> None:
        """One line with a hint; names that lead out of the folder are damage too."""
        self.shards(tmp_path)
        save_file({"a": torch.ones(2)}, tmp_path.parent / "x.safetensors")
        (tmp_path / "model.safetensors.index.json").write_text(text)
        with pytest.raises(CogenError, match="index") as caught:
            read_folder(tmp_path)
        assert caught.value.hint

    def test_the_same_tensor_in_two_files(self, tmp_path: Path) -> None:
        """Without an index nothing says which one counts."""
        save_file({"a": torch.ones(2)}, tmp_path / "one.safetensors")
        save_file({"a": torch.zeros(2)}, tmp_path / "two.safetensors")
        with pytest.raises(SourceError, match="twice") as caught:
            read_folder(tmp_path)
        assert caught.value.hint


def test_a_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    """The header was read before; the tensor's bytes are gone: an error, not a short tensor."""
    save_file({"a": torch.ones(100)}, tmp_path / "x.safetensors")
    info = read_header(tmp_path / "x.safetensors")["a"]
    with (tmp_path / "x.safetensors").open("r+b") as file:
        file.truncate(200)
    with pytest.raises(SourceError, match="ended inside tensor a"):
        read_tensor(info)
