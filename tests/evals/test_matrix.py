"""The matrix of models and suites, and what `cogen check` asks of a suite."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from cogen.artifacts.lock import LockedMatrix
from cogen.errors import EvalError
from cogen.evals import BoundSuite, Matrix, check_suite, compare, general_suites
from cogen.evals.matrix import EMPTY, suites_for
from cogen.fusion.results import matrix_json


def test_a_matrix_survives_json_and_compares_with_the_base(run: Any, heldout: Any, texts: Any) -> None:
    """from_json(to_json(m)) = m; gains are the pairwise comparisons with the row `base`."""
    suites = [heldout(texts(2), texts(4)), heldout(texts(2, seed=3), texts(4, seed=4), owner="general")]
    base = run(suites)
    better = [
        dataclasses.replace(
            r, value=r.value / 2, per_document=tuple((top / 2, bottom) for top, bottom in r.per_document)
        )
        for r in base
    ]
    matrix = Matrix.of({"base": base, "power": better, "composite": better[:1]})
    assert matrix.rows == ("base", "power", "composite")
    assert matrix.columns == ("power/heldout", "general/heldout")
    assert matrix.get("composite", "general/heldout") is None
    assert matrix.metric("general/heldout") == "bits_per_byte"
    assert Matrix.from_json(json.loads(json.dumps(matrix.to_json()))) == matrix
    gains = matrix.gains()
    assert list(gains) == ["power", "composite"]
    assert gains["power"]["general/heldout"] == compare(better[1], base[1])
    assert gains["power"]["power/heldout"].gain == pytest.approx(0.5)


def test_cells_that_were_not_measured(run: Any, heldout: Any, texts: Any) -> None:
    """They are told apart from zero everywhere, and columns stand in the order that is asked for."""
    one, two = heldout(texts(2), texts(4)), heldout(texts(2, seed=3), texts(4, seed=4), owner="energy")
    general = heldout(texts(2, seed=5), texts(4, seed=6), owner="general")
    suites = [one, two, general]
    assert suites_for(None, suites, "own") == suites_for({"power"}, suites, "full") == suites
    assert suites_for({"power"}, suites, "own") == [one, general]
    assert suites_for({"power", "energy"}, suites, "own") == suites
    assert suites_for({"law"}, suites, "own") == [general]
    rows = {"power": run([one, general]), "energy": run([two, general]), "composite": run(suites)}
    columns = ("power/heldout", "energy/heldout", "general/heldout")
    matrix = Matrix.of(rows, [*columns, "law/heldout"])
    assert matrix.columns == columns
    assert Matrix.of(rows).columns == ("power/heldout", "general/heldout", "energy/heldout")
    assert Matrix.from_json(json.loads(json.dumps(matrix.to_json()))) == matrix
    assert matrix.not_measured == {"power": ["energy/heldout"], "energy": ["power/heldout"]}
    assert LockedMatrix.of(matrix).not_measured == matrix.not_measured
    assert str(matrix) == str(LockedMatrix.of(matrix))
    line = str(matrix).splitlines()[2].split()
    assert (line[0], line[2]) == ("power", EMPTY)
    assert f"<td>{EMPTY}</td>" in matrix._repr_html_()
    assert set(matrix.gains("composite")["power"]) == {"power/heldout", "general/heldout"}
    assert "energy/heldout" not in matrix_json(matrix)["power"]


def test_parts_and_levels_do_not_mix(run: Any, heldout: Any, texts: Any) -> None:
    """One matrix is of one split and one level."""
    bound = heldout(texts(3), texts(3))
    with pytest.raises(EvalError, match="one split and one level"):
        Matrix.of({"base": run([bound]), "x": run([bound], split="dev")})
    with pytest.raises(EvalError, match="no results"):
        Matrix.of({"base": []})
    with pytest.raises(EvalError, match="no row 'best'"):
        Matrix.of({"base": run([bound])}).gains("best")
    with pytest.raises(EvalError, match="not a saved matrix"):
        Matrix.from_json({"cells": {"base": [{}]}})


def test_a_good_suite_passes_the_check(heldout: Any, texts: Any) -> None:
    """30 documents in the test split, none of them twice and none in the dev split."""
    assert check_suite(heldout(texts(5, seed=2), texts(30))) == {"dev": 5, "test": 30}


def test_a_weak_suite_does_not(heldout: Any, texts: Any) -> None:
    """Too few documents, copies, or one document in both splits."""
    thirty = texts(30)
    for dev, test, message in (
        (texts(5, seed=2), thirty[:29], "has 29 documents, at least 30"),
        (texts(5, seed=2), [*thirty, thirty[3]], "appears twice"),
        ([*texts(5, seed=2), thirty[0]], thirty, "1 documents stand in both"),
    ):
        with pytest.raises(EvalError, match=message):
            check_suite(heldout(dev, test))


@pytest.mark.parametrize("bound", general_suites(), ids=lambda bound: bound.name)
def test_the_built_in_suites_pass_their_own_check(bound: BoundSuite) -> None:
    """What is asked of a plugin holds for us."""
    assert check_suite(bound)["test"] >= 30
