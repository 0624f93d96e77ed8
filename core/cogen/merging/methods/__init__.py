"""The merge methods: pure functions on blocks of tensors, in the file of their family.

:data:`METHODS` is the table of them; nothing is imported before :func:`load_method` is called.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from cogen.errors import UsageError

if TYPE_CHECKING:
    from cogen.merging.method import Method

#: Methods that share a file: file → names.
_FAMILIES = {
    "breadcrumbs": ("breadcrumbs", "breadcrumbs_ties"),
    "dare": ("dare_linear", "dare_ties"),
    "della": ("della", "della_linear"),
    "ties": ("ties", "ties_global", "ties_peft"),
}
#: Methods with a file of their own name.
_SINGLE = (
    "arcee_fusion",
    "greedy_soup",
    "karcher",
    "linear",
    "localize_and_stitch",
    "model_stock",
    "multislerp",
    "nearswap",
    "nuslerp",
    "passthrough",
    "ram",
    "ramplus_tl",
    "regmean",
    "sce",
    "slerp",
    "task_arithmetic",
)
#: Name → ``module:attribute``, sorted by name.
METHODS: dict[str, str] = {
    name: f"{__name__}.{file}:{name}"
    for name, file in sorted(
        [*((name, name) for name in _SINGLE), *((name, file) for file, names in _FAMILIES.items() for name in names)]
    )
}


def load_method(name: str) -> Method:
    """A method by its name.

    :raises UsageError: there is no such method.
    """
    if name not in METHODS:
        raise UsageError(f"unknown merge method {name!r}", hint=f"one of {', '.join(METHODS)}")
    module, _, attribute = METHODS[name].partition(":")
    found: Method = getattr(importlib.import_module(module), attribute)
    return found
