"""A sparse map against the same map as a dense matrix."""

from __future__ import annotations

import pytest
import torch

from cogen.fusion.distill.losses.projection_map import LEAST, Map, Projected

STUDENT, TEACHER = 11, 7


def made(nonzeros: int = 14) -> tuple[Map, torch.Tensor]:
    """A map, no pair in it twice, and its matrix, shape (V_s, V_t); the last of the student's tokens have no target."""
    random = torch.Generator().manual_seed(3)
    places = torch.randperm((STUDENT - 2) * TEACHER, generator=random)[:nonzeros]
    source, target = places // TEACHER, places % TEACHER
    share = torch.rand(nonzeros, generator=random, dtype=torch.float64)
    matrix = torch.zeros(STUDENT, TEACHER, dtype=torch.float64)
    matrix[source, target] = share
    return Map(source, target, share), matrix


@pytest.mark.parametrize("nonzeros", [0, 1, 3, 14, 40])
def test_both_ways(nonzeros: int) -> None:
    """To some targets, of which a few may come from nowhere; and back, on top of what is there."""
    map, matrix = made(nonzeros)
    p, targets = torch.rand(5, STUDENT, dtype=torch.float64), torch.tensor([1, 2, 4, 6])
    torch.testing.assert_close(map.gathered(p, targets), p @ matrix[:, targets])
    values, there = torch.rand(5, 4, dtype=torch.float64), torch.rand(5, STUDENT, dtype=torch.float64)
    into = there.clone()
    map.spread(values, targets, into)
    torch.testing.assert_close(into, there + values @ matrix[:, targets].T)


def test_each_row_has_targets_of_its_own() -> None:
    map, matrix = made()
    ids = torch.tensor([[0, 3], [5, 1], [3, 2]])
    kind = Projected(map, ids)
    p, shares = torch.rand(2, STUDENT, dtype=torch.float64), torch.rand(2, 2, dtype=torch.float64)
    wanted = (p @ matrix).gather(1, ids[1:])
    torch.testing.assert_close(kind.of(p, slice(1, 3)), wanted)
    into = torch.zeros(2, STUDENT, dtype=torch.float64)
    kind.spread(shares, slice(1, 3), into)
    torch.testing.assert_close((into * p).sum(1), (shares * wanted).sum(1))
    assert kind.least == LEAST
