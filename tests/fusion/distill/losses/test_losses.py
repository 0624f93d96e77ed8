"""Every loss against plain Python in float64, and the laws that it must keep."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from support.pairs import made_pair

from cogen.fusion.distill.alignment.vocabularies import Nearest
from cogen.fusion.distill.losses.alm import Alm, alm
from cogen.fusion.distill.losses.gold import Gold, jsd
from cogen.fusion.distill.losses.graph import Graph, features
from cogen.fusion.distill.losses.kl import Kl
from cogen.fusion.distill.losses.lm import LanguageModel
from cogen.fusion.distill.losses.loss import DistillBatch
from cogen.fusion.distill.losses.mined import MinEd
from cogen.fusion.distill.losses.pieces import PieceKl, gathered
from cogen.fusion.distill.losses.projection import HybridKl, ProjectionKl
from cogen.fusion.distill.losses.projection_map import Map
from cogen.fusion.distill.losses.rows import read_logits
from cogen.fusion.distill.losses.uld import Uld

V = 30
WORDS_MASK = torch.arange(V) % 3 == 0
TOKENS = [b"%d" % i for i in range(V)]


def value(loss: Any, logits: torch.Tensor, pair: DistillBatch) -> tuple[torch.Tensor, int]:
    (found,) = read_logits(logits, [(loss, pair)], elements=3 * V)
    total: tuple[torch.Tensor, int] = loss.total(found, pair)
    return total


def identity() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    every = torch.arange(V)
    return every, every, torch.ones(V)


def whole(piece: Iterable[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """One piece, or none, for each token of the teacher."""
    found = torch.tensor(list(piece))[:, None]
    return found, (found >= 0).float()


def everyone(k: int = 7) -> list[Any]:
    none = torch.zeros(V, dtype=torch.bool)
    return [
        Uld(k),
        Alm(WORDS_MASK),
        Alm(None),
        Kl(k),
        ProjectionKl(Map(*identity()), k),
        Graph(k),
        HybridKl(torch.arange(V), none, k),
        Gold(torch.arange(V), none, k),
        PieceKl(*whole(range(V)), k),
    ]


def softmax(values: list[float]) -> list[float]:
    high = max(values)
    raw = [math.exp(v - high) for v in values]
    return [r / sum(raw) for r in raw]


class TestReferences:
    """Loops over chunks, float64."""

    def test_piece_kl(self) -> None:
        logits, pair = made_pair(V, seed=11, dtype=torch.float64)
        piece = [-1 if id % 5 == 0 else id // 3 for id in range(V)]  # several begin with one token, some with none
        k, wanted = 7, 0.0
        for c, row in enumerate(pair.start.tolist()):
            p = softmax(logits[row].tolist())
            mass: dict[int, float] = {}
            for id, logprob in zip(pair.ids[c, :k].tolist(), pair.logprobs[c, :k].tolist(), strict=True):  # type: ignore[index]
                if piece[id] >= 0:
                    mass[piece[id]] = mass.get(piece[id], 0.0) + math.exp(logprob)
            wanted += sum(q * math.log(q / p[id]) for id, q in mass.items())
            q, other = 1 - sum(mass.values()), 1 - sum(p[id] for id in mass)
            wanted += q * math.log(q / other)
        found, count = value(PieceKl(*whole(piece), k), logits, pair)
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-5, atol=1e-5)
        assert count == pair.chunks

    def test_piece_kl_of_tokens_that_begin_in_several_ways(self) -> None:
        """A token's probability is split by the shares; split or whole, what adds up to the same is the same."""
        logits, pair = made_pair(V, seed=13, dtype=torch.float64)
        piece = torch.stack([torch.arange(V) // 3, (torch.arange(V) + 1) // 3, torch.full((V,), -1)], 1)
        share = torch.tensor([[0.75, 0.25, 0.0]]).repeat(V, 1)
        found, _ = value(PieceKl(piece, share, 7), logits, pair)
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            p = softmax(logits[row].tolist())
            mass: dict[int, float] = {}
            for id, logprob in zip(pair.ids[c, :7].tolist(), pair.logprobs[c, :7].tolist(), strict=True):  # type: ignore[index]
                for to, part in ((id // 3, 0.75), ((id + 1) // 3, 0.25)):
                    mass[to] = mass.get(to, 0.0) + part * math.exp(logprob)
            wanted += sum(q * math.log(q / p[id]) for id, q in mass.items())
            q, other = 1 - sum(mass.values()), 1 - sum(p[id] for id in mass)
            wanted += q * math.log(q / other)
        torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64), rtol=1e-5, atol=1e-5)

    def test_piece_kl_of_one_vocabulary_is_kl(self) -> None:
        logits, pair = made_pair(V, seed=12, dtype=torch.float64)
        torch.testing.assert_close(value(PieceKl(*whole(range(V)), 7), logits, pair), value(Kl(7), logits, pair))

    def test_what_is_gathered_is_what_was_there(self) -> None:
        own = torch.tensor([[4, 2, 4, -1], [1, 1, 1, 1], [-1, -1, -1, -1]])
        p = torch.tensor([[0.1, 0.2, 0.3, 0.4], [0.1, 0.2, 0.3, 0.1], [0.1, 0.1, 0.1, 0.1]])
        tokens, sums = gathered(own, p.log())
        assert tokens.tolist() == [[4, 2], [1, -1], [-1, -1]]
        torch.testing.assert_close(sums.exp(), torch.tensor([[0.4, 0.2], [0.7, 0], [0, 0]]))

    def test_lm(self) -> None:
        logits, pair = made_pair(V, seed=1, dtype=torch.float64)
        wanted = torch.nn.functional.cross_entropy(logits, pair.targets, ignore_index=-100, reduction="sum")
        found, count = value(LanguageModel(), logits, pair)
        torch.testing.assert_close(found, wanted)
        assert count == int((pair.targets != -100).sum())

    def test_uld(self) -> None:
        logits, pair = made_pair(V, seed=2, dtype=torch.float64)
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            sides = []
            for values in (logits[row].tolist(), pair.top[c].tolist()):  # type: ignore[index]
                top = sorted(values, reverse=True)[:7]
                mean = sum(top) / 7
                deviation = math.sqrt(sum((x - mean) ** 2 for x in top) / 7)
                sides.append(softmax([(x - mean) / deviation for x in top]))
            wanted += sum(abs(a - b) for a, b in zip(*sides, strict=True))
        assert value(Uld(7), logits, pair)[0].item() == pytest.approx(wanted, rel=1e-9)

    def test_uld_cannot_be_surer_than_three_quarters(self) -> None:
        """Pitfall 8: ten standardised values, however sure the model is; and equal ones give no NaN."""
        top = torch.full((2, 10), -50.0)
        top[0, 0] = 0.0
        from cogen.fusion.distill.losses.uld import standardise_rows

        assert standardise_rows(top).softmax(1).max() == pytest.approx(0.757, abs=1e-3)
        assert torch.isfinite(standardise_rows(top)).all()

    @pytest.mark.parametrize("debias", [True, False])
    def test_alm(self, debias: bool) -> None:
        logits, pair = made_pair(V, seed=3, dtype=torch.float64)
        logp = logits.log_softmax(1)
        wanted, count = 0.0, 0
        for c in range(pair.chunks):
            s = sum(logp[row, pair.targets[row]].item() for row in range(len(logits)) if pair.chunk[row] == c)
            t = pair.logprob[c].item()  # type: ignore[index]
            if debias:
                edge = pair.boundary[c].item()  # type: ignore[index]
                if math.exp(edge) <= 0.1:
                    continue
                s += math.log(sum(math.exp(logp[pair.after[c], w]) for w in range(V) if WORDS_MASK[w]))
                t += edge
            p, q = math.exp(t / 5 - 1e-6), math.exp(s / 5 - 1e-6)
            wanted += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
            count += 1
        found, number = value(Alm(WORDS_MASK if debias else None), logits, pair)
        assert number == count > 0
        assert found.item() == pytest.approx(wanted, rel=1e-9)

    def test_kl_over_the_whole_vocabulary_is_the_exact_one(self) -> None:
        logits, pair = made_pair(V, seed=4, k=V, dtype=torch.float64)
        teacher = torch.zeros(pair.chunks, V, dtype=torch.float64).scatter(1, pair.ids, pair.logprobs)  # type: ignore[arg-type]
        own = logits[pair.start].log_softmax(1)
        wanted = torch.nn.functional.kl_div(own, teacher, log_target=True, reduction="sum")
        # The bucket for the rest holds nothing but rounding.
        torch.testing.assert_close(value(Kl(V), logits, pair)[0], wanted, rtol=1e-5, atol=1e-5)

    def test_kl_has_one_bucket_for_the_rest_on_both_sides(self) -> None:
        """Pitfall 9: nobody is renormalised."""
        logits, pair = made_pair(V, seed=5, dtype=torch.float64)
        own = logits.log_softmax(1).exp()
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            p = [math.exp(x) for x in pair.logprobs[c].tolist()]  # type: ignore[index]
            q = [own[row, id].item() for id in pair.ids[c].tolist()]  # type: ignore[index]
            for a, b in zip([*p, 1 - sum(p)], [*q, 1 - sum(q)], strict=True):
                wanted += a * math.log(a / b)
        assert value(Kl(7), logits, pair)[0].item() == pytest.approx(wanted, rel=1e-6)

    def test_projection(self) -> None:
        """Two of the student's tokens make one of the teacher's, one is cut into two."""
        rows, columns = torch.tensor([0, 1, 2, 2, *range(3, V)]), torch.tensor([0, 0, 1, 2, *range(3, V)])
        shares = torch.tensor([1.0, 1.0, 0.9, 0.1, *[1.0] * (V - 3)], dtype=torch.float64)
        logits, pair = made_pair(V, seed=6, dtype=torch.float64)
        p = logits.softmax(1)
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            there = [0.0] * V
            for r, t, w in zip(rows.tolist(), columns.tolist(), shares.tolist(), strict=True):
                there[t] += w * p[row, r].item()
            a = [math.exp(x) for x in pair.logprobs[c].tolist()]  # type: ignore[index]
            b = [there[id] for id in pair.ids[c].tolist()]  # type: ignore[index]
            for x, y in zip([*a, 1 - sum(a)], [*b, 1 - sum(b)], strict=True):
                wanted += x * math.log(x / y)
        assert value(ProjectionKl(Map(rows, columns, shares), 7), logits, pair)[0].item() == pytest.approx(
            wanted, rel=1e-6
        )

    @pytest.mark.parametrize("kind", ["h_kl", "gold"])
    def test_hybrids(self, kind: str) -> None:
        """Even tokens are in both vocabularies, odd ones are compared by rank."""
        match = torch.where(torch.arange(V) % 2 == 0, torch.arange(V), -1)
        unmatched = torch.arange(V) % 2 == 1
        logits, pair = made_pair(V, seed=7, dtype=torch.float64)
        p = logits.softmax(1)
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            ids, t = pair.ids[c].tolist(), [math.exp(x) for x in pair.logprobs[c].tolist()]  # type: ignore[index]
            shared = [(t[i], p[row, id].item()) for i, id in enumerate(ids) if id % 2 == 0]
            lonely_t = sorted([t[i] for i, id in enumerate(ids) if id % 2] + [0.0] * 7, reverse=True)[:7]
            lonely_s = sorted([p[row, v].item() for v in range(V) if v % 2], reverse=True)[:7]
            sorted_gap = sum(abs(a - b) for a, b in zip(lonely_s, lonely_t, strict=True))
            if kind == "h_kl":
                rest_t, rest_s = 1 - sum(a for a, _ in shared), 1 - sum(b for _, b in shared)
                wanted += sum(a * math.log(a / b) for a, b in [*shared, (rest_t, rest_s)]) + sorted_gap
            else:
                for a, b in shared:
                    m = (a + b) / 2
                    wanted += 0.5 * (0.5 * a * math.log(a / m) + 0.5 * b * math.log(b / m))
                wanted += 0.5 * sorted_gap
        loss = HybridKl(match, unmatched, 7) if kind == "h_kl" else Gold(match, unmatched, 7)
        assert value(loss, logits, pair)[0].item() == pytest.approx(wanted, rel=1e-5)

    def test_graph(self) -> None:
        top, text = (
            torch.randn(9, 5, dtype=torch.float64).sort(1, descending=True).values,
            torch.tensor([0] * 4 + [1] * 5),
        )
        found = features(top, text, 2)
        for number in range(2):
            rows = top[text == number].tolist()
            graph = [[0.0] * 5 for _ in range(5)]
            for row in rows:
                mean = sum(row) / 5
                deviation = math.sqrt(sum((x - mean) ** 2 for x in row) / 5)
                z = [(x - mean) / deviation for x in row]
                for i in range(5):
                    for j in range(5):
                        graph[i][j] += z[i] * z[j] / len(rows)
            wanted = [math.sqrt(sum(x * x for x in edges) / 5) for edges in graph]
            assert found[number].tolist() == pytest.approx(wanted, rel=1e-6)

    def test_graphs_do_not_count_long_texts_more(self) -> None:
        top = torch.randn(4, 5).sort(1, descending=True).values
        once = features(top, torch.zeros(4, dtype=torch.int64), 1)
        twice = features(torch.cat([top, top]), torch.zeros(8, dtype=torch.int64), 1)
        torch.testing.assert_close(once, twice)

    def test_graph_is_a_sum_over_texts_of_sorted_differences(self) -> None:
        logits, pair = made_pair(V, seed=14, dtype=torch.float64)
        assert pair.top is not None
        own = logits[pair.start].sort(1, descending=True).values[:, :7]
        sides = [features(top, pair.text, 3).tolist() for top in (own, pair.top)]
        wanted = sum(
            abs(a - b) for one, two in zip(*sides, strict=True) for a, b in zip(sorted(one), sorted(two), strict=True)
        )
        found, count = value(Graph(7), logits, pair)
        assert count == 3
        assert found.item() == pytest.approx(wanted, rel=1e-9)

    @pytest.mark.parametrize("beta", [0.1, 0.5, 0.9])
    def test_jsd(self, beta: float) -> None:
        """β weighs the teacher, in the mixture and before its divergence, as TRL's generalised form does."""
        a, b = ([0.5, 0.2, 0.1], [0.1, 0.3, 0.6])
        wanted = 0.0
        for s, t in zip(a, b, strict=True):
            m = beta * t + (1 - beta) * s
            wanted += beta * t * math.log(t / m) + (1 - beta) * s * math.log(s / m)
        one, two = (torch.tensor([side], dtype=torch.float64).log() for side in (a, b))
        assert jsd(one, two, beta).item() == pytest.approx(wanted, rel=1e-12)
        torch.testing.assert_close(jsd(one, two, beta), jsd(two, one, 1 - beta))

    def test_mined(self) -> None:
        """One to one: cross-entropy to the mapped ten; elsewhere the text's own next token (pitfall 13)."""
        logits, pair = made_pair(V, seed=8, dtype=torch.float64)
        logp = logits.log_softmax(1)
        loss = MinEd(Nearest(TOKENS, TOKENS), 7)
        wanted = 0.0
        for c, row in enumerate(pair.start.tolist()):
            if not pair.single[c]:
                wanted -= logp[row, pair.targets[row]].item()
                continue
            p = [math.exp(x) for x in pair.logprobs[c].tolist()]  # type: ignore[index]
            for share, id in zip(p, pair.ids[c].tolist(), strict=True):  # type: ignore[index]
                wanted -= share / sum(p) * logp[row, id].item()
        assert value(loss, logits, pair)[0].item() == pytest.approx(wanted, rel=1e-9)


class TestLists:
    """How much of what the teacher said is read."""

    @pytest.mark.parametrize("loss", [*everyone(4), MinEd(Nearest(TOKENS, TOKENS), 4)], ids=lambda loss: loss.name)
    def test_k_counts_even_where_the_cache_holds_more(self, loss: Any) -> None:
        """A cache is made for several losses: each reads its own k of it."""
        logits, pair = made_pair(V, seed=15, k=12)
        assert pair.top is not None
        assert pair.ids is not None
        assert pair.logprobs is not None
        short = replace(pair, top=pair.top[:, :4], ids=pair.ids[:, :4], logprobs=pair.logprobs[:, :4])
        torch.testing.assert_close(value(loss, logits, pair)[0], value(loss, logits, short)[0], rtol=0, atol=0)

    @pytest.mark.parametrize("loss", [Uld(V + 20), Graph(V + 20)], ids=lambda loss: loss.name)
    @pytest.mark.parametrize("output", [V, V - 9])
    def test_vocabularies_of_less_than_k_tokens(self, loss: Any, output: int) -> None:
        """On both sides as many ranks as the smaller one has."""
        logits, pair = made_pair(V, seed=16, k=output)
        torch.testing.assert_close(value(loss, logits, pair)[0], value(replace(loss, k=output), logits, pair)[0])


class TestLaws:
    """Whatever the loss."""

    @pytest.mark.parametrize("loss", [*everyone(), MinEd(Nearest(TOKENS, TOKENS), 7)], ids=lambda loss: loss.name)
    def test_bfloat16_is_widened_before_any_softmax(self, loss: Any) -> None:
        """Pitfall 16: to the last digit what the same logits give in float32."""
        logits, pair = made_pair(V, seed=17)
        half = logits.bfloat16()
        found, wanted = value(loss, half, pair)[0], value(loss, half.float(), pair)[0]
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)

    @pytest.mark.parametrize("loss", everyone(), ids=lambda loss: loss.name)
    def test_a_logit_more_for_all_changes_nothing(self, loss: Any) -> None:
        """No probability does; what is compared as logits is standardised."""
        logits, pair = made_pair(V, seed=18, dtype=torch.float64)
        shifted = logits + torch.arange(len(logits), dtype=torch.float64)[:, None]
        torch.testing.assert_close(value(loss, shifted, pair)[0], value(loss, logits, pair)[0])

    @pytest.mark.parametrize("loss", [Kl(7), ProjectionKl(Map(*identity()), 7)], ids=lambda loss: loss.name)
    def test_a_divergence_is_no_multiple_of_itself(self, loss: Any) -> None:
        """Pitfall 10: no temperature and so no T²; the slope at a listed token is q - p, at any other q times less."""
        logits, pair = made_pair(V, seed=19, dtype=torch.float64)
        assert pair.ids is not None
        assert pair.logprobs is not None
        logits.requires_grad_(True)
        value(loss, logits, pair)[0].backward()
        q = logits.detach()[pair.start].softmax(1)
        p = pair.logprobs.exp()
        rest_p, rest_q = 1 - p.sum(1, keepdim=True), 1 - q.gather(1, pair.ids).sum(1, keepdim=True)
        wanted = (q - rest_p * q / rest_q).scatter(1, pair.ids, q.gather(1, pair.ids) - p)
        torch.testing.assert_close(logits.grad[pair.start], wanted, rtol=1e-4, atol=1e-6)

    def test_a_projection_by_the_identity_is_the_plain_divergence(self) -> None:
        logits, pair = made_pair(V, seed=20, dtype=torch.float64)
        same = value(ProjectionKl(Map(*identity()), 7), logits, pair)[0]
        torch.testing.assert_close(same, value(Kl(7), logits, pair)[0])
        none = torch.zeros(V, dtype=torch.bool)
        torch.testing.assert_close(value(HybridKl(torch.arange(V), none, 7), logits, pair)[0], same)

    def test_what_is_mapped_to_nothing_is_left_to_the_rest(self) -> None:
        """Half of the student's tokens have no place in the teacher's vocabulary: their probability is not lost."""
        kept = torch.arange(0, V, 2)
        logits, pair = made_pair(V, seed=21, dtype=torch.float64)
        assert pair.ids is not None
        ids = kept[torch.arange(7)].expand(pair.chunks, 7)
        logprobs = torch.full((pair.chunks, 7), math.log(0.1), dtype=torch.float64)
        loss = ProjectionKl(Map(kept, kept, torch.ones(len(kept))), 7)
        q = logits[pair.start].softmax(1).gather(1, ids)
        wanted = (0.1 * (0.1 / q).log()).sum(1) + 0.3 * (0.3 / (1 - q.sum(1))).log()
        found = value(loss, logits, replace(pair, ids=ids, logprobs=logprobs))[0]
        torch.testing.assert_close(found, wanted.sum(), rtol=1e-6, atol=1e-6)

    @pytest.mark.parametrize("loss", everyone(), ids=lambda loss: loss.name)
    def test_a_model_learns_nothing_from_itself(self, loss: Any) -> None:
        logits, pair = made_pair(V, seed=9, like=True, dtype=torch.float64)
        logits.requires_grad_(True)
        found, count = value(loss, logits, pair)
        assert count > 0
        assert abs(found.item()) < 1e-6 * count
        found.backward()
        if loss.name not in ("uld", "graph"):  # a sum of absolute values has no gradient at zero: rounding decides
            assert logits.grad.abs().max() < 1e-5

    @pytest.mark.parametrize("loss", [*everyone(), MinEd(Nearest(TOKENS, TOKENS), 7)], ids=lambda loss: loss.name)
    def test_a_step_down_the_gradient_lowers_it(self, loss: Any) -> None:
        logits, pair = made_pair(V, seed=10)
        logits.requires_grad_(True)
        before, _ = value(loss, logits, pair)
        before.backward()
        with torch.no_grad():
            after, _ = value(loss, logits - 0.05 * logits.grad / logits.grad.norm(), pair)
        assert after < before

    @pytest.mark.parametrize("loss", [*everyone(), MinEd(Nearest(TOKENS, TOKENS), 7)], ids=lambda loss: loss.name)
    def test_nothing_is_changed_in_place(self, loss: Any) -> None:
        """Pitfall 15."""
        logits, pair = made_pair(V, seed=11)
        kept = {name: tensor.clone() for name, tensor in vars(pair).items()}
        same = logits.clone()
        logits.requires_grad_(True)
        value(loss, logits, pair)[0].backward()
        assert torch.equal(logits.detach(), same)
        for name, tensor in kept.items():
            assert torch.equal(getattr(pair, name), tensor), name

    def test_alm_is_zero_only_for_equals(self) -> None:
        s = torch.linspace(-30, -1e-3, 50, dtype=torch.float64)
        t = torch.tensor(-2.0, dtype=torch.float64)
        found = alm(s, t.expand(50))
        assert (found[(s - t).abs() > 0.5] > 1e-4).all()
        assert alm(t[None], t[None]).item() == pytest.approx(0, abs=1e-12)

    def test_alm_leaves_out_chunks_behind_which_no_word_begins(self) -> None:
        logits, pair = made_pair(V, seed=12)
        every = value(Alm(WORDS_MASK, gamma=0.0), logits, pair)
        none = value(Alm(WORDS_MASK, gamma=1.0), logits, pair)
        assert every[1] == pair.chunks
        assert none[1] == 0
        assert none[0].item() == 0

    def test_what_is_not_compared_feels_no_pull(self) -> None:
        """Pitfall 7: a student that agrees on the listed tokens and on their sum may share the rest out as it likes."""
        logits, pair = made_pair(V, seed=13, like=True, dtype=torch.float64)
        for row, ids in zip(pair.start.tolist(), pair.ids, strict=True):  # type: ignore[arg-type]
            others = [v for v in range(V) if v not in set(ids.tolist())]
            logits[row, others] = logits[row, others[::-1]]
        logits.requires_grad_(True)
        value(Kl(7), logits, pair)[0].backward()
        assert logits.grad.abs().max() < 1e-6
