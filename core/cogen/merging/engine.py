"""The streaming engine: tensors in blocks, from input files to their final place in the output file.

Two kinds of threads. A *driver* has one tensor: it runs the method's survey, then its blocks. The blocks go to
*workers*, each of which reads, computes and writes one block at a time, so that reading, arithmetic and writing of
different blocks overlap and all cores are busy, whether a model has many small tensors or one huge one. Memory: a few
blocks for each worker and input, and :data:`REMEMBERED_BYTES`, whatever the size of tensors and models.
"""

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import dataclasses
import functools
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.files import OpenFiles
from cogen.checkpoints.finite import all_finite
from cogen.checkpoints.model import accumulator
from cogen.checkpoints.safetensors_file import DTYPES, TensorInfo
from cogen.checkpoints.safetensors_writer import SafetensorsWriter, not_numbers, tensor_bytes
from cogen.devices import threads as chosen_threads
from cogen.errors import CompatibilityError
from cogen.merging.allocator import keep_freed_memory
from cogen.merging.block import Block, Operand, Stack
from cogen.merging.method import Method
from cogen.merging.operands import Remembered, Stored
from cogen.reporter import Reporter

if TYPE_CHECKING:
    import torch

#: Floating-point types that a merge can compute with; others are copied.
FLOATS = ("float16", "bfloat16", "float32", "float64", "float8_e4m3fn", "float8_e5m2")
#: Memory of all threads together for tensors that are read more than once.
REMEMBERED_BYTES = 256 << 20
_WIDTHS = dict(DTYPES.values())
#: Elements that are copied at once.
_COPIED = 1 << 22


@dataclass(frozen=True)
class Copy:
    """The bytes of one tensor of an input file."""

    source: TensorInfo


@dataclass(frozen=True)
class Merge:
    """A method on operands of one shape. ``parameters`` are single values, or tuples with one per expert."""

    method: Method
    base: Operand | None
    experts: tuple[Operand, ...]
    weights: tuple[float, ...]
    parameters: dict[str, Any] = field(default_factory=dict)
    #: What the experts are called in an error, one each; empty: nobody said.
    titles: tuple[str, ...] = ()

    def in_order(self) -> Merge:
        """The experts sorted by key, unless the method depends on their order."""
        if self.method.ordered:
            return self
        order = sorted(range(len(self.experts)), key=lambda i: self.experts[i].key)
        each = {
            name: tuple(value[i] for i in order) if isinstance(value, (list, tuple)) else value
            for name, value in self.parameters.items()
        }
        return Merge(
            self.method,
            self.base,
            tuple(self.experts[i] for i in order),
            tuple(self.weights[i] for i in order),
            each,
            tuple(self.titles[i] for i in order) if self.titles else (),
        )


@dataclass(frozen=True)
class OutputTensor:
    """A tensor of the result: name, type, shape, and the copy or merge that makes it."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    work: Copy | Merge

    @property
    def nbytes(self) -> int:
        return int(_WIDTHS[self.dtype]) * math.prod(self.shape)


def usable_cores() -> int:
    """Cores that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


class Engine:
    """A pool of threads and the open input files of one run; a context manager.

    :param threads: workers; default: all usable cores. The result does not depend on it.
    :param reporter: advances by one per tensor.
    :param verified: was every input looked at for NaN and infinity when it was opened, as
        :func:`~cogen.checkpoints.model.open_weights` does?
    """

    def __init__(self, threads: int | None = None, reporter: Reporter | None = None, *, verified: bool = False) -> None:
        self._verified = verified
        self.threads = threads or chosen_threads() or usable_cores()
        self.files = OpenFiles(check=not verified)
        self._reporter = reporter
        self._reporting = threading.Lock()
        self._stop = threading.Event()
        self._own = threading.local()

    def __enter__(self) -> Engine:
        import torch

        keep_freed_memory()
        self._torch_threads = torch.get_num_threads()
        single = functools.partial(torch.set_num_threads, 1)
        self._workers = concurrent.futures.ThreadPoolExecutor(self.threads, "block", single)
        self._drivers = concurrent.futures.ThreadPoolExecutor(self.threads, "tensor", single)
        return self

    def __exit__(self, *_: object) -> None:
        import torch

        self._stop.set()
        self._drivers.shutdown(cancel_futures=True)
        self._workers.shutdown(cancel_futures=True)
        torch.set_num_threads(self._torch_threads)
        self.files.__exit__()

    def write(self, outputs: Sequence[OutputTensor], path: Path, metadata: dict[str, str] | None = None) -> None:
        """One safetensors file with these tensors.

        :raises SourceError: an input is truncated, unreadable or was changed meanwhile.
        :raises CompatibilityError: a computed tensor is not finite in the type that it is written in.
        :raises OSError: the output cannot be written; ``path`` is then incomplete.
        """
        shapes = {output.name: (output.dtype, output.shape) for output in outputs}
        states = self._model_wide(outputs)
        with SafetensorsWriter(path, shapes, metadata) as writer, _flush_while(writer):
            # The largest first, so that no thread starts a huge one when the others are done.
            queue = sorted(outputs, key=lambda output: (-output.nbytes, output.name))
            tasks = [self._drivers.submit(self._one, output, writer, states) for output in queue]
            try:
                for task in concurrent.futures.as_completed(tasks):
                    task.result()
            except BaseException:
                self._stop.set()
                for task in tasks:
                    task.cancel()
                concurrent.futures.wait(tasks)
                raise
        self.files.check_unchanged()

    def stack(self, output: OutputTensor, merge: Merge) -> Stack:
        """The operands of one output in blocks that this engine maps."""
        return make_stack(output.name, merge, self._map)

    def _model_wide(self, outputs: Sequence[OutputTensor]) -> dict[str, Any]:
        """States of the methods that look at all tensors of the model together, by the output's name."""
        groups: dict[Any, list[tuple[OutputTensor, Merge]]] = {}
        for output in sorted(outputs, key=lambda output: output.name):
            if isinstance(output.work, Merge) and output.work.method.whole_model:
                merge = output.work.in_order()
                alike = merge.method.name, merge.weights, tuple(sorted(merge.parameters.items()))
                groups.setdefault(alike, []).append((output, merge))
        states: dict[str, Any] = {}
        for members in groups.values():
            first = members[0][1]
            stacks = [self.stack(output, merge) for output, merge in members]
            found = first.method.state(stacks, first.weights, first.parameters)
            states |= {output.name: state for (output, _), state in zip(members, found, strict=True)}
        return states

    def _one(self, output: OutputTensor, writer: SafetensorsWriter, states: dict[str, Any]) -> None:
        if self._stop.is_set():
            return
        if isinstance(output.work, Copy):
            self._copy(output.name, output.work.source, writer)
        else:
            self._merge(output, output.work.in_order(), writer, states)
        if self._reporter is not None:
            with self._reporting:
                self._reporter.advance(1)

    def _copy(self, name: str, source: TensorInfo, writer: SafetensorsWriter) -> None:
        """By the kernel where the numbers were looked at before, or are none; else they are read, and looked at."""
        if self._verified or source.dtype not in FLOATS:
            writer.copy(name, self.files, source)
            return
        width = _WIDTHS[source.dtype]
        for start in range(0, source.numel, _COPIED):
            part = self.files.read(source, start, min(start + _COPIED, source.numel))
            writer.write_part(name, start * width, tensor_bytes(part))

    def _merge(self, output: OutputTensor, merge: Merge, writer: SafetensorsWriter, states: dict[str, Any]) -> None:
        import torch

        method, dtype, width = merge.method, getattr(torch, output.dtype), _WIDTHS[output.dtype]
        in_memory = self._keep_in_memory(merge)
        stack = self.stack(output, in_memory)
        if method.whole_model:
            state = states[output.name]
        else:
            state = method.state(stack, merge.weights, merge.parameters)
        if not any(o.known for o in (in_memory.base, *in_memory.experts) if isinstance(o, Remembered)):
            stack = self.stack(output, merge)  # the survey has read nothing: no tensor is read twice
        parameters = method.accepted_by(method.apply, merge.parameters)

        def work(block: Block) -> None:
            found = method.apply(block, merge.weights, state, **parameters)
            written = found.to(dtype)
            if not all_finite(written):
                raise _not_finite(output, merge, block, found)
            writer.write_part(output.name, block.start * width, tensor_bytes(written))

        collections.deque(stack.map(work), maxlen=0)

    def _keep_in_memory(self, merge: Merge) -> Merge:
        """The merge with tensors that are small enough kept in memory, so that each is read from its file once."""
        import torch

        if merge.method.survey is None or not merge.method.looks or merge.method.whole_model:
            return merge
        inputs = {id(o): o for o in (merge.base, *merge.experts) if isinstance(o, Stored) and o.plain}
        sizes = {key: math.prod(o.shape) * _WIDTHS[o.dtype] for key, o in inputs.items()}
        limit = REMEMBERED_BYTES // self.threads
        if sum(-(-size // 64) * 64 for size in sizes.values()) > limit:
            return merge
        # A driver has one tensor at a time, and the same memory for each.
        if not hasattr(self._own, "memory"):
            self._own.memory = torch.empty(limit, dtype=torch.uint8)
        kept: dict[int, Operand] = {}
        start = 0
        for key, operand in inputs.items():
            memory = self._own.memory[start : start + sizes[key]].view(getattr(torch, operand.dtype))
            kept[key] = Remembered(operand, memory)
            start += -(-sizes[key] // 64) * 64
        base = None if merge.base is None else kept.get(id(merge.base), merge.base)
        experts = tuple(kept.get(id(operand), operand) for operand in merge.experts)
        return dataclasses.replace(merge, base=base, experts=experts)

    def _map(self, function: Callable[[Any], Any], items: Sequence[Any]) -> Iterator[Any]:
        """Results in order. Only a few are in flight: a result may be large, and there may be thousands."""
        if len(items) == 1:  # most tensors of a small model: not worth another thread
            yield function(items[0])
            return
        waiting: collections.deque[concurrent.futures.Future[Any]] = collections.deque()
        with contextlib.ExitStack() as cleanup:
            cleanup.callback(lambda: [future.cancel() for future in waiting])
            for item in items:
                if self._stop.is_set():
                    raise concurrent.futures.CancelledError
                waiting.append(self._workers.submit(function, item))
                if len(waiting) > 2 * self.threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()


def _not_finite(output: OutputTensor, merge: Merge, block: Block, found: torch.Tensor) -> CompatibilityError:
    """Who is to blame for NaN or infinity in a block: an input, the method, or the type that it is written in.

    :param found: what the method gave, before it was rounded to the output's type.
    """
    titles = merge.titles or tuple(f"expert {number}" for number in range(1, len(merge.experts) + 1))
    inputs = [*zip(titles, merge.experts, strict=True), *([("the base", merge.base)] if merge.base else [])]
    for title, operand in inputs:
        if not all_finite(operand.read(block.start, block.stop, block.dtype)):
            return not_numbers(
                output.name,
                output.dtype,
                f"{title} holds one",
                f"leave {title} out, or take another version of it; is its lora_alpha far too large?",
            )
    weights = ", ".join(f"{title} {weight:g}" for title, weight in zip(titles, merge.weights, strict=True))
    if all_finite(found):
        return not_numbers(output.name, output.dtype, f"with the weights {weights} a number is too large")
    return not_numbers(output.name, output.dtype, f"method {merge.method.name} gives none for the weights {weights}")


def make_stack(name: str, merge: Merge, mapper: Callable[[Callable[[Any], Any], Sequence[Any]], Any] = map) -> Stack:
    """The operands of a merge in the widest of their accumulators."""
    import torch

    inputs = [*merge.experts, *([merge.base] if merge.base is not None else [])]
    kinds = [accumulator(getattr(torch, operand.dtype)) for operand in inputs]
    wide = max(kinds, key=lambda dtype: torch.finfo(dtype).bits)
    return Stack(name, merge.base, merge.experts, wide, merge.method.unit, mapper=mapper)


@contextlib.contextmanager
def _flush_while(writer: SafetensorsWriter) -> Iterator[None]:
    """Flush in the background, so that only the last bytes are left to wait for at the end."""
    done = threading.Event()

    def flush() -> None:
        while not done.wait(0.25):
            with contextlib.suppress(OSError):  # the last flush, by the writer itself, raises it
                writer.sync()

    thread = threading.Thread(target=flush, name="flush", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
