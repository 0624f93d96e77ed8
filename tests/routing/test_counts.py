"""Counts of character n-grams: deterministic, of length one, and near where texts share spellings."""

from __future__ import annotations

import numpy as np
import pytest

from cogen.routing import counts
from cogen.routing.counts import DIMENSIONS, Counts
from cogen.routing.embedder import Embedder


def test_rows_have_length_one_and_an_empty_text_is_zero() -> None:
    found = Counts().encode(["power grids", "传染病防治法", ""])
    assert found.shape == (3, DIMENSIONS)
    assert found.dtype == np.float32
    assert np.linalg.norm(found, axis=1).tolist() == pytest.approx([1, 1, 0])


def test_the_cosine_is_that_of_the_roots_of_counts() -> None:
    """ "ab" has " ", "a", "b", " a", "ab", "b ", …; "ab ab" has each of them twice, so the same direction."""
    one, two, other = Counts().encode(["ab", "ab ab", "xy"])
    assert float(one @ two) == pytest.approx(1)
    # Of " ab " and " xy " only the space is shared: twice among 4 + 3 + 2 + 1 n-grams, so 2 / 10.
    assert float(one @ other) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("texts", "query"),
    [
        (("医师应当遵守职业道德，救死扶伤。", "电网调度机构负责电力系统的运行。"), "执业医师的道德"),
        (("แพทย์ต้องดูแลผู้ป่วย", "โครงข่ายไฟฟ้าต้องมั่นคง"), "ผู้ป่วยและแพทย์"),
        (("врач лечит больного", "сеть передаёт энергию"), "врачи и больные"),
    ],
)
def test_what_shares_spellings_is_nearer(texts: tuple[str, str], query: str) -> None:
    near, far, asked = Embedder("counts").encode([*texts, query])
    assert float(near @ asked) > 2 * float(far @ asked)


def test_the_same_numbers_on_every_machine() -> None:
    """A lock that names the source relies on them."""
    assert counts.SOURCE == "counts://char-1-4-v1"
    (found,) = Counts().encode(["药"])
    assert {int(i): round(float(found[i]), 4) for i in np.flatnonzero(found)} == {
        1064: 0.4082,
        6268: 0.4082,
        6440: 0.4082,
        7064: 0.5774,  # the space before and behind it
        9946: 0.4082,
    }
