"""Names, parameters, what the cache must hold, and the losses that are made of them."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from support.tiny import WORDS
from support.tokenizers import OTHER_WORDS, bytewise, pieces

from cogen.errors import CompatibilityError, UsageError
from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.alignment.vocabularies import matches
from cogen.fusion.distill.losses.names import LOSSES, PREFERENCES, known
from cogen.fusion.distill.losses.registry import PARAMETERS, check_parameters, make_loss, needs_of, parts
from cogen.fusion.distill.teachers.needs import TeacherStatistics


@pytest.fixture(scope="module")
def sides() -> tuple[Encoder, Encoder]:
    return Encoder(bytewise()), Encoder(pieces("bpe", [*WORDS, *OTHER_WORDS]))


def test_every_name_has_parameters() -> None:
    assert set(PARAMETERS) == set(known()) == set(LOSSES) | set(PREFERENCES)
    for name, defaults in PARAMETERS.items():
        check_parameters(name, defaults)


def test_several() -> None:
    assert parts("uld") == ["uld"]
    assert parts("uld+alm") == ["uld", "alm"]


@pytest.mark.parametrize("name", ["uld+ulm", "", "uld+", "ULD", "lm"])
def test_unknown_names(name: str) -> None:
    with pytest.raises(UsageError, match="unknown distillation loss") as found:
        parts(name)
    for one in known():
        assert one in (found.value.hint or "")


@pytest.mark.parametrize("name", ["dpo+alm", "uld+infifpo", "dpo+infifpo"])
def test_preferences_are_alone(name: str) -> None:
    with pytest.raises(UsageError, match="cannot be combined with others") as found:
        parts(name)
    assert "one loss" in (found.value.hint or "")


@pytest.mark.parametrize(
    ("name", "parameters", "text", "hint"),
    [
        ("alm", {"k": 10}, "no parameter 'k'", "it takes gamma, tau"),
        ("uld+alm", {"beta": 1.0}, "no parameter 'beta'", "it takes gamma, k, tau"),
        ("alm", {"tau": "x"}, "must be a number", "tau = 5"),
        ("alm", {"tau": [1.0, 2.0]}, "must be a number", "tau = 5"),
        ("uld", {"k": True}, "must be a number", "k = 10"),
        ("alm", {"tau": -1.0}, "out of range", "tau = 5"),
        ("alm", {"tau": 0}, "out of range", "tau = 5"),
        ("alm", {"tau": math.nan}, "out of range", "tau = 5"),
        ("alm", {"tau": math.inf}, "out of range", "tau = 5"),
        ("alm", {"gamma": 1.0}, "out of range", "gamma = 0.1"),
        ("uld", {"k": 1}, "out of range", "k = 10"),
        ("uld", {"k": 10.5}, "out of range", "k = 10"),
        ("kl", {"k": 2000}, "out of range", "k = 128"),
        ("kl", {"k": math.inf}, "out of range", "k = 128"),
        ("kl", {"k": math.nan}, "out of range", "k = 128"),
        ("gold", {"beta": 1.0}, "out of range", "beta = 0.5"),
        ("infifpo", {"beta": 0.0}, "out of range", "beta = 2.5"),
    ],
)
def test_wrong_parameters(name: str, parameters: dict[str, Any], text: str, hint: str) -> None:
    with pytest.raises(UsageError, match=text) as found:
        check_parameters(name, parameters)
    assert hint in (found.value.hint or "")


@pytest.mark.parametrize(
    ("name", "parameters"), [("infifpo", {"beta": 10}), ("uld", {"k": 20.0}), ("alm+p_kl", {"tau": 1, "k": 1024})]
)
def test_right_parameters(name: str, parameters: dict[str, Any]) -> None:
    check_parameters(name, parameters)


@pytest.mark.parametrize(
    ("name", "parameters", "wanted"),
    [
        ("uld", {}, TeacherStatistics(logprob=True, top=10)),
        ("graph", {"k": 16.0}, TeacherStatistics(logprob=True, top=16)),
        ("alm", {}, TeacherStatistics(logprob=True, boundary=True)),
        ("kl", {}, TeacherStatistics(logprob=True, sparse=128)),
        ("mined", {}, TeacherStatistics(logprob=True, sparse=10)),
        ("mined+h_kl", {}, TeacherStatistics(logprob=True, sparse=128)),
        ("alm+p_kl", {"k": 32}, TeacherStatistics(logprob=True, boundary=True, sparse=32)),
        ("uld+alm", {}, TeacherStatistics(logprob=True, boundary=True, top=10)),
        ("dpo", {}, TeacherStatistics(logprob=True)),
        ("infifpo", {}, TeacherStatistics(logprob=True)),
    ],
)
def test_needs(name: str, parameters: dict[str, Any], wanted: TeacherStatistics) -> None:
    assert needs_of(name, parameters) == wanted


@pytest.mark.parametrize("name", sorted(set(LOSSES) - {"kl"}))
def test_what_is_made_needs_no_more_than_was_said(sides: tuple[Encoder, Encoder], name: str) -> None:
    """A plan asks needs_of before any model is loaded; the losses must find that in the cache."""
    output = needs_of(name)
    for loss in make_loss(name, *sides):
        assert output | loss.needs == output
    assert [loss.name for loss in make_loss(name, *sides)] == (["uld", "graph"] if name == "graph" else [name])


def test_parameters_arrive(sides: tuple[Encoder, Encoder]) -> None:
    uld, alm = make_loss("uld+alm", *sides, {"k": 7.0, "tau": 1, "gamma": 0.25})
    assert (uld.k, alm.tau, alm.gamma) == (7, 1.0, 0.25)
    assert isinstance(uld.k, int)
    (gold,) = make_loss("gold", *sides, {"beta": 0.9})
    assert (gold.k, gold.beta) == (128, 0.9)


def test_the_parts_of_a_vocabulary(sides: tuple[Encoder, Encoder]) -> None:
    """A token of the student is matched by one of the teacher's or is among the others, not both."""
    student, teacher = sides
    (loss,) = make_loss("h_kl", student, teacher)
    match = matches(student.token_bytes, teacher.token_bytes)
    assert loss.match.tolist() == match.tolist()
    assert set(torch.nonzero(~loss.unmatched)[:, 0].tolist()) == set(match[match >= 0].tolist())


def test_kl_wants_one_vocabulary(sides: tuple[Encoder, Encoder]) -> None:
    one, two = sides
    assert [loss.name for loss in make_loss("kl", one, one)] == ["kl"]
    with pytest.raises(CompatibilityError, match="the same vocabulary") as found:
        make_loss("kl", one, two)
    assert "alm" in (found.value.hint or "")
