"""Laws of all methods that mask differences from a base: bit for bit on what is stored."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch
from support.tensors import ACCUMULATORS, STORED, awkward, bits, merge, normal, related

from cogen.errors import UsageError
from cogen.merging.block import BLOCK, InMemory, Stack
from cogen.merging.engine import Engine, Merge, OutputTensor
from cogen.merging.method import Method
from cogen.merging.methods.breadcrumbs import breadcrumbs, breadcrumbs_ties
from cogen.merging.methods.dare import dare_linear, dare_ties
from cogen.merging.methods.della import della, della_linear
from cogen.merging.methods.localize_and_stitch import localize_and_stitch
from cogen.merging.methods.ram import ram
from cogen.merging.methods.ramplus_tl import ramplus_tl
from cogen.merging.methods.sce import sce
from cogen.merging.methods.task_arithmetic import task_arithmetic
from cogen.merging.methods.ties import ties, ties_global, ties_peft


class Case(NamedTuple):
    method: Method
    #: Parameters at which nothing is masked.
    whole: dict[str, Any]
    #: Parameters at which something is.
    sparse: dict[str, Any]
    #: Divides by weights, so that a mean of equals is the equal at any weights.
    mean: bool = False
    random: bool = False


ALL, HALF = {"density": 1.0}, {"density": 0.5}
CASES = {
    "ties": Case(ties, ALL, HALF, mean=True),
    "ties, L1": Case(ties, ALL | {"rescale": "l1"}, HALF | {"rescale": "l1"}, mean=True),
    "ties, sum": Case(ties, ALL | {"normalize": False}, HALF | {"normalize": False}),
    "ties, plus": Case(ties, ALL | {"undecided": "plus"}, HALF | {"undecided": "plus"}, mean=True),
    "ties_global": Case(ties_global, ALL, {"density": 0.2}, mean=True),
    "ties_peft": Case(ties_peft, ALL, HALF),
    "dare_linear": Case(dare_linear, ALL, HALF, random=True),
    "dare_linear, L1": Case(dare_linear, ALL, HALF | {"rescale": "l1"}, random=True),
    "dare_linear, mean": Case(dare_linear, ALL | {"normalize": True}, HALF | {"normalize": True}, True, True),
    "dare_ties": Case(dare_ties, ALL, HALF, random=True),
    "dare_ties, mean": Case(dare_ties, ALL | {"normalize": True}, HALF | {"normalize": True}, True, True),
    "della_linear": Case(della_linear, ALL, HALF, random=True),
    "della": Case(della, ALL, HALF, mean=True, random=True),
    "della, L1, sum": Case(
        della, ALL | {"normalize": False}, HALF | {"normalize": False, "rescale": "l1"}, random=True
    ),
    "breadcrumbs": Case(breadcrumbs, ALL, HALF | {"gamma": 0.1}),
    "breadcrumbs, L1": Case(breadcrumbs, ALL, HALF | {"gamma": 0.1, "rescale": "l1"}),
    "breadcrumbs_ties": Case(breadcrumbs_ties, ALL, HALF | {"gamma": 0.1}),
    "sce": Case(sce, {}, {"select_topk": 0.5}, mean=True),
    "ram": Case(ram, {"epsilon": 0.0}, {"epsilon": 0.2}, mean=True),
    "ramplus_tl": Case(ramplus_tl, {"epsilon": 0.0}, {"epsilon": 0.2}, mean=True),
    "localize_and_stitch": Case(localize_and_stitch, ALL, {"density": 0.1}, mean=True),
}
#: Weights that sum to one, as far as binary numbers can.
SHARES = [[0.5, 0.5], [1 / 3] * 3, [0.2] * 5, [1 / 7] * 7, [0.1, 0.2, 0.7], [0.123, 0.877]]
ANY = [[2.5], [0.3], [1.00000005], [3.0, 3.0], [7.0, 0.1, 0.2], [1.00000005, 3e-5], [1.0, 1.0, 1.0]]


@pytest.fixture(params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    return CASES[request.param]


@pytest.fixture(params=STORED, ids=str)
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    return request.param


def distinct(dtype: torch.dtype, seed: int, shape: tuple[int, int] = (23, 37), count: int = 3) -> list[torch.Tensor]:
    """A base and experts that are exact in every stored type, as are all sums of them; no two differences of an
    expert are of one size."""
    generator = torch.Generator().manual_seed(seed)
    size = shape[0] * shape[1]
    found = [torch.randint(-8, 9, shape, generator=generator) * 1.0]
    for _ in range(count):
        steps = torch.randperm(size, generator=generator).reshape(shape) + 1.0
        signs = torch.randint(0, 2, shape, generator=generator) * 2.0 - 1.0
        found.append(found[0] + steps * signs / 4)
    return [tensor.to(ACCUMULATORS[dtype]) for tensor in found]


class TestIdentity:
    """What went in comes out: every bit, signed zeros and numbers below the normal range too."""

    def test_one_expert_at_weight_one_is_that_expert(self, case: Case, dtype: torch.dtype) -> None:
        """Over a base with values of quite another size."""
        base, expert = awkward(dtype, 1), awkward(dtype, 2)
        assert torch.equal(bits(merge(case.method, base, [expert], [1.0], **case.whole)), bits(expert))

    def test_identical_experts_give_the_expert(self, case: Case, dtype: torch.dtype) -> None:
        """With weights that sum to one; any where the method divides by them; peft divides by the number."""
        base, expert = awkward(dtype, 3), awkward(dtype, 4)
        for weights in [*SHARES, *(ANY if case.mean else [])]:
            given = [w * len(weights) for w in weights] if case.method is ties_peft else weights
            found = merge(case.method, base, [expert] * len(weights), given, **case.whole)
            assert torch.equal(bits(found), bits(expert)), weights

    def test_scale_zero_is_the_base(self, case: Case, dtype: torch.dtype) -> None:
        """Masked or not."""
        base, expert = awkward(dtype, 5), awkward(dtype, 6)
        for parameters in (case.whole, case.sparse):
            found = merge(case.method, base, [expert, -expert], [1.0, 0.3], scale=0.0, **parameters)
            assert torch.equal(bits(found), bits(base))

    @pytest.mark.parametrize("scale", [1.0, 0.3, 1.7])
    def test_an_expert_that_is_the_base_gives_the_base(self, case: Case, dtype: torch.dtype, scale: float) -> None:
        """Nothing was learned, nothing changes, however the differences are masked and rescaled."""
        base = awkward(dtype, 7)
        found = merge(case.method, base, [base, base.clone()], [1.0, 0.4], scale=scale, **case.sparse)
        assert torch.equal(bits(found), bits(base))

    @pytest.mark.parametrize("name", [n for n, c in CASES.items() if c.method not in (ties_peft, sce, ramplus_tl)])
    def test_weight_zero_leaves_an_expert_out(self, name: str, dtype: torch.dtype) -> None:
        """Its infinities do no harm. (In three methods it still counts: among votes, variances, changes.)"""
        case = CASES[name]
        base, one, other = related((20, 30), 2, 8, dtype)
        other[3, 4] = torch.inf
        expected = merge(case.method, base, [one], [0.75], keys=["a"], **case.sparse)
        found = merge(case.method, base, [one, other], [0.75, 0.0], keys=["a", "b"], **case.sparse)
        assert torch.equal(bits(found), bits(expected))

    def test_what_no_expert_changed_stays(self, case: Case, dtype: torch.dtype) -> None:
        """Positions where all experts have the base's value, among others where they don't."""
        base, *experts = related((20, 30), 3, 9, dtype)
        base[::3] = awkward(dtype, 10, (7, 30))
        for expert in experts:
            expert[::3] = base[::3]
        found = merge(case.method, base, experts, [0.5, 0.3, 0.7], scale=1.3, **case.sparse)
        assert torch.equal(bits(found[::3]), bits(base[::3]))
        assert not torch.equal(found, base)

    def test_infinities_of_base_and_experts_stay_where_they_are(self, case: Case, dtype: torch.dtype) -> None:
        """An infinite base under finite experts comes out as they do; every other position is finite."""
        base, *experts = related((20, 30), 3, 11, dtype)
        base[2, 3] = base[4, 5] = torch.inf
        experts[0][4, 5] = experts[1][4, 5] = experts[2][4, 5] = torch.inf
        experts[1][6, 7] = -torch.inf
        found = merge(case.method, base, experts, [0.5, 0.3, 0.2], **case.sparse)
        assert found[4, 5] == torch.inf
        infinite = set(map(tuple, (~found.isfinite()).nonzero().tolist()))
        assert infinite <= {(2, 3), (4, 5), (6, 7)}
        whole = merge(case.method, base, experts[:1], [1.0], **case.whole)
        assert torch.equal(bits(whole), bits(experts[0]))


class TestSymmetry:
    def test_the_order_of_experts_is_nothing(self, case: Case, dtype: torch.dtype) -> None:
        """With weights and keys that go with them, where sums are exact: not a bit."""
        base, *experts = distinct(dtype, 12)
        weights, keys = [0.5, 0.25, 1.0], ["a", "b", "c"]
        # Halves and doubles are exact too; an L1 norm, a variance or a probability is not.
        exact = "rescale" not in case.sparse and case.method not in (sce, ramplus_tl, della, della_linear)
        exact = exact and not (case.method is dare_linear and case.mean)
        expected = case.method(base, experts, weights, keys=keys, **case.sparse)
        size = torch.stack(experts).abs().max()
        for order in itertools.permutations(range(3)):
            moved, shares, names = ([values[i] for i in order] for values in (experts, weights, keys))
            found = case.method(base, moved, shares, keys=names, **case.sparse)
            assert torch.all((found - expected).abs() <= 32 * torch.finfo(found.dtype).eps * size)
            assert not exact or torch.equal(found, expected)

    @pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.random])
    def test_neurons_may_change_places(self, name: str, dtype: torch.dtype) -> None:
        """Rows and columns of all inputs permuted alike: the result is permuted alike. (A random mask stays.)"""
        case = CASES[name]
        base, *experts = distinct(dtype, 13)
        generator = torch.Generator().manual_seed(14)
        rows, columns = torch.randperm(23, generator=generator), torch.randperm(37, generator=generator)
        weights = [0.5, 0.3, 0.7]
        expected = case.method(base, experts, weights, **case.sparse)
        found = case.method(base[rows][:, columns], [e[rows][:, columns] for e in experts], weights, **case.sparse)
        assert torch.equal(bits(found), bits(expected[rows][:, columns]))

    @pytest.mark.parametrize("name", [name for name in CASES if name not in ("ties, plus", "ties_peft")])
    def test_all_signs_reversed(self, name: str, dtype: torch.dtype) -> None:
        """The merge of the negatives is the negative, unless ties are broken in favour of plus."""
        case = CASES[name]
        base, *experts = related((23, 37), 3, 15, dtype)
        weights = [0.5, 0.3, 0.7]
        found = merge(case.method, -base, [-e for e in experts], weights, **case.sparse)
        assert torch.equal(found, -merge(case.method, base, experts, weights, **case.sparse))


@pytest.mark.parametrize("block", [1, 7, 64, 300])
def test_any_block_size_gives_the_same_bits(case: Case, dtype: torch.dtype, block: int) -> None:
    """In the accumulator, before anything is rounded; sums and thresholds over blocks are exact."""
    shape = (7, 11) if block == 1 else (23, 37)  # a block for every element takes long
    base, *experts = (tensor.to(ACCUMULATORS[dtype]) for tensor in related(shape, 3, 16, dtype))
    weights = [0.5, 0.3, 0.7]
    whole = case.method(base, experts, weights, name="w", block=BLOCK, **case.sparse)
    assert torch.equal(bits(case.method(base, experts, weights, name="w", block=block, **case.sparse)), bits(whole))


def test_equal_magnitudes_in_different_blocks(case: Case) -> None:
    """Thresholds that many elements share: which of them are kept doesn't depend on the blocks."""
    base = torch.zeros(60)
    generator = torch.Generator().manual_seed(17)
    experts = [torch.randint(-2, 3, (60,), generator=generator) * 1.0 for _ in range(3)]
    whole = case.method(base, experts, [1.0, 0.5, 0.25], **case.sparse)
    for block in (1, 3, 25):
        assert torch.equal(case.method(base, experts, [1.0, 0.5, 0.25], block=block, **case.sparse), whole)


class TestStructure:
    """Shapes that no matrix has."""

    @pytest.mark.parametrize("shape", [(0,), (0, 5), (5, 0), (2, 0, 3)])
    def test_nothing_gives_nothing(self, case: Case, shape: tuple[int, ...]) -> None:
        """Empty tensors keep their shape."""
        base, *experts = normal(shape, 3, 18)
        assert case.method(base, experts, [1.0, 1.0], **case.sparse).shape == shape

    @pytest.mark.parametrize("shape", [(), (1,), (1, 1), (1, 1, 1)])
    def test_one_number_has_no_shape(self, case: Case, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
        """A number, whatever its brackets, is merged as the vector of one element; a share of it is all of it."""
        base, expert = torch.tensor([1.5]).to(dtype), torch.tensor([2.25]).to(dtype)
        found = merge(case.method, base.reshape(shape), [expert.reshape(shape)], [1.0], **case.whole)
        assert found.shape == shape
        assert found.item() == 2.25
        if not case.random and case.method is not sce:
            sparse = merge(case.method, base.reshape(shape), [expert.reshape(shape)], [1.0], **case.sparse)
            assert sparse.item() == 2.25

    def test_any_layout(self, case: Case, dtype: torch.dtype) -> None:
        """Transposed views and every other column: the values count, not where they lie."""
        views = [tensor.T[::2] for tensor in related((19, 26), 3, 19, dtype)]
        plain = [view.contiguous() for view in views]
        found = merge(case.method, views[0], views[1:], [0.5, 0.3, 0.7], **case.sparse)
        expected = merge(case.method, plain[0], plain[1:], [0.5, 0.3, 0.7], **case.sparse)
        assert torch.equal(bits(found), bits(expected))

    def test_three_dimensions(self, case: Case, dtype: torch.dtype) -> None:
        """A row is a vector along the last axis."""
        inputs = related((4, 5, 6), 3, 20, dtype)
        found = merge(case.method, inputs[0], inputs[1:], [0.5, 0.3, 0.7], **case.sparse)
        flat = [tensor.reshape(20, 6) for tensor in inputs]
        expected = merge(case.method, flat[0], flat[1:], [0.5, 0.3, 0.7], **case.sparse)
        assert found.shape == (4, 5, 6)
        assert torch.equal(bits(found), bits(expected))


def test_inputs_are_left_alone(case: Case) -> None:
    """Operations in place touch only what the method made itself."""
    inputs = related((20, 30), 3, 21, torch.float32)
    before = [tensor.clone() for tensor in inputs]
    first = case.method(inputs[0], inputs[1:], [0.5, 0.3, 0.7], **case.sparse)
    assert all(torch.equal(a, b) for a, b in zip(inputs, before, strict=True))
    assert torch.equal(case.method(inputs[0], inputs[1:], [0.5, 0.3, 0.7], **case.sparse), first)


def test_stored_values_are_the_rounded_ones(case: Case, dtype: torch.dtype) -> None:
    """Within one unit in the last place of what float64 gives: bf16 and fp16 accumulate in float32."""
    inputs = related((40, 50), 3, 22, dtype)
    found = merge(case.method, inputs[0], inputs[1:], [0.5, 0.3, 0.7], scale=0.6, **case.sparse)
    wide = [tensor.double() for tensor in inputs]
    exact = case.method(wide[0], wide[1:], [0.5, 0.3, 0.7], scale=0.6, **case.sparse)
    size = torch.stack(wide).abs().amax(0)
    assert torch.all((found.double() - exact).abs() <= size.maximum(exact.abs()) * torch.finfo(dtype).eps)


@pytest.mark.parametrize("name", ["dare_linear", "della_linear", "breadcrumbs"])
def test_at_density_one_sums_are_task_arithmetic(name: str, dtype: torch.dtype) -> None:
    """The same bits, in the accumulator."""
    case = CASES[name]
    base, *experts = (t.to(ACCUMULATORS[dtype]) for t in (awkward(dtype, 23), awkward(dtype, 24), awkward(dtype, 25)))
    for parameters in ({}, {"scale": 0.3}, {"normalize": True}):
        expected = task_arithmetic(base, experts, [0.3, 0.9], **parameters)
        assert torch.equal(bits(case.method(base, experts, [0.3, 0.9], **case.whole, **parameters)), bits(expected))


@pytest.mark.parametrize("name", ["dare_ties", "della", "breadcrumbs_ties"])
@pytest.mark.parametrize("normalize", [True, False])
def test_at_density_one_elections_are_ties(name: str, dtype: torch.dtype, normalize: bool) -> None:
    """The same bits, in the accumulator."""
    method = CASES[name].method
    base, *experts = (t.to(ACCUMULATORS[dtype]) for t in (awkward(dtype, 26), awkward(dtype, 27), awkward(dtype, 28)))
    for scale in (1.0, 0.3):
        options = {"density": 1.0, "scale": scale, "normalize": normalize}
        expected = ties(base, experts, [0.3, 0.9], **options)
        assert torch.equal(bits(method(base, experts, [0.3, 0.9], **options)), bits(expected))


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if "density" in case.sparse])
def test_each_expert_may_have_its_density(name: str) -> None:
    """One value for all is that value for each; changing one changes the result."""
    case = CASES[name]
    base, *experts = related((20, 30), 3, 29)
    share = case.sparse["density"]
    common, several, other = (
        case.method(base, experts, [1.0] * 3, **case.sparse | {"density": density})
        for density in (share, [share] * 3, (share, share, 0.3))
    )
    assert torch.equal(several, common)
    assert not torch.equal(other, common)


class TestRefusals:
    @pytest.mark.parametrize("density", [0.0, -0.5, 1.5, float("nan")])
    def test_a_density_is_a_share(self, density: float) -> None:
        """Above 0, at most 1."""
        for case in CASES.values():
            if "density" in case.method.parameters:
                with pytest.raises(UsageError, match="density must be above 0 and at most 1"):
                    case.method(torch.ones(3), [torch.ones(3)], [1.0], density=density)

    def test_options_have_names(self) -> None:
        """An unknown one is refused, whatever the data are."""
        for case in CASES.values():
            for option in {"rescale", "undecided"} & set(case.method.parameters):
                with pytest.raises(UsageError, match=f"unknown (value 'median' of )?{option}( 'median')?"):
                    case.method(torch.ones(3), [torch.zeros(3)], [1.0], **{option: "median"})


def test_any_number_of_threads_and_any_order(case: Case, tmp_path: Path) -> None:
    """Through the engine, which puts the experts in the order of their keys: the same file, byte for byte."""
    shape = (300, 2000)  # three blocks
    base, *experts = related(shape, 3, 31, torch.bfloat16)
    weights, keys = [0.5, 0.3, 0.7], ["c", "a", "b"]

    def merged_bytes(threads: int, order: Sequence[int]) -> bytes:
        chosen = tuple(InMemory(experts[i], keys[i]) for i in order)
        work = Merge(case.method, InMemory(base), chosen, tuple(weights[i] for i in order), case.sparse)
        path = tmp_path / f"{threads}{order[0]}.safetensors"
        with Engine(threads) as engine:
            engine.write([OutputTensor("w", "bfloat16", shape, work)], path)
        return path.read_bytes()

    assert merged_bytes(1, [0, 1, 2]) == merged_bytes(4, [2, 0, 1])


def test_over_the_whole_model(dtype: torch.dtype) -> None:
    """TIES and localize-and-stitch of several tensors are those of one long tensor."""
    base, *experts = (tensor.reshape(-1) for tensor in related((23, 37), 3, 30, dtype))
    wide, parts = ACCUMULATORS[dtype], (slice(0, 100), slice(100, 101), slice(101, 851))
    for method in (ties_global, localize_and_stitch):
        expected = merge(method, base, experts, [0.5, 0.3, 0.7], density=0.1)
        stacks = [
            Stack(str(i), InMemory(base[part]), [InMemory(e[part], str(k)) for k, e in enumerate(experts)], wide)
            for i, part in enumerate(parts)
        ]
        states = method.state(stacks, [0.5, 0.3, 0.7], {"density": 0.1})
        for part, stack, state in zip(parts, stacks, states, strict=True):
            (block,) = stack.blocks()
            found = method.apply(block, [0.5, 0.3, 0.7], state).to(dtype)
            assert torch.equal(bits(found), bits(expected[part]))
