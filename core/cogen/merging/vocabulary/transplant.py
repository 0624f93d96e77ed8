"""Embeddings for tokens that a model lacks, out of its own embeddings: subword means and sparse combinations."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cogen.merging.block import Operand
from cogen.merging.vocabulary.alphabet import alphabet_of, token_text
from cogen.merging.vocabulary.pursuit import Atoms, pursue
from cogen.merging.vocabulary.rows import Sums, columns_of, take
from cogen.merging.vocabulary.tokens import read_backend

#: Elements in float64 that a pursuit reads of the atoms at a time, keeps of them at most, and keeps of the orthogonal
#: basis.
ATOM_ELEMENTS, KEPT_ELEMENTS, BASIS_ELEMENTS = 1 << 20, 1 << 25, 1 << 23


class Pieces:
    """How a model's own tokenizer splits the text of a token that it lacks."""

    def __init__(self, folder: Path) -> None:
        from tokenizers import Tokenizer

        backend = read_backend(folder)
        self._alphabet = alphabet_of(backend)
        if (folder / "tokenizer.json").is_file():
            self._tokenizer: Any = Tokenizer.from_file(str(folder / "tokenizer.json"))
        else:
            self._tokenizer = Tokenizer.from_str(json.dumps(backend))

    def __call__(self, spelling: bytes) -> list[int]:
        """Ids of the pieces. Bytes that are no text go to the model of the tokenizer directly, as does text with
        ``▁`` for spaces: there the whole tokenizer would put a space in front of every word."""
        text = token_text(spelling, "text")
        if self._alphabet == "space" or text is None:
            name = token_text(spelling, self._alphabet)
            if name is not None:
                return [piece.id for piece in self._tokenizer.model.tokenize(name)]
            if text is None:
                found = [self._tokenizer.token_to_id(f"<0x{byte:02X}>") for byte in spelling]
                return [id for id in found if id is not None]
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)


def subword_sums(pieces: Sequence[Sequence[int]], model: int) -> Sums:
    """The mean of the rows of the pieces, for every token."""
    return Sums.of([[(model, id, 1 / len(ids)) for id in ids] for ids in pieces])


@dataclass(frozen=True)
class Donor:
    """Tokens that a model lacks and another has, and the tokens that both have.

    :param tensor: the other model's tensor.
    :param wanted: rows there of the tokens that are lacking; ``places``: their numbers among the sums.
    :param shared: rows there of the common tokens; ``own``: their rows in the model that lacks the others.
    """

    tensor: Operand
    wanted: np.ndarray
    places: np.ndarray
    shared: np.ndarray
    own: np.ndarray


@dataclass
class Pursuits:
    """The sums of a model's missing tokens by :func:`cogen.merging.vocabulary.pursuit.pursue`; made when first asked
    for, once, and kept: a token has at most ``sparsity`` numbers."""

    donors: Sequence[Donor]
    model: int
    sparsity: int
    _made: list[Sums] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self) -> Sums:
        with self._lock:
            if not self._made:
                rows: list[list[tuple[int, int, float]]] = [[] for _ in range(sum(len(d.places) for d in self.donors))]
                for donor in self.donors:
                    self._pursue(donor, rows)
                self._made.append(Sums.of(rows))
            return self._made[0]

    def _pursue(self, donor: Donor, rows: list[list[tuple[int, int, float]]]) -> None:
        import torch

        width = max(1, columns_of(donor.tensor))
        atoms = Atoms(
            len(donor.shared),
            lambda numbers: take(donor.tensor, donor.shared[numbers], torch.float64),
            max(1, ATOM_ELEMENTS // width),
        )
        if atoms.count * width <= KEPT_ELEMENTS:
            kept = atoms.rows(np.arange(atoms.count))
            atoms = Atoms(atoms.count, lambda numbers: kept[torch.from_numpy(numbers)], atoms.step)
        lengths = atoms.lengths()
        step = max(1, min(256, BASIS_ELEMENTS // (width * min(self.sparsity, max(1, atoms.count)))))
        for start in range(0, len(donor.wanted), step):
            targets = take(donor.tensor, donor.wanted[start : start + step], torch.float64)
            chosen, coefficients = pursue(targets, atoms, self.sparsity, lengths)
            for place, atom, factor in zip(donor.places[start:], chosen.tolist(), coefficients.tolist(), strict=False):
                rows[place] = [(self.model, int(donor.own[a]), f) for a, f in zip(atom, factor, strict=True) if a >= 0]
