"""Which texts stand in which batch."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.errors import TrainError
from cogen.fusion.distill.settings import Distillation
from cogen.fusion.distill.student.batches import plan_batches, plan_run, select_read

lengths = st.lists(st.integers(2, 60), min_size=1, max_size=200)


@given(lengths, st.integers(1, 4000), st.integers(16, 256), st.integers(0, 9))
@settings(deadline=None, max_examples=80)
def test_every_pass_reads_every_text_once_and_the_budget_ends_it(sizes: list[int], tokens: int, size: int, seed: int):
    learned = [length - 1 for length in sizes]
    batches = plan_batches(sizes, learned, tokens, size, seed)
    read = [index for batch in batches for index in batch]
    counts = [read.count(index) for index in range(len(sizes))]
    assert max(counts) - min(counts) <= 1
    seen = [sum(learned[index] for index in batch) for batch in batches]
    assert sum(seen) >= tokens
    assert sum(seen[:-1]) < tokens
    for batch in batches:
        assert len(batch) == 1 or max(sizes[index] for index in batch) * len(batch) <= size


def test_the_order_depends_on_the_seed_alone():
    sizes = list(range(2, 120))
    learned = [size - 1 for size in sizes]
    first = plan_batches(sizes, learned, 9_000, 256, 3)
    assert plan_batches(sizes, learned, 9_000, 256, 3) == first
    assert plan_batches(sizes, learned, 9_000, 256, 4) != first
    # A larger budget goes on where a smaller one ends.
    assert plan_batches(sizes, learned, 20_000, 256, 3)[: len(first)] == first


def test_a_pass_has_an_order_of_its_own():
    sizes = [10] * 64
    batches = plan_batches(sizes, [9] * 64, 2 * 64 * 9, 10, 0)
    assert batches[:64] != batches[64:]
    assert sorted(batches[:64]) == sorted(batches[64:])


def test_texts_of_like_length_stand_together():
    sizes = [10, 200] * 32
    batches = plan_batches(sizes, [size - 1 for size in sizes], 1, 400, 0)
    every = plan_batches(sizes, [size - 1 for size in sizes], sum(sizes) - 64, 400, 0)
    padded = sum(max(sizes[i] for i in batch) * len(batch) for batch in every)
    assert padded < 1.1 * sum(sizes)
    assert len(batches) == 1


def test_texts_without_anything_to_learn_are_left_out():
    batches = plan_batches([5, 5, 5], [0, 4, 0], 20, 64, 0)
    assert {index for batch in batches for index in batch} == {1}
    with pytest.raises(TrainError, match="no text leaves anything to learn"):
        plan_batches([5, 5], [0, 0], 20, 64, 0)


@given(lengths, st.integers(1, 8000), st.integers(0, 9))
@settings(deadline=None, max_examples=80)
def test_a_teacher_reads_what_the_run_comes_to(sizes: list[int], tokens: int, seed: int):
    """Just that, or everything where just that is more than three quarters of the tokens."""
    learned = [length - 1 for length in sizes]
    options = Distillation(tokens=tokens, tokens_a_step=64, seed=seed)
    come = {index for batch in plan_run(sizes, learned, options) for index in batch}
    read = select_read(sizes, learned, options)
    assert read == sorted(set(read))
    little = sum(sizes[index] for index in come) <= 0.75 * sum(sizes)
    assert set(read) == (come if little else set(range(len(sizes))))
