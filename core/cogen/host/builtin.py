"""What the host itself brings, registered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from cogen.host.hookspecs import hookimpl

#: Merge methods and their files in ``cogen/merging/methods``; a test compares this with the library's own table.
METHODS = {
    "arcee_fusion": "arcee_fusion",
    "breadcrumbs": "breadcrumbs",
    "breadcrumbs_ties": "breadcrumbs",
    "dare_linear": "dare",
    "dare_ties": "dare",
    "della": "della",
    "della_linear": "della",
    "greedy_soup": "greedy_soup",
    "karcher": "karcher",
    "linear": "linear",
    "localize_and_stitch": "localize_and_stitch",
    "model_stock": "model_stock",
    "multislerp": "multislerp",
    "nearswap": "nearswap",
    "nuslerp": "nuslerp",
    "passthrough": "passthrough",
    "ram": "ram",
    "ramplus_tl": "ramplus_tl",
    "regmean": "regmean",
    "sce": "sce",
    "slerp": "slerp",
    "task_arithmetic": "task_arithmetic",
    "ties": "ties",
    "ties_global": "ties",
    "ties_peft": "ties",
}

#: Distillation losses, whose names no plugin may take; a test compares this with the strategy's own table.
LOSSES = ("alm", "dpo", "gold", "graph", "h_kl", "infifpo", "kl", "mined", "p_kl", "piece_kl", "uld")

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
    """The methods of the strategy ``merge``."""
    for name, file in METHODS.items():
        register(name, f"cogen.merging.methods.{file}:{name}")


@hookimpl
def cogen_fusion_strategies(register: Callable[[str, str], None]) -> None:
    """Each lies in the package of its name."""
    for name in STRATEGIES:
        register(name, f"cogen.fusion.{name}.strategy:{name.upper()}")
