"""``SuiteResult``: what was measured, with its interval and everything that a paired comparison needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from cogen.evals.settings import Settings
from cogen.evals.statistics import interval, ratio_of_sums

#: Fields that are left out of JSON where they are empty.
_OPTIONAL = frozenset(("details", "clusters", "kinds"))


@dataclass(frozen=True)
class KindFigure:
    """A suite's figure over the documents of one kind, with its 95 % interval; ``n`` of them."""

    value: float
    low: float | None
    high: float | None
    n: int


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
    #: Of each document (an item, in such a suite) the cluster that intervals draw it with, such as the text that it was
    #: made of; and the kind that it is counted by. Empty: the suite has none.
    clusters: tuple[str, ...] = field(default=(), repr=False)
    kinds: tuple[str, ...] = field(default=(), repr=False)

    @property
    def column(self) -> str:
        """``owner/suite``: the column of the matrix."""
        return f"{self.owner}/{self.suite}"

    @property
    def by_kind(self) -> dict[str, KindFigure]:
        """Kind → its figure, in alphabetical order; empty where the suite has no kinds."""
        settings = Settings(dtype="")
        found = {}
        for kind in sorted(set(self.kinds)):
            places = [place for place, own in enumerate(self.kinds) if own == kind]
            pairs = [self.per_document[place] for place in places]
            clusters = [self.clusters[place] for place in places] if self.clusters else []
            low, high = interval(pairs, settings, clusters) or (None, None)
            found[kind] = KindFigure(ratio_of_sums(pairs), low, high, len(pairs))
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain values; :meth:`from_json` gives an equal result. ``part`` is the former name of ``split``.

        ``by_kind``, and the number of ``clusters`` as ``independent``, are there to be read.
        """
        found = asdict(self) | {"part": self.split, "per_document": [list(pair) for pair in self.per_document]}
        if self.kinds:
            found["by_kind"] = {kind: vars(figure) for kind, figure in self.by_kind.items()}
        if self.clusters:
            found["independent"] = len(set(self.clusters))
        return {name: value for name, value in found.items() if name not in _OPTIONAL or value}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Self:
        """:raises KeyError, TypeError, ValueError: not what :meth:`to_json` wrote."""
        known = {item.name for item in fields(cls)}
        if not isinstance(value, dict):
            raise TypeError("a result is an object")
        former = value.get("part")  # results that were written before the split had its name
        given = {name: entry for name, entry in value.items() if name not in ("part", "by_kind", "independent")}
        value = {"split": former, "details": {}, "clusters": (), "kinds": ()} | given
        if set(value) != known:
            raise ValueError(f"fields {sorted(set(value) ^ known)} are missing or unknown")
        pairs = tuple((float(top), float(bottom)) for top, bottom in value["per_document"])
        if len(pairs) != value["n"]:
            raise ValueError("n is not the number of documents")
        labels = {name: tuple(map(str, value[name])) for name in ("clusters", "kinds")}
        if not all(len(own) in (0, len(pairs)) for own in labels.values()):
            raise ValueError("not every document has its cluster and kind")
        return cls(**(value | {"per_document": pairs} | labels))
