"""A sparse map of one vocabulary to another, and sums of probabilities along it."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch.nn.functional import embedding_bag

#: A projected log-probability below counts as this.
LEAST = math.log(1e-9)


@dataclass(frozen=True, eq=False)
class Map:
    """From the student's vocabulary to the teacher's.

    :param source, target, share: nonzeros as :func:`~.alignment.vocabularies.projection` gives them, shape
        (nonzeros,).
    """

    source: torch.Tensor
    target: torch.Tensor
    share: torch.Tensor

    @functools.cached_property
    def _by_target(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Source, target and share."""
        order = torch.argsort(self.target, stable=True)
        return self.source[order], self.target[order], self.share[order]

    @functools.cached_property
    def _by_source(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """Where each source's begin, place of its targets among all targets, share; and those targets, ascending."""
        order = torch.argsort(self.source, stable=True)
        known, place = torch.unique(self.target[order], return_inverse=True)
        count = torch.bincount(self.source)
        return count.cumsum(0) - count, place, self.share[order], known

    def gathered(self, values: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Σ share · value over the student's tokens that are mapped to each of some targets, shape (m, u).

        :param values: of the student's tokens, shape (m, V_s); ``targets``: shape (u,).
        """
        source, target, share = (one.to(values.device) for one in self._by_target)
        first = torch.searchsorted(target, targets)
        count = torch.searchsorted(target, targets, right=True) - first
        begin = count.cumsum(0) - count
        own = torch.arange(int(count.sum()), device=values.device) + (first - begin).repeat_interleave(count)
        # A product with one turns a few long rows into columns in a fifth of the time that a copy takes.
        columns = values.t() @ _one(values)
        return embedding_bag(source[own], columns, begin, mode="sum", per_sample_weights=share[own].to(values)).t()

    def spread(self, values: torch.Tensor, targets: torch.Tensor, into: torch.Tensor) -> None:
        """Add Σ share · value over some targets to each token of the student: the transpose of :meth:`gathered`.

        :param values: shape (m, u); ``targets``: each once, shape (u,); ``into``: shape (m, V_s).
        """
        begin, place, share, known = (one.to(values.device) for one in self._by_source)
        there = torch.isin(targets, known)
        columns = values.new_zeros(len(known), len(values))
        columns[torch.searchsorted(known, targets[there])] = values[:, there].t()
        found = embedding_bag(place, columns, begin, mode="sum", per_sample_weights=share.to(values))
        into[:, : len(found)].addmm_(_one(values), found.t())


@dataclass(frozen=True)
class Projected:
    """The student's probabilities of the teacher's tokens: k sums a row.

    :param ids: tokens of the teacher, shape (C, k).
    """

    map: Map
    ids: torch.Tensor
    least: float = LEAST

    def of(self, exps: torch.Tensor, at: slice | torch.Tensor) -> torch.Tensor:
        targets, place = torch.unique(self.ids[at], return_inverse=True)
        return self.map.gathered(exps, targets).gather(1, place)

    def spread(self, shares: torch.Tensor, at: slice | torch.Tensor, into: torch.Tensor) -> None:
        targets, place = torch.unique(self.ids[at], return_inverse=True)
        values = shares.new_zeros(len(shares), len(targets)).scatter_add_(1, place, shares)
        self.map.spread(values, targets, into)


def _one(values: torch.Tensor) -> torch.Tensor:
    return torch.eye(len(values), dtype=values.dtype, device=values.device)
