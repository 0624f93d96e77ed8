"""Does a plugin keep the contract? Checks are values: `cogen check` prints them, a plugin's tests assert them.

    from cogen.conformance import ExpertConformance

    class TestPower(ExpertConformance):
        expert = "power"

Levels: ``static`` reads files and imports the plugin in a process of its own (no weights); ``smoke`` opens the weights,
compares digests and shapes, and runs each suite once; ``full`` measures the suites and compares them with the
publisher's claims.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.conformance.result import Check
from cogen.conformance.run import Level, check_tree, find, run_checks

if TYPE_CHECKING:
    from cogen.conformance.kit import ExpertConformance

__all__ = ["Check", "ExpertConformance", "Level", "check_tree", "find", "run_checks"]


def __getattr__(name: str) -> Any:
    # it needs pytest, which those who only run `cogen check` may not have
    if name == "ExpertConformance":
        from cogen.conformance.kit import ExpertConformance

        return ExpertConformance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
