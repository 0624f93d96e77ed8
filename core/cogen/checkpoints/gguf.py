"""GGUF → a safetensors folder in our cache, once. transformers dequantizes, we undo what it leaves behind."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cogen.checkpoints.sources import Talk, reporter_of
from cogen.errors import SourceError
from cogen.files import atomic_folder, atomic_write, cache_dir, locked
from cogen.reporter import SILENT, Reporter

#: Raised when the conversion itself changes, so that old cache entries are not reused.
_VERSION = 1


def converted(path: Path, digest: str, dtype: str, reporter: Reporter | Talk = SILENT) -> Path:
    """The checkpoint folder (``model.safetensors``, config, tokenizer) that ``path`` dequantizes to.

    :param digest: file digest of the GGUF; with ``dtype`` and the reader's version the key of the cache entry.
    :param dtype: torch dtype name that the dequantized float32 tensors are stored in.
    """
    # gguf dequantizes; transformers names the tensors and makes config and tokenizer.
    reader = " ".join(importlib.metadata.version(name) for name in ("gguf", "transformers"))
    # The same digest in another place or under another name is the same conversion.
    key = hashlib.sha256(f"{digest} {dtype} {reader} {_VERSION}".encode()).hexdigest()[:24]
    home = cache_dir() / "gguf" / key
    with locked(home):
        if not home.exists():
            reporter_of(reporter).note(f"converting {path.name} to safetensors ({dtype}), once")
            with atomic_folder(home) as part:
                _convert(path, dtype, part)
                atomic_write(part / "gguf.json", json.dumps({"file_digest": digest, "gguf": reader}).encode())
    return home


def _convert(path: Path, dtype: str, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # The reader's own bars know nothing of --json or a terminal; progress was reported before.
        with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
            tokenizer = AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name, trust_remote_code=False)
            loaded: Any = AutoModelForCausalLM.from_pretrained(
                path.parent,
                gguf_file=path.name,
                dtype=getattr(torch, dtype),
                trust_remote_code=False,
                output_loading_info=True,
            )
            model, info = loaded
            if missing := sorted(info["missing_keys"]):  # they would be random numbers
                raise ValueError(f"it lacks {missing[0]}")
            # transformers 5 leaves a GGUF quantizer on the dequantized model, which makes save_pretrained refuse.
            model.hf_quantizer = None
            model.is_quantized = False
            if hasattr(model.config, "quantization_config"):
                del model.config.quantization_config
            model.config._name_or_path = ""
            model.save_pretrained(folder)
            tokenizer.save_pretrained(folder)
    except (ValueError, OSError, RuntimeError, KeyError, IndexError, NotImplementedError) as error:
        text = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(
            f"{path.name} cannot be read as GGUF: {text}",
            hint="the file is damaged, or its architecture or quantization is not one that transformers reads",
        ) from error


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
