"""Numbers in place of text: are they what their kind is, and nothing more?"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

from cogen.checkpoints.safetensors_file import TensorInfo, read_bytes, read_header
from cogen.conformance.result import Failed
from cogen.conformance.shipped import FLOATS, check_no_notes
from cogen.host import Expert
from cogen.spec.suite import StatisticsFile

#: Kind → the tensors of its file.
TENSORS = {"token_counts": ("counts", "ids"), "states": ("mean",), "embedding": ("mean",)}
_AGAIN = "publish the file that `cogen train` writes"


def statistics_files(expert: Expert) -> Iterator[tuple[str, StatisticsFile]]:
    """(kind, file) of what the manifest names."""
    if (found := expert.spec.statistics) is not None:
        for kind in TENSORS:
            if (file := getattr(found, kind)) is not None:
                yield kind, file


def check_statistics(expert: Expert) -> str:
    """Each file holds the tensors of its kind alone, of the right type and shape; no token below the floor is counted.

    :raises Failed: names the file and what is wrong. :raises SourceError: it is damaged.
    """
    kinds = []
    found = expert.spec.statistics
    assert found is not None
    if found.documents < found.floor:
        raise Failed(
            f"the numbers are made of {found.documents} documents, fewer than their floor of {found.floor}",
            "leave [statistics] out: so few documents hide nobody",
        )
    for kind, file in statistics_files(expert):
        tensors = read_header(expert.root / file.path)
        if tuple(sorted(tensors)) != TENSORS[kind]:
            held = ", ".join(sorted(tensors)) or "nothing"
            raise Failed(f"{file.path} holds {held}, not {' and '.join(TENSORS[kind])}", _AGAIN)
        if kind == "token_counts":
            _check_counts(expert, file.path, tensors)
        else:
            _check_mean(kind, file.path, tensors["mean"])
        check_no_notes(expert.root / file.path, file.path)
        kinds.append(kind)
    return f"{', '.join(kinds)} of {found.documents:,} documents"


def _check_counts(expert: Expert, path: str, tensors: dict[str, TensorInfo]) -> None:
    vocabulary, floor = expert.spec.tokenizer.vocab_size, _floor(expert)
    (kinds,) = tensors["ids"].shape if len(tensors["ids"].shape) == 1 else (-1,)
    if any(one.dtype != "int64" or one.shape != (kinds,) for one in tensors.values()):
        raise Failed(f"{path}: `ids` and `counts` have to be int64 of one axis and one length", _AGAIN)
    if kinds > vocabulary:
        raise Failed(f"{path} counts {kinds:,} tokens of a vocabulary of {vocabulary:,}", _AGAIN)
    ids, counts = (memoryview(read_bytes(tensors[name])).cast("q") for name in ("ids", "counts"))
    if kinds and (ids[0] < 0 or ids[-1] >= vocabulary or any(a >= b for a, b in pairwise(ids))):
        raise Failed(f"{path}: `ids` is not ascending, or not of a vocabulary of {vocabulary:,}", _AGAIN)
    # what occurs in that many documents occurs at least that often
    if kinds and (least := min(counts)) < floor:
        raise Failed(
            f"{path} counts a token {least:,} times, and its floor is {floor} documents",
            "leave rare tokens out: names are among them",
        )


def _floor(expert: Expert) -> int:
    assert expert.spec.statistics is not None
    return expert.spec.statistics.floor


def _check_mean(kind: str, path: str, mean: TensorInfo) -> None:
    axes = 2 if kind == "states" else 1
    if mean.dtype not in FLOATS or len(mean.shape) != axes:
        raise Failed(f"{path}: `mean` is {mean.dtype} of shape {mean.shape}, not floats of {axes} axes", _AGAIN)
