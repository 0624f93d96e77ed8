"""Which expert a text belongs to: the nearest centroid.

With g the centroid of general text and c that of an expert, the score of a text with embedding q is

    (c - g) · q - ½ (c - g) · (c + g)  =  ½ |q - g|² - ½ |q - c|²

how much nearer q is to the expert than to general text. That is nearest-centroid classification, and Fisher's
discriminant of :mod:`cogen.routing.rows` with the unit matrix for its covariance: general text, so the base, scores 0.
An expert's score depends on its own samples alone, so others come and go without touching it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import SourceError
from cogen.evals import GENERAL
from cogen.evals.matrix import BASE
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

    from cogen.fusion.route.manifest import RouteManifest


@dataclass(frozen=True)
class RoutingDecision:
    """The expert that a text goes to ("base": the fallback), and every score; higher is nearer, general text is 0."""

    expert: str
    scores: dict[str, float]

    @property
    def ranking(self) -> list[tuple[str, float]]:
        """Best first, the chosen one at the head; ties by id."""
        return sorted(self.scores.items(), key=lambda item: (item[0] != self.expert, -item[1], item[0]))


class Router:
    """
    :param embedder: its ``encode`` gives one vector a text; a model that reads a limited number of tokens (256 for
        MiniLM) routes by the beginning of a text.
    :param centroids: of :func:`~cogen.fusion.route.centroids.make_centroids`.
    :param fallback: is there a base for what is nearer to general text than to any expert?
    """

    def __init__(self, embedder: Any, centroids: Mapping[str, torch.Tensor], *, fallback: bool) -> None:
        self._embedder, self._fallback = embedder, fallback
        self._general = centroids[GENERAL].double()
        self._own = {id: tensor.double() for id, tensor in sorted(centroids.items()) if id != GENERAL}

    def choose(self, texts: Sequence[str]) -> list[RoutingDecision]:
        """One choice a text. A tie goes to the first id; one with general text goes to the fallback."""
        if not texts:
            return []
        found = self._embedder.encode(texts).double()
        return [self._choice(vector) for vector in found]

    def unread(self, texts: Sequence[str]) -> str | None:
        """A warning, where the embedding model does not know the language of these texts: their scores are noise."""
        from cogen.routing.embedder import Embedder

        if not isinstance(self._embedder, Embedder):
            return None
        try:
            reading = self._embedder.reading(texts)
        except SourceError:  # its tokenizer is not here: who embeds the texts will say so
            return None
        if not reading.poor:
            return None
        return (
            f"warning: {self._embedder.source} cannot read {reading.unread_share:.0%} of the letters of this text, so "
            "do not rely on the choice of the expert; build the route with --embedder multilingual or --embedder counts"
        )

    def _choice(self, vector: torch.Tensor) -> RoutingDecision:
        scores = {
            id: float(((own - self._general) * (vector - (own + self._general) / 2)).sum())
            for id, own in self._own.items()
        }
        if self._fallback:
            scores = {BASE: 0.0, **scores}
        best = min(scores, key=lambda id: (-scores[id], id != BASE, id))
        return RoutingDecision(best, scores)


def open_router(folder: Path, manifest: RouteManifest, reporter: Reporter = SILENT) -> Router:
    """The router of a folder.

    :raises DigestError: its centroids or its embedding model are not those of the manifest.
    """
    from cogen.fusion.route.centroids import read_centroids

    centroids = read_centroids(folder, manifest)
    return Router(manifest.embedder.open(reporter), centroids, fallback=manifest.fallback is not None)
