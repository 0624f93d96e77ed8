"""What experts ship for routing and calibration: texts, or their embedding where texts may not leave.

What takes their place where an expert ships none is in :mod:`cogen.fusion.routing_data`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogen.checkpoints.digests import check_file
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.errors import CompatibilityError
from cogen.evals.samples import read_samples

if TYPE_CHECKING:
    import torch

    from cogen.host import Expert
    from cogen.routing.embedder import Embedder


def sample_texts(expert: Expert) -> list[str]:
    """The expert's samples.

    :raises CompatibilityError: it ships none, or only their embedding. :raises SpecError: see :func:`read_samples`.
    """
    samples = expert.spec.samples
    if samples is None or samples.path is None:
        raise CompatibilityError(
            f"{expert.id} ships no sample text",
            hint=f"leave {expert.id} out, or ask {expert.spec.publisher} for samples",
        )
    path = expert.root / samples.path
    check_file(path, samples.digest, f"the samples of {expert.id}")
    return read_samples(path, expert.id)


def sample_embedding(expert: Expert, embedder: Embedder) -> torch.Tensor:
    """Mean sentence embedding of an expert's samples, computed or as its publisher ships it.

    :returns: shape (dimensions,), float32.
    :raises CompatibilityError: it ships neither text nor embedding, or one of another size.
    """
    import torch

    samples = expert.spec.samples
    if samples is None or samples.embedding is None:
        return embedder.encode(sample_texts(expert)).double().mean(0).float()
    path = expert.root / samples.embedding
    check_file(path, samples.digest, f"the samples of {expert.id}")
    tensors = list(read_header(path).values())
    if len(tensors) != 1:
        raise CompatibilityError(
            f"the sample embedding of {expert.id} holds {len(tensors)} tensors where one is expected",
            hint=f"leave {expert.id} out, or tell {expert.spec.publisher}",
        )
    wide = embedder.encode(["one text"]).shape[1]
    if tensors[0].shape != (wide,):
        raise CompatibilityError(
            f"the sample embedding of {expert.id} has the shape {tensors[0].shape} where {embedder.source} gives "
            f"({wide},)",
            hint=f"name the embedder that it was made with (--embedder), or leave {expert.id} out",
        )
    found = read_tensor(tensors[0]).float()
    if not bool(torch.isfinite(found).all()):
        raise CompatibilityError(
            f"the sample embedding of {expert.id} holds what is not a number",
            hint=f"leave {expert.id} out, or tell {expert.spec.publisher}",
        )
    return found
