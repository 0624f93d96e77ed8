"""What the host itself brings, registered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from cogen.host.hookspecs import hookimpl

#: Methods of the strategy ``merge``; each lies in the file of its name.
METHODS = (
    "arcee_fusion",
    "breadcrumbs",
    "breadcrumbs_ties",
    "dare_linear",
    "dare_ties",
    "della",
    "della_linear",
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
    "ties",
    "ties_global",
    "ties_peft",
)


@hookimpl
def cogen_sources(register: Callable[[str, str], None]) -> None:
    """The four schemes of the contract."""
    register("file", "cogen.checkpoints.sources.file:fetch")
    register("hf", "cogen.checkpoints.sources.hf:fetch")
    register("package", "cogen.checkpoints.sources.package:fetch")
    register("pypi", "cogen.checkpoints.sources.pypi:fetch")


@hookimpl
def cogen_fusion_methods(register: Callable[[str, str], None]) -> None:
    """The methods of the strategy ``merge``."""
    for name in METHODS:
        register(name, f"cogen.merging.methods.{name}:{name}")
