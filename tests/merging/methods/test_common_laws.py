"""Laws of all methods that interpolate: bit for bit on what is stored."""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import pytest
import torch
from support.tensors import ACCUMULATORS, STORED, awkward, bits, merge, normal, related

from cogen.merging.block import BLOCK
from cogen.merging.method import Method
from cogen.merging.methods.arcee_fusion import arcee_fusion
from cogen.merging.methods.karcher import karcher
from cogen.merging.methods.model_stock import model_stock
from cogen.merging.methods.multislerp import multislerp
from cogen.merging.methods.nearswap import nearswap
from cogen.merging.methods.nuslerp import nuslerp
from cogen.merging.methods.passthrough import passthrough
from cogen.merging.methods.slerp import slerp


class Case(NamedTuple):
    method: Method
    experts: int
    base: bool
    parameters: dict[str, Any]
    #: Parameters that have the unit of the weights.
    lengths: tuple[str, ...] = ()


ROWS, COLUMNS = {"flatten": False, "row_wise": True}, {"flatten": False}
CASES = {
    "slerp": Case(slerp, 2, False, {"t": 0.3}),
    "nuslerp": Case(nuslerp, 2, False, {}),
    "nuslerp of differences": Case(nuslerp, 2, True, {}),
    "nuslerp of rows": Case(nuslerp, 2, False, ROWS),
    "nuslerp of rows of differences": Case(nuslerp, 2, True, ROWS),
    "nuslerp of columns": Case(nuslerp, 2, False, COLUMNS),
    "nuslerp of columns of differences": Case(nuslerp, 2, True, COLUMNS),
    "multislerp": Case(multislerp, 3, False, {}),
    "multislerp of differences": Case(multislerp, 3, True, {}),
    "karcher": Case(karcher, 3, False, {}),
    "model_stock": Case(model_stock, 3, True, {}),
    "model_stock of rows": Case(model_stock, 3, True, {"filter_wise": True}),
    "passthrough": Case(passthrough, 1, False, {"scale": 0.7}),
    "nearswap": Case(nearswap, 2, False, {"t": 0.125}, ("t",)),
    "arcee_fusion": Case(arcee_fusion, 2, False, {}),
}
#: Weights that no binary number can be divided into, some with shares whose sum is not 1.0.
WEIGHTS = {
    1: [[1.0]],
    2: [[0.5, 0.5], [0.3, 0.7], [0.2, 49.0]],
    3: [[1 / 3] * 3, [0.123, 0.5, 0.377], [0.1, 1.1, 1.9]],
}


def inputs(case: Case, dtype: torch.dtype, seed: int, shape: tuple[int, ...] = (23, 37)) -> Any:
    """A base or ``None``, and experts."""
    base, *experts = related(shape, case.experts, seed, dtype)
    return base if case.base else None, experts


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=STORED, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def test_identical_experts_give_the_expert(case: Case, dtype: torch.dtype) -> None:
    """At any weights, over a base with values of quite another size: every bit."""
    base, expert = awkward(dtype, 1), awkward(dtype, 2)
    parameters = case.parameters | ({"scale": 1.0} if case.method is passthrough else {})
    for weights in WEIGHTS[case.experts]:
        found = merge(case.method, base if case.base else None, [expert] * case.experts, weights, **parameters)
        assert torch.equal(bits(found), bits(expert))


def test_experts_that_are_the_base_give_the_base(case: Case, dtype: torch.dtype) -> None:
    """Differences that are all zero have no direction; nothing was learned, nothing changes."""
    expert = awkward(dtype, 3)
    parameters = case.parameters | ({"scale": 1.0} if case.method is passthrough else {})
    found = merge(case.method, expert if case.base else None, [expert] * case.experts, **parameters)
    assert torch.equal(bits(found), bits(expert))


@pytest.mark.parametrize("block", [1, 7, 64, 300])
def test_any_block_size_gives_the_same_bits(case: Case, dtype: torch.dtype, block: int) -> None:
    """Sums over blocks are double precision; what is stored doesn't show where they were cut."""
    base, experts = inputs(case, dtype, 4)
    whole = merge(case.method, base, experts, block=BLOCK, **case.parameters)
    assert torch.equal(bits(merge(case.method, base, experts, block=block, **case.parameters)), bits(whole))


def test_neurons_may_change_places(case: Case, dtype: torch.dtype) -> None:
    """Rows and columns of all inputs permuted alike: the result is permuted alike."""
    base, experts = inputs(case, dtype, 5)
    generator = torch.Generator().manual_seed(6)
    rows, columns = torch.randperm(23, generator=generator), torch.randperm(37, generator=generator)

    def permuted(tensor: torch.Tensor) -> torch.Tensor:
        return tensor[rows][:, columns]

    moved = None if base is None else permuted(base)
    found = merge(case.method, moved, [permuted(e) for e in experts], **case.parameters)
    assert torch.equal(bits(found), bits(permuted(merge(case.method, base, experts, **case.parameters))))


@pytest.mark.parametrize("name", [name for name in CASES if name != "arcee_fusion"])
@pytest.mark.parametrize("factor", [8.0, -0.25])
def test_the_unit_of_the_weights_is_nothing(name: str, dtype: torch.dtype, factor: float) -> None:
    """All inputs times a power of two, of either sign: the result times it. (Arcee Fusion's softmax has a unit.)

    In the accumulator: rounding to the stored type has a unit where numbers are too small for all of their bits.
    """
    case = CASES[name]
    base, experts = inputs(case, dtype, 7)
    wide = ACCUMULATORS[dtype]
    parameters = {k: v * abs(factor) if k in case.lengths else v for k, v in case.parameters.items()}

    def merged(unit: float, **parameters: float) -> torch.Tensor:
        anchor = None if base is None else base.to(wide) * unit
        return case.method(anchor, [e.to(wide) * unit for e in experts], [1.0] * case.experts, **parameters)

    assert torch.equal(merged(factor, **parameters), merged(1.0, **case.parameters) * factor)


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.method.ordered])
def test_the_order_of_experts_is_nothing(name: str, dtype: torch.dtype) -> None:
    """With weights that go with them."""
    case = CASES[name]
    base, experts = inputs(case, dtype, 8)
    weights = [0.2, 0.3, 0.7][: case.experts]
    expected = merge(case.method, base, experts, weights, **case.parameters)
    for order in itertools.permutations(range(case.experts)):
        found = merge(case.method, base, [experts[i] for i in order], [weights[i] for i in order], **case.parameters)
        # The sum of the products alone is left to differ: the engine puts experts in one order beforehand.
        torch.testing.assert_close(found.double(), expected.double(), rtol=2 * torch.finfo(dtype).eps, atol=0)
        assert (found != expected).double().mean() < 0.01


class TestStructure:
    """Shapes that no matrix has."""

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
    def test_nothing_gives_nothing(self, case: Case, shape: tuple[int, ...]) -> None:
        """Empty tensors keep their shape."""
        base, experts = inputs(case, torch.float32, 9, shape)
        assert merge(case.method, base, experts, **case.parameters).shape == shape

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
    def test_one_number_has_no_shape(self, case: Case, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """A number, whatever its brackets, is merged as the vector of one element."""
        base, experts = inputs(case, dtype, 10, (1,))
        expected = merge(case.method, base, experts, **case.parameters)
        formed = [expert.reshape(shape) for expert in experts]
        found = merge(case.method, None if base is None else base.reshape(shape), formed, **case.parameters)
        assert found.shape == shape
        assert torch.equal(bits(found), bits(expected))
        between = [*experts, *([] if base is None else [base])]
        assert case.method is passthrough or min(between) <= expected <= max(between)

    def test_any_layout(self, case: Case, dtype: torch.dtype) -> None:
        """Transposed views and every other column: the values count, not where they lie."""
        base, experts = inputs(case, dtype, 11, (19, 26))
        views = [None if tensor is None else tensor.T[::2] for tensor in (base, *experts)]
        plain = [None if view is None else view.contiguous() for view in views]
        found = merge(case.method, views[0], views[1:], **case.parameters)
        assert torch.equal(bits(found), bits(merge(case.method, plain[0], plain[1:], **case.parameters)))

    def test_three_dimensions(self, case: Case, dtype: torch.dtype) -> None:
        """Rows are the vectors along the last axis, columns those along all the others."""
        base, experts = inputs(case, dtype, 12, (4, 5, 6))
        found = merge(case.method, base, experts, **case.parameters)
        flat = [None if tensor is None else tensor.reshape(20, 6) for tensor in (base, *experts)]
        assert found.shape == (4, 5, 6)
        assert torch.equal(bits(found), bits(merge(case.method, flat[0], flat[1:], **case.parameters)))


def test_stored_values_are_the_rounded_ones(case: Case, dtype: torch.dtype) -> None:
    """Within one unit in the last place of what float64 inputs give; bf16 and fp16 accumulate in float32."""
    base, experts = inputs(case, dtype, 13)
    found = merge(case.method, base, experts, **case.parameters)
    wide = case.method(
        None if base is None else base.double(), [e.double() for e in experts], [1.0] * case.experts, **case.parameters
    )
    size = torch.stack([e.double().abs() for e in experts]).amax(0)
    assert torch.all((found.double() - wide).abs() <= size.maximum(wide.abs()) * torch.finfo(dtype).eps)


def test_an_infinity_stays_where_it_is() -> None:
    """One in one expert: every other value is finite, and lies between the experts' values."""
    for name in ("slerp", "nuslerp", "multislerp", "karcher", "model_stock", "nearswap", "arcee_fusion"):
        case = CASES[name]
        base, experts = inputs(case, torch.float32, 14)
        experts[1][3, 5] = torch.inf
        found = merge(case.method, base, experts, **case.parameters)
        found[3, 5] = experts[0][3, 5]
        assert torch.all(found <= torch.stack(experts).amax(0))
        assert torch.all(found >= torch.stack(experts).amin(0))


def test_accumulators_hold_what_is_stored() -> None:
    """The helper widens: each accumulator has every value of its stored type."""
    for stored, wide in ACCUMULATORS.items():
        (tensor,) = normal((100,), 1, 15, stored)
        assert torch.equal(tensor.to(wide).to(stored), tensor)
        assert torch.finfo(wide).bits > torch.finfo(stored).bits
