"""Model merging: checkpoints in, one checkpoint out. It knows nothing of plugins, plans or strategies.

- :func:`merge`: run a recipe in mergekit's format and write a checkpoint folder, streamed from disk to disk.
- :func:`merge_tensors`, :func:`merge_state_dicts`: one method on tensors in memory.
- :func:`load_method`, :data:`METHODS`: the methods by name; :class:`Method` describes one.
- ``cogen.merging.lora``: concatenate, merge and extract LoRA adapters; ``cogen.merging.vocabulary``: merge models with
  different tokenizers.

Importing this package loads nothing else; torch is imported when something is merged.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from cogen.extras import missing_extra

if TYPE_CHECKING:
    from cogen.merging.in_memory import merge_state_dicts, merge_tensors
    from cogen.merging.mergekit.run import MergeResult, merge
    from cogen.merging.method import Method
    from cogen.merging.methods import METHODS, load_method

__all__ = ["METHODS", "MergeResult", "Method", "load_method", "merge", "merge_state_dicts", "merge_tensors"]

_MODULES = {
    "METHODS": "cogen.merging.methods",
    "MergeResult": "cogen.merging.mergekit.run",
    "Method": "cogen.merging.method",
    "load_method": "cogen.merging.methods",
    "merge": "cogen.merging.mergekit.run",
    "merge_state_dicts": "cogen.merging.in_memory",
    "merge_tensors": "cogen.merging.in_memory",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(importlib.import_module(_MODULES[name]), name)
    except ModuleNotFoundError as error:
        if missing := missing_extra(error, f"cogen.merging.{name}"):
            raise missing from error
        raise


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
