"""The numbers that an expert ships in the place of text, read and checked: see :class:`cogen.spec.suite.Statistics`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.checkpoints.digests import check_file
from cogen.checkpoints.safetensors_file import TensorInfo, read_header, read_tensor
from cogen.errors import CompatibilityError

if TYPE_CHECKING:
    import torch

    from cogen.host import Expert
    from cogen.spec.suite import Statistics, StatisticsFile

#: Most bytes of a file of statistics: the counts of a vocabulary of two million tokens.
LARGEST = 32 << 20
_FLOATS = ("float64", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class TokenCounts:
    """``ids`` ascend; ``counts`` of each; shape (kinds,), int64."""

    ids: torch.Tensor
    counts: torch.Tensor


def read_token_counts(expert: Expert, vocabulary: int | None = None) -> TokenCounts:
    """How often tokens occur in an expert's training text.

    :param vocabulary: size of its tokenizer; default: that of the manifest.
    :raises CompatibilityError: the file holds something else. :raises DigestError: it is not the published one.
    """
    statistics = _statistics(expert)
    tensors = _tensors(expert, statistics.token_counts, {"ids", "counts"})
    ids, counts = tensors["ids"], tensors["counts"]
    if {ids.dtype, counts.dtype} != {"int64"} or len(ids.shape) != 1 or ids.shape != counts.shape or not ids.numel:
        raise _wrong(
            expert, f"token counts are {ids.dtype} {ids.shape} and {counts.dtype} {counts.shape}, not int64 (kinds,)"
        )
    found = TokenCounts(read_tensor(ids), read_tensor(counts))
    size = expert.spec.tokenizer.vocab_size if vocabulary is None else vocabulary
    if int(found.ids[0]) < 0 or int(found.ids[-1]) >= size or bool((found.ids.diff() <= 0).any()):
        raise _wrong(expert, f"token ids do not ascend within a vocabulary of {size:,}")
    # A token that occurs in `floor` documents occurs that often at least.
    if int(found.counts.min()) < statistics.floor:
        raise _wrong(expert, f"a token is counted {int(found.counts.min())} times, below the floor {statistics.floor}")
    return found


def read_states(expert: Expert, shape: tuple[int, int] | None = None) -> torch.Tensor:
    """Mean states of the base on an expert's training text, shape (layers, hidden), float64.

    :param shape: what the base has.
    :raises CompatibilityError: the file holds something else. :raises DigestError: it is not the published one.
    """
    found = _mean(expert, _statistics(expert).states, 2, "mean states")
    if shape is not None and tuple(found.shape) != shape:
        raise _wrong(expert, f"mean states have the shape {tuple(found.shape)} where its base has {shape}")
    return found


def read_embedding(expert: Expert, dimensions: int | None = None) -> torch.Tensor:
    """Mean sentence embedding of an expert's training text, shape (dimensions,), float64.

    :param dimensions: what the embedder gives.
    :raises CompatibilityError: the file holds something else. :raises DigestError: it is not the published one.
    """
    found = _mean(expert, _statistics(expert).embedding, 1, "mean embedding")
    if dimensions is not None and len(found) != dimensions:
        raise _wrong(expert, f"mean embedding has {len(found)} dimensions where its embedder gives {dimensions}")
    return found


def _statistics(expert: Expert) -> Statistics:
    statistics = expert.spec.statistics
    if statistics is None:
        raise CompatibilityError(f"{expert.id} ships no statistics", hint=f"ask {expert.spec.publisher} for them")
    return statistics


def _mean(expert: Expert, file: StatisticsFile | None, axes: int, what: str) -> torch.Tensor:
    import torch

    info = _tensors(expert, file, {"mean"})["mean"]
    if info.dtype not in _FLOATS or len(info.shape) != axes or not info.numel:
        raise _wrong(expert, f"{what}: {info.dtype} of shape {info.shape} where floats of {axes} axes are expected")
    found = read_tensor(info).double()
    if not bool(torch.isfinite(found).all()):
        raise _wrong(expert, f"{what} hold what is not a number")
    return found


def _tensors(expert: Expert, file: StatisticsFile | None, names: set[str]) -> dict[str, TensorInfo]:
    if file is None:
        raise CompatibilityError(
            f"{expert.id} ships no statistics with {' and '.join(sorted(names))}",
            hint=f"ask {expert.spec.publisher} for them",
        )
    path = expert.root / file.path
    if path.is_file() and path.stat().st_size > LARGEST:
        raise _wrong(expert, f"{file.path} has more than {LARGEST >> 20} MiB")
    check_file(path, file.digest, f"{file.path} of {expert.id}")
    tensors = read_header(path)
    if set(tensors) != names:
        raise _wrong(
            expert,
            f"{file.path} holds {', '.join(sorted(tensors)) or 'nothing'}, not {' and '.join(sorted(names))}",
        )
    return tensors


def _wrong(expert: Expert, what: str) -> CompatibilityError:
    return CompatibilityError(
        f"the statistics of {expert.id} are wrong: {what}",
        hint=f"leave {expert.id} out, or tell {expert.spec.publisher}",
    )
