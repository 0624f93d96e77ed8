"""The streaming engine: the same bits at any number of threads, moves that are byte copies, and inputs that fail."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support import tiny

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.safetensors_file import read_header
from cogen.checkpoints.safetensors_writer import SafetensorsWriter
from cogen.errors import CogenError, SourceError
from cogen.merging import writer
from cogen.merging.block import BLOCK, Block, InMemory, Stack
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.kernels.combine import combine
from cogen.merging.kernels.statistics import folded_sum, tensor_gram
from cogen.merging.method import method
from cogen.merging.methods.linear import linear
from cogen.merging.operands import RowBlock, Stored, fingerprint
from cogen.merging.writer import write_outputs

SHAPES = {"wide": (700, 900), "long": (3 * BLOCK + 17,), "number": (), "one": (1,), "none": (0, 4), "cube": (5, 6, 7)}


def checkpoint(folder: Path, seed: int, dtype: torch.dtype = torch.bfloat16) -> Checkpoint:
    generator = torch.Generator().manual_seed(seed)
    tensors = {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in SHAPES.items()}
    tensors["ids"] = torch.arange(seed, seed + 5)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    save_file(tensors, folder / "model.safetensors")
    return open_folder(folder)


@method(source="here", whole_model=True, survey=lambda stacks, weights: _shares(stacks))
def by_norm(block: Block, weights: Any, state: float) -> torch.Tensor:
    """Experts' mean times the tensor's share of the squared norm of all tensors."""
    return combine(block, 0.0, [state / block.count] * block.count)


def _shares(stacks: list[Stack]) -> list[float]:
    norms = [float(tensor_gram(stack, lambda block: block.experts[:1])[0, 0]) for stack in stacks]
    return [norm / sum(norms) for norm in norms]


def outputs(engine: Engine, models: list[Checkpoint], merge: Any = linear, **parameters: Any) -> list[OutputTensor]:
    found = []
    for name, info in models[0].tensors.items():
        work: Any = Copy(info)
        if info.dtype != "int64":
            base, *experts = (Stored(engine.files, m, name, fingerprint(m, engine.files)) for m in models)
            work = Merge(merge, base, tuple(experts), tuple(float(i + 1) for i in range(len(experts))), parameters)
        found.append(OutputTensor(name, info.dtype, info.shape, work))
    return found


@pytest.fixture
def models(tmp_path: Path) -> list[Checkpoint]:
    return [checkpoint(tmp_path / f"m{i}", i) for i in range(4)]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("merge", [linear, by_norm])
def test_the_same_bits_at_any_number_of_threads_and_in_any_order(
    models: list[Checkpoint], tmp_path: Path, merge: Any
) -> None:
    """Threads 1, 2 and 4; the experts in another order, each with its weight."""
    found = set()
    for threads in (1, 2, 4):
        with Engine(threads) as engine:
            engine.write(outputs(engine, models, merge), tmp_path / "out.safetensors")
        found.add(digest(tmp_path / "out.safetensors"))
    with Engine(2) as engine:
        turned = []
        for output in outputs(engine, models, merge):
            work = output.work
            if isinstance(work, Merge):
                work = Merge(work.method, work.base, work.experts[::-1], work.weights[::-1], work.parameters)
            turned.append(OutputTensor(output.name, output.dtype, output.shape, work))
        engine.write(turned, tmp_path / "out.safetensors")
    found.add(digest(tmp_path / "out.safetensors"))
    assert len(found) == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_what_is_written_is_the_methods_value_rounded_once(tmp_path: Path, dtype: torch.dtype) -> None:
    """Blocks or not; float32 accumulators for 16 bits, float64 for 32 and 64."""
    models = [checkpoint(tmp_path / f"m{i}", i, dtype) for i in range(3)]
    with Engine(2) as engine:
        engine.write(outputs(engine, models, scale=0.7), tmp_path / "out.safetensors", {"format": "pt"})
    found = load_file(tmp_path / "out.safetensors")
    with OpenFiles() as files:
        order = sorted((fingerprint(m, files), i) for i, m in enumerate(models) if i)
    stored = [load_file(models[i].folder / "model.safetensors") for i in (0, *(i for _, i in order))]
    weights = [float(i) for _, i in order]
    wide = torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32
    for name, shape in SHAPES.items():
        base, *experts = (tensors[name].to(wide) for tensors in stored)
        assert found[name].shape == shape
        assert torch.equal(found[name], linear(base, experts, weights, scale=0.7).to(dtype)), name
    assert torch.equal(found["ids"], torch.arange(0, 5))


def test_threads_of_torch_are_left_as_they_were(models: list[Checkpoint], tmp_path: Path) -> None:
    """A merge inside somebody's program must not slow down the rest of it."""
    before = torch.get_num_threads()
    with Engine(1) as engine:
        engine.write(outputs(engine, models), tmp_path / "out.safetensors")
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("kernel", [True, False])
def test_copies_are_the_bytes(models: list[Checkpoint], tmp_path: Path, kernel: bool, monkeypatch: Any) -> None:
    """By the kernel, and where it can't copy between two files, by reading and writing."""
    if not kernel:

        def reject(*_: Any) -> int:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "copy_file_range", reject)
    with Engine(2) as engine:
        moved = [OutputTensor(n, i.dtype, i.shape, Copy(i)) for n, i in models[1].tensors.items()]
        engine.write(moved, tmp_path / "out.safetensors")
    found, wanted = load_file(tmp_path / "out.safetensors"), load_file(models[1].folder / "model.safetensors")
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_adapters_are_added_block_by_block(tmp_path: Path) -> None:
    """The rows of a block get the same difference as the whole tensor."""
    base = open_folder(tiny.save_model(tmp_path / "base", dtype="bfloat16"))
    adapted = Checkpoint(base.folder, base.tensors, read_adapter(tiny.save_adapter(tmp_path / "adapter")))
    with OpenFiles() as files:
        for name in base.names():
            operand = Stored(files, adapted, name, "k")
            assert operand.plain == (".mlp." not in name)
            whole = adapted.read(name, torch.float32).reshape(-1)
            for step in (3 * operand.shape[-1], 100):
                cuts = range(0, whole.numel(), step)
                parts = [operand.read(i, min(i + step, whole.numel()), torch.float32) for i in cuts]
                assert torch.equal(torch.cat(parts), whole), name


def test_rows_are_taken_from_anywhere() -> None:
    """Runs, jumps, zeros and rows of our own, at any cut."""
    source = torch.randn(6, 3)
    extra = torch.randn(2, 3)
    index = [0, 1, 2, 5, -1, 4, -3, -2, 3, 4]
    rows = RowBlock(InMemory(source, "k"), index, extra)
    whole = torch.stack([source[i] if i >= 0 else torch.zeros(3) if i == -1 else extra[-2 - i] for i in index])
    assert (rows.shape, rows.key, rows.dtype) == ((10, 3), "k", "float32")
    for start in range(0, 30, 3):
        for stop in range(start, 31, 3):
            assert torch.equal(rows.read(start, stop, torch.float32), whole.reshape(-1)[start:stop])
    assert torch.equal(rows.read(4, 17, torch.float64), whole.reshape(-1)[4:17].double())


def test_a_fingerprint_is_the_models_content(models: list[Checkpoint], tmp_path: Path) -> None:
    """Not the folder's name; another number anywhere near the start of a tensor is another model."""
    again = checkpoint(tmp_path / "again", 2)
    with OpenFiles() as files:
        assert fingerprint(again, files) == fingerprint(models[2], files)
        assert len({fingerprint(m, files) for m in models}) == 4


@pytest.mark.parametrize("length", [0, 1, 2, 3, 7, 1000, 4097])
def test_folded_sums(length: int) -> None:
    """Exact for integers, and near the exact sum for others; rows apart."""
    whole = torch.arange(length, dtype=torch.float32) - 3
    assert float(folded_sum(whole)) == sum(range(length)) - 3 * length
    x = torch.randn(3, length, dtype=torch.float64)
    torch.testing.assert_close(folded_sum(x), x.sum(dim=-1), rtol=1e-12, atol=1e-12)


class TestFailures:
    """Inputs and outputs that fail: a clear error, and nothing that looks finished."""

    def merge(self, models: list[Checkpoint], folder: Path, spoil: Any = None) -> None:
        folder.mkdir(exist_ok=True)
        with Engine(2) as engine:
            made = outputs(engine, models)
            if spoil:
                spoil()
            write_outputs(made, engine, folder)

    def test_a_shard_that_is_cut_short(self, models: list[Checkpoint], tmp_path: Path) -> None:
        """After its header was read: named with its tensor."""
        file = models[1].folder / "model.safetensors"
        with pytest.raises(SourceError, match=r"model\.safetensors (ended inside tensor|changed while)"):
            self.merge(models, tmp_path / "out", lambda: os.truncate(file, file.stat().st_size // 2))

    def test_a_shard_that_changes_underneath(
        self, models: list[Checkpoint], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same size, other bytes, while the merge runs."""
        file = models[1].folder / "model.safetensors"
        real = SafetensorsWriter.write_part

        def touch(self: Any, name: str, *rest: Any) -> None:
            if name == "one":
                with file.open("r+b") as handle:
                    handle.seek(-2, 2)
                    handle.write(b"xy")
            real(self, name, *rest)

        monkeypatch.setattr(SafetensorsWriter, "write_part", touch)
        with pytest.raises(SourceError, match="changed while it was read") as caught:
            self.merge(models, tmp_path / "out")
        assert "start over" in str(caught.value.hint)

    def test_a_shard_that_is_replaced(self, models: list[Checkpoint], tmp_path: Path, monkeypatch: Any) -> None:
        """By another file of the same size under the same name: what was read is of neither."""
        file = models[1].folder / "model.safetensors"
        copy = tmp_path / "copy"
        copy.write_bytes(file.read_bytes())
        real = SafetensorsWriter.write_part

        def swap(self: Any, name: str, *rest: Any) -> None:
            if name == "one":
                copy.replace(file)
            real(self, name, *rest)

        monkeypatch.setattr(SafetensorsWriter, "write_part", swap)
        with pytest.raises(SourceError, match="changed while it was read"):
            self.merge(models, tmp_path / "out")

    def test_a_shard_that_disappears(self, models: list[Checkpoint], tmp_path: Path) -> None:
        """Or was never readable."""
        (models[2].folder / "model.safetensors").unlink()
        with pytest.raises(SourceError, match=r"model\.safetensors cannot be read: No such file"):
            self.merge(models, tmp_path / "out")

    def test_a_disk_that_is_too_small(self, models: list[Checkpoint], tmp_path: Path, monkeypatch: Any) -> None:
        """Found out before a weight is read."""
        usage = writer.shutil.disk_usage(tmp_path)
        monkeypatch.setattr(writer.shutil, "disk_usage", lambda _: usage._replace(free=1_000_000))
        with pytest.raises(CogenError, match="3 MB are needed and 1 MB are free") as caught:
            self.merge(models, tmp_path / "out")
        assert "another disk" in str(caught.value.hint)
        assert list((tmp_path / "out").iterdir()) == []

    def test_a_file_system_that_takes_no_such_file(self, models: list[Checkpoint], tmp_path: Path) -> None:
        """The kernel's own refusal of a large file, in a process with a limit: one line, no traceback."""
        import resource
        import subprocess
        import sys

        code = (
            "import resource, signal, sys; from pathlib import Path\n"
            "from cogen.checkpoints.model import open_folder\n"
            "from cogen.errors import CogenError\n"
            "from cogen.merging.writer import write_outputs\n"
            "from cogen.merging.engine import Copy, Engine, OutputTensor\n"
            "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "model = open_folder(Path(sys.argv[1]))\n"
            "made = [OutputTensor(n, i.dtype, i.shape, Copy(i)) for n, i in model.tensors.items()]\n"
            "try:\n"
            "    with Engine(2) as engine: write_outputs(made, engine, Path(sys.argv[2]))\n"
            "except CogenError as error: print(error)\n"
        )
        (tmp_path / "out").mkdir()
        assert resource.RLIM_INFINITY  # the limit is set in the child alone
        run = subprocess.run(
            [sys.executable, "-c", code, str(models[0].folder), str(tmp_path / "out")],
            capture_output=True,
            text=True,
            check=True,
        )
        assert "cannot be written: a file is too large for its file system" in run.stdout

    def test_an_error_in_a_method_ends_the_run(self, models: list[Checkpoint], tmp_path: Path) -> None:
        """All threads stop, and the error is the method's own."""

        @method(source="here")
        def broken(block: Block, weights: Any, state: None) -> torch.Tensor:
            raise ArithmeticError("no")

        with Engine(4) as engine, pytest.raises(ArithmeticError, match="no"):
            engine.write(outputs(engine, models, broken), tmp_path / "out.safetensors")


def test_wide_types_come_first_in_a_file(tmp_path: Path) -> None:
    """A reader that maps the file needs each tensor at a multiple of its element's size."""
    tensors = {"a": torch.ones(3, dtype=torch.bool), "b": torch.ones(3).bfloat16(), "c": torch.ones(1).double()}
    shapes = {n: (str(t.dtype).removeprefix("torch."), tuple(t.shape)) for n, t in tensors.items()}
    with SafetensorsWriter(tmp_path / "x.safetensors", shapes) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)
    for info in read_header(tmp_path / "x.safetensors").values():
        assert info.start % tensors[info.name].element_size() == 0
    found = load_file(tmp_path / "x.safetensors")
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())
