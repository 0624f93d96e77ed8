"""From a plan to the folder of a route, whole or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.files import atomic_folder
from cogen.checkpoints.sources import Talk, silent
from cogen.merging.output_folder import check_output_folder
from cogen.fusion.route.card import write_card
from cogen.fusion.route.centroids import make_centroids, read_centroids, write_centroids
from cogen.fusion.route.manifest import RouteManifest, write_route
from cogen.fusion.route.measure import Routed, measure_route
from cogen.fusion.route.plan import RouteInputs, RoutePlan
from cogen.fusion.route.router import Router

if TYPE_CHECKING:
    from cogen.evals import Matrix

MATRIX = "matrix.json"


@dataclass(frozen=True)
class RouteOutcome:
    """``matrix`` and ``routed`` are None at the level none."""

    manifest: RouteManifest
    matrix: Matrix | None
    routed: Routed | None


def build_route(plan: RoutePlan, inputs: RouteInputs, output: Path, progress: Any = None) -> RouteOutcome:
    """Write route.json, the centroids, the card, and matrix.json unless the level is none.

    :raises UsageError: ``output`` holds something that is not ours; then nothing is done.
    """
    check_output_folder(output)
    if progress:
        progress.describe("embedding samples")
    centroids = make_centroids(inputs.experts, inputs.embedder)
    router = Router(inputs.embedder, centroids, fallback=plan.fallback is not None)
    matrix, routed = measure_route(plan, inputs, router, progress) if plan.level != "none" else (None, None)
    with atomic_folder(output, replace=True) as part:
        manifest = RouteManifest(
            cogen=plan.cogen, embedder=plan.embedder, fallback=plan.fallback, experts=plan.experts,
            centroids=write_centroids(centroids, part),
        )
        write_route(manifest, part)
        if matrix is not None:
            (part / MATRIX).write_text(json.dumps(matrix.to_json()) + "\n", encoding="utf-8")
        write_card(part, manifest, matrix, routed)
    return RouteOutcome(manifest, matrix, routed)


def open_router(folder: Path, manifest: RouteManifest, talk: Talk = silent) -> Router:
    """The router of a folder.

    :raises DigestError: its centroids or its embedding model are not those of the manifest.
    """
    centroids = read_centroids(folder, manifest)
    return Router(manifest.embedder.open(talk), centroids, fallback=manifest.fallback is not None)
