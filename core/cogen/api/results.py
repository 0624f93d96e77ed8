"""What the parts of an evaluation hand on to each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from cogen.evals import Settings, SuiteResult
    from cogen.fusion.route.measure import Routed


@dataclass(frozen=True)
class ModelResults:
    """One model's results; of an expert its id, of a route which documents went where."""

    expert: str | None
    results: tuple[SuiteResult, ...]
    routed: Routed | None = None


class MeasureOptions(TypedDict):
    """How all models of an evaluation are measured."""

    split: Any
    level: Any
    settings: Settings
    fresh: bool
    #: Tokenizer and its digest that choose the documents of the level quick; ``None``: the model's own.
    chooser: tuple[Any, str] | None
    #: Ask the questions of the built-in chat suite too.
    chat: bool
