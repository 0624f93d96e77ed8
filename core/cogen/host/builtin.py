"""What the host itself brings, registered through the same hooks as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from cogen.host.hookspecs import hookimpl


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
    register("linear", "cogen.fusion.merge.linear:linear")
    register("task_arithmetic", "cogen.fusion.merge.task_arithmetic:task_arithmetic")
    register("ties", "cogen.fusion.merge.ties:ties")
