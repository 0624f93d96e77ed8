"""``SuiteResult``: what was measured, with its interval and everything that a paired comparison needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class SuiteResult:
    """One model on one split of one suite.

    ``value`` is in bits per byte, or a share from 0 to 1. ``low`` and ``high`` are its 95 % bootstrap interval by
    document, ``None`` with fewer than two documents. ``per_document`` holds (numerator, denominator): (bits, bytes
    of UTF-8), or (right, 1). ``tokens`` are the tokens of text that the figure stands on (prompts and answers for
    the other metrics); ``seconds`` is the time that the measurement took when it was made.
    """

    owner: str
    suite: str
    metric: str
    split: str
    level: str
    value: float
    n: int
    low: float | None
    high: float | None
    per_document: tuple[tuple[float, float], ...] = field(repr=False)
    #: Digest of the rendered documents: equal for equal documents, whatever file they came in.
    documents: str = field(repr=False)
    tokens: int
    seconds: float
    #: Key of the measurement: settings, versions and digests of model, tokenizer and data.
    key: str = field(repr=False)
    #: Taken from the cache of results. Not part of what was measured.
    cached: bool = field(default=False, compare=False)
    #: What the value is made of, by name; of the chat suite alone.
    details: dict[str, float] = field(default_factory=dict, repr=False)

    @property
    def column(self) -> str:
        """``owner/suite``: the column of the matrix."""
        return f"{self.owner}/{self.suite}"

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` gives an equal result. ``split`` is the former name of ``split``."""
        found = asdict(self) | {"part": self.split, "per_document": [list(pair) for pair in self.per_document]}
        return found if self.details else {name: value for name, value in found.items() if name != "details"}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """:raises KeyError, TypeError, ValueError: not what :meth:`to_json` wrote."""
        known = {item.name for item in fields(cls)}
        if not isinstance(value, dict):
            raise TypeError("a result is an object")
        former = value.get("part")  # results that were written before the split had its name
        value = {"split": former, "details": {}} | {name: entry for name, entry in value.items() if name != "part"}
        if set(value) != known:
            raise ValueError(f"fields {sorted(set(value) ^ known)} are missing or unknown")
        pairs = tuple((float(top), float(bottom)) for top, bottom in value["per_document"])
        if len(pairs) != value["n"]:
            raise ValueError("n is not the number of documents")
        return cls(**(value | {"per_document": pairs}))
