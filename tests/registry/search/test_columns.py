"""Arrays that grow, facets, sizes, exact neighbours and the joining of ranks."""

from __future__ import annotations

import numpy as np
import pytest

from cogen_registry.errors import Refused
from cogen_registry.search.columns import Column, Facet
from cogen_registry.search.index import FLOOR, K, fused, nearest
from cogen_registry.search.sizes import size_range


def test_a_column_is_what_was_added() -> None:
    """However it was cut into pieces; a view of before stays what it was."""
    column, added = Column(np.float32, 3), []
    generator = np.random.default_rng(0)
    for count in (0, 1, 5, 100, 3):
        before, kept = column.values, column.values.copy()
        piece = generator.normal(size=(count, 3)).astype(np.float32)
        column.extend(piece)
        added.append(piece)
        assert np.array_equal(before, kept)
    assert np.array_equal(column.values, np.concatenate(added))


def test_a_facet_finds_rows_by_value_in_any_case() -> None:
    facet = Facet()
    facet.extend([0, 1], ["Medicine", "law"])
    facet.extend([2, 2], ["medicine", "law"])
    assert facet.mask("MEDICINE", 3).tolist() == [True, False, True]
    assert facet.mask("chemistry", 3).tolist() == [False] * 3
    assert facet.mask("law", 2).tolist() == [False, True]  # rows that a reader does not know of yet
    assert facet.counts(np.array([True, True, True])) == [("law", 2), ("medicine", 2)]
    assert facet.counts(np.array([True, False, False])) == [("medicine", 1)]
    assert Facet().counts(np.zeros(0, bool)) == []
    assert Facet().mask("x", 2).tolist() == [False, False]


def test_a_facet_counts_what_its_masks_hold() -> None:
    """Whatever values are widened to: a row that has a value twice is one row."""
    generator = np.random.default_rng(2)
    tags = ["en", "en-gb", "en-us", "de", "de-ch", "fr"]
    facet = Facet(lambda tag: {tag, tag.partition("-")[0]})
    rows = generator.integers(0, 50, 200)
    facet.extend(rows, [tags[place] for place in generator.integers(0, len(tags), 200)])
    mask = generator.random(50) < 0.7
    wanted = {tag: int((facet.mask(tag, 50) & mask).sum()) for tag in tags}
    assert dict(facet.counts(mask)) == {tag: count for tag, count in wanted.items() if count}


@pytest.mark.parametrize("usable", [1.0, 0.5, 0.05])
def test_neighbours_are_exact(usable: float) -> None:
    """The same as sorting all cosines in float64, whichever way is taken for few or many rows."""
    generator = np.random.default_rng(1)
    vectors = generator.normal(size=(2000, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[7]
    mask = generator.random(2000) < usable
    cosines = vectors.astype(np.float64) @ query.astype(np.float64)
    wanted = [row for row in np.argsort(-cosines, kind="stable") if mask[row] and cosines[row] >= FLOOR][:50]
    assert nearest(vectors, query, mask, 50) == wanted


def test_equal_neighbours_stand_in_the_order_of_their_rows() -> None:
    vectors = np.tile(np.array([[1.0, 0.0]], np.float32), (5, 1))
    assert nearest(vectors, vectors[0], np.ones(5, bool)) == [0, 1, 2, 3, 4]
    assert nearest(vectors, np.array([0.0, 1.0], np.float32), np.ones(5, bool)) == []


def test_ranks_are_joined() -> None:
    """1 / (60 + rank), summed; the order of the lists says nothing."""
    one, two = [4, 5, 6], [6, 4]
    assert fused([one, two]) == {4: 1 / (K + 1) + 1 / (K + 2), 5: 1 / (K + 2), 6: 1 / (K + 3) + 1 / (K + 1)}
    assert fused([one, two]) == pytest.approx(fused([two, one]))
    assert fused([[], []]) == {}


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("<200M", [1, 199_999_999], [200_000_000]),
        ("<= 200m", [200_000_000], [200_000_001]),
        (">=1B", [1_000_000_000, 10**12], [999_999_999]),
        (">1.5k", [1501], [1500]),
        ("1B-7B", [10**9, 7 * 10**9], [10**9 - 1, 7 * 10**9 + 1]),
        ("1-7B", [10**9, 7 * 10**9], [10**9 - 1]),
        ("135M", [134_515_008, 135_000_000], [100_000_000, 160_000_000]),
    ],
)
def test_sizes(text: str, inside: list[int], outside: list[int]) -> None:
    least, most = size_range(text)
    assert all(least <= one <= most for one in inside)
    assert not any(least <= one <= most for one in outside)


@pytest.mark.parametrize("text", ["", "big", "7B-1B", "<", "1Q", "-5M", "<-5M", "1e3"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(Refused, match="is not a size"):
        size_range(text)
