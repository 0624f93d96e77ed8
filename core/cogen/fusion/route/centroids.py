"""Where each expert's texts lie among all texts: the mean sentence embedding of its samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.digests import check_file, file_digest
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import SpecError
from cogen.evals import GENERAL, calibration_texts
from cogen.fusion.route.members import Member
from cogen.fusion.routing_data import embedding_of
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import Embedder

if TYPE_CHECKING:
    import torch

    from cogen.fusion.route.manifest import RouteManifest
    from cogen.host import Expert

CENTROIDS = "centroids.safetensors"


def make_centroids(
    experts: Sequence[Expert], embedder: Embedder, members: Mapping[str, Member], reporter: Reporter = SILENT
) -> dict[str, torch.Tensor]:
    """The centroid of general text under "general", and one an expert under its id; shape (dimensions,), float32.

    :param members: of the route, for experts that ship no samples.
    :raises CompatibilityError: what an expert ships is of another size.
    """
    found = {GENERAL: embedder.encode(calibration_texts()).double().mean(0).float()}
    for expert in sorted(experts, key=lambda expert: expert.id):
        found[expert.id] = embedding_of(expert, embedder, partial(members.__getitem__, expert.id), reporter)
    return found


def write_centroids(centroids: Mapping[str, torch.Tensor], folder: Path) -> str:
    """Write the file; returns its digest."""
    write_safetensors(folder / CENTROIDS, dict(sorted(centroids.items())))
    return file_digest(folder / CENTROIDS)


def read_centroids(folder: Path, manifest: RouteManifest) -> dict[str, torch.Tensor]:
    """As :func:`make_centroids` gave them.

    :raises DigestError: the file is not the one that was written.
    :raises SpecError: it does not hold one vector for general text and each expert, all of one size.
    """
    path = folder / CENTROIDS
    check_file(path, manifest.centroids, str(path))
    header = read_header(path)
    if (
        header.keys() != {GENERAL, *(expert.id for expert in manifest.experts)}
        or len({(len(info.shape), info.shape[:1], info.dtype) for info in header.values()}) != 1
    ):
        raise SpecError(f"{path} is not of this route", hint="build it again: cogen fuse --strategy route")
    return {name: read_tensor(info) for name, info in header.items()}
