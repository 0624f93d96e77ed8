"""GGUF → a safetensors folder in our cache, once. transformers dequantizes, we undo what it leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from cogen.cache import cached
from cogen.checkpoints.gguf_config import apply_changes, check_tensors, config_changes
from cogen.checkpoints.gguf_header import GgufHeader, read_gguf_header
from cogen.checkpoints.side_files import RECORD, check_side_files, side_files
from cogen.checkpoints.sources import Talk, reporter_of
from cogen.files import atomic_folder, atomic_write, locked
from cogen.reporter import SILENT, Reporter, begin
from cogen.untrusted.border import border

#: Raised when the conversion itself changes, so that old cache entries are not reused.
_VERSION = 2
#: Of one core, measured with SmolLM2-135M (134.5 million elements, Q4_1): 21 s, and loading the libraries.
_ELEMENTS_A_SECOND, _START_SECONDS = 6.5e6, 5.0


def converted(path: Path, digest: str, dtype: str, reporter: Reporter | Talk = SILENT) -> Path:
    """The checkpoint folder (``model.safetensors``, config, tokenizer) that ``path`` dequantizes to.

    :param digest: file digest of the GGUF; with ``dtype`` and the reader's version the key of the cache entry.
    :param dtype: torch dtype name that the dequantized float32 tensors are stored in.
    """
    # gguf dequantizes; transformers names the tensors and makes config and tokenizer.
    reader = " ".join(importlib.metadata.version(name) for name in ("gguf", "transformers"))
    header, changes = _function(path)
    # The same digest in another place or under another name is the same conversion.
    different = f" {json.dumps(changes, sort_keys=True)}" if changes else ""
    key = hashlib.sha256(f"{digest} {dtype} {reader} {_VERSION}{different}".encode()).hexdigest()[:24]
    home = cached("gguf", key)
    with locked(home):
        if not home.exists():
            cost = conversion_cost(path, dtype).on_a_machine_with(_slowdown())
            reporter = reporter_of(reporter)
            reporter.note(f"converting {path.name} to safetensors ({dtype}), once: {cost}")
            begin(reporter, f"converting {path.name}", cost.seconds, "s")
            with atomic_folder(home) as part, _ticking(reporter, cost.seconds):
                _convert(path, dtype, part, header, changes)
                record = {"file_digest": digest, "gguf": reader, "files": side_files(part)}
                atomic_write(part / RECORD, json.dumps(record).encode())
        else:
            _check_unaltered(home, path.name)
    return home


def _check_unaltered(home: Path, name: str) -> None:
    """The weights have a digest in every manifest; what lies beside them has one in the record of the conversion.

    :raises DigestError: it was altered, or the record was.
    """
    try:
        recorded = json.loads((home / RECORD).read_bytes())["files"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        recorded = {}
    check_side_files(home, recorded if isinstance(recorded, dict) else {}, f"what {name} was converted to")


@dataclass(frozen=True)
class ConversionCost:
    """Before a conversion: seconds (a rough figure of an ordinary machine), bytes of memory and of disk.

    ``slowdown``: how many times longer it takes because others use the machine; it is part of ``seconds``.
    """

    seconds: float
    memory: int
    disk: int
    slowdown: float = 1.0

    def on_a_machine_with(self, slowdown: float) -> ConversionCost:
        return replace(self, seconds=self.seconds * slowdown, slowdown=slowdown)

    def __str__(self) -> str:
        takes = f"{self.seconds:.0f} s" if self.seconds < 90 else f"{self.seconds / 60:.0f} min"
        busy = ", as busy as the machine is" if self.slowdown >= 1.5 else ""
        return f"about {takes}{busy}, {self.memory / 1e9:.1f} GB of memory, {self.disk / 1e9:.1f} GB of disk"


def conversion_cost(path: Path, dtype: str) -> ConversionCost:
    """What converting a GGUF file takes, by the tensors that its header lists.

    transformers holds every tensor as float32 (4 bytes an element) and, while it stores the model, in ``dtype``.

    :raises SourceError: it is not GGUF.
    """
    header, _ = _function(path)
    elements = sum(math.prod(tensor.shape) for tensor in header.tensors.values())
    width = 4 if dtype == "float32" else 2
    return ConversionCost(_START_SECONDS + elements / _ELEMENTS_A_SECOND, elements * (4 + width), elements * width)


def _slowdown(seconds: float = 0.1) -> float:
    """How many times longer than its own time some work takes now, since others use the machine too; at least 1.

    :param seconds: of a core, for the work that is timed.
    """
    block = bytes(1 << 20)
    began, own = time.perf_counter(), time.thread_time()
    while (used := time.thread_time() - own) < seconds:
        hashlib.sha256(block).digest()
    return max(1.0, (time.perf_counter() - began) / used)


@contextlib.contextmanager
def _ticking(reporter: Reporter, seconds: float) -> Iterator[None]:
    """Advance by the clock while the block runs, and never past the estimate: transformers says nothing meanwhile."""
    done, stop = 0.0, threading.Event()

    def tick() -> None:
        nonlocal done
        while not stop.wait(1.0) and done + 1 < seconds:
            done += 1
            reporter.advance(1)

    clock = threading.Thread(target=tick, name="conversion", daemon=True)
    clock.start()
    try:
        yield
    finally:
        stop.set()
        clock.join()
    reporter.advance(max(0.0, seconds - done))


def _function(path: Path) -> tuple[GgufHeader, dict[str, Any]]:
    """The head of a file, and what of its configuration transformers would make otherwise.

    :raises SourceError: damaged, or a model that cannot be read exactly.
    """
    with _readable(path):
        header = read_gguf_header(path)
        return header, config_changes(header)


def _convert(path: Path, dtype: str, folder: Path, header: GgufHeader, changes: dict[str, Any]) -> None:
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

    # The reader's own bars know nothing of --json or a terminal; progress was reported before.
    with _readable(path), quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
        options: dict[str, Any] = {"gguf_file": path.name, "trust_remote_code": False}
        if changes:
            options["config"] = AutoConfig.from_pretrained(path.parent, **options)
            apply_changes(options["config"], changes, path, header)
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            path.parent, dtype=getattr(torch, dtype), output_loading_info=True, **options
        )
        model, info = loaded
        if missing := sorted(info["missing_keys"]):  # they would be random numbers
            raise ValueError(f"it lacks {missing[0]}")
        check_tensors(header, _used(model, header.architecture))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
                raise ValueError(f"{name} holds NaN or infinity")
        # transformers 5 leaves a GGUF quantizer on the dequantized model, which makes save_pretrained refuse.
        model.hf_quantizer = None
        model.is_quantized = False
        if hasattr(model.config, "quantization_config"):
            del model.config.quantization_config
        model.config._name_or_path = ""
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _used(model: Any, architecture: str) -> dict[str, str]:
    """Tensors of the file → parameters of the model, as transformers maps them when it loads."""
    from transformers import modeling_gguf_pytorch_utils

    library: Any = modeling_gguf_pytorch_utils  # without types
    kind = library.TENSOR_PROCESSORS.get(architecture, library.TensorProcessor)
    found: dict[str, str] = library.get_gguf_hf_weights_map(model, kind(config=model.config.to_dict()))
    return found


def _readable(path: Path) -> contextlib.AbstractContextManager[None]:
    hint = "it is damaged, or its architecture or quantization cannot be read exactly: see docs/compatibility.md"
    return border(f"{path.name} cannot be read as GGUF", hint=hint)


@contextlib.contextmanager
def quiet_transformers() -> Iterator[None]:
    """No progress bars and no advice from transformers inside the block."""
    from transformers.utils import logging as transformers_logging

    logging: Any = transformers_logging  # without types
    bars, level = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
