"""Evidence for many experts in few dimensions: E ≈ U V', from counts of tokens alone.

A token's evidence for a thousand experts is far from a thousand independent numbers: fields share words. The matrix
E of shape (tokens, experts) is first projected onto the leading right singular vectors of ``diag(√p) E``, with p the
frequency of each token, so that frequent tokens are kept best (Eckart and Young, 1936). That keeps the values of E;
what routers need is which expert has the largest mean. So U and V are then fitted to that: token by token, as the
routers will read them, on texts that are drawn from the counts. Averages over a prefix and the routers' logits are
linear in evidence, so that a checkpoint can hold U in its embedding and V in its routers.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cogen.reporter import SILENT, Reporter, begin

if TYPE_CHECKING:
    import torch

#: Tokens at a time: 32 MB for a thousand experts.
_CHUNK = 4096
#: Steps of the fit, texts of a step, the share of them that are general text, and tokens of the shortest and longest.
STEPS, _TEXTS, _GENERAL, _SHORTEST, _LONGEST = 800, 256, 0.2, 4, 48
#: Learning rates (Adam) of U and V.
_RATES = (0.01, 0.003)
_SEED = 0


def factors(evidence: torch.Tensor, weights: torch.Tensor, rank: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(U of shape (tokens, rank), V of shape (experts, rank)), float64: the best of that rank.

    U is divided by √(experts / rank), and V multiplied: as large as the evidence of so many experts as there are
    dimensions, it disturbs norms no more than theirs would.

    :param evidence: shape (tokens, experts); ``weights``: of each token, shape (tokens,), not negative.
    :param rank: at most the number of experts.
    """
    import torch

    found = _singular_vectors(evidence, weights, rank)
    scale = math.sqrt(evidence.shape[1] / rank)
    features = [evidence[part].double() @ found / scale for part in _parts(len(evidence))]
    return torch.cat(features), found * scale


def _singular_vectors(evidence: torch.Tensor, weights: torch.Tensor, rank: int) -> torch.Tensor:
    """Orthonormal columns, shape (experts, rank), float64."""
    import torch

    experts = evidence.shape[1]
    gram = torch.zeros(experts, experts, dtype=torch.float64)
    for part in _parts(len(evidence)):
        rows = evidence[part].double()
        gram += rows.T @ (rows * weights[part, None].double())
    _, vectors = torch.linalg.eigh(gram)
    found: torch.Tensor = vectors[:, -rank:].flip(1)
    # A vector's sign is arbitrary: its largest entry is positive, whatever the library returns.
    largest = found.abs().argmax(0)
    return found * torch.sign(found[largest, torch.arange(rank)])


def _parts(tokens: int) -> Iterator[slice]:
    return (slice(start, start + _CHUNK) for start in range(0, tokens, _CHUNK))


def fitted(
    start: tuple[torch.Tensor, torch.Tensor],
    counts: Sequence[torch.Tensor],
    general: torch.Tensor,
    *,
    strength: float,
    mass: float,
    memory: float,
    reporter: Reporter = SILENT,
) -> tuple[torch.Tensor, torch.Tensor]:
    """U and V, float32, such that a softmax over the experts and the public slot names the text that tokens are from.

    Minimises cross-entropy over texts of 4 to 47 tokens that are drawn from the counts, by Adam (arXiv:1412.6980).
    Tokens without evidence keep none. The same numbers for any number of threads.

    :param start: of :func:`factors`.
    :param counts: of each expert, shape (tokens,); ``general``: of general text, which belongs to the public slot.
    :param strength: what routers multiply mean evidence by; ``mass``: what the prefix token weighs; ``memory``: tokens
        that weigh in the mean at most. As of the mixture.
    """
    import torch

    features, readouts = (torch.nn.Parameter(part.float()) for part in start)
    speaking = (features != 0).any(1, keepdim=True)
    generator = torch.Generator().manual_seed(_SEED)
    texts = [_Text(own) for own in (*counts, general)]
    optimiser = torch.optim.Adam(
        [{"params": [part], "lr": rate} for part, rate in zip((features, readouts), _RATES, strict=True)]
    )
    begin(reporter, "fitting evidence", STEPS, "steps")
    with _one_thread(), torch.no_grad():
        for _ in range(STEPS):
            which = torch.randint(len(counts), (_TEXTS,), generator=generator)
            which[torch.rand(_TEXTS, generator=generator) < _GENERAL] = len(counts)
            length = int(torch.randint(_SHORTEST, _LONGEST, (), generator=generator))
            drawn = torch.rand(_TEXTS, length, generator=generator)
            tokens = torch.stack([texts[int(text)].at(own) for text, own in zip(which, drawn, strict=True)])
            weighs = length * memory / (length + memory)
            share = weighs / (weighs + mass) / length
            mean = features[tokens].sum(1) * share
            wrong = torch.softmax(torch.nn.functional.pad(strength * mean @ readouts.T, (0, 1)), 1)
            wrong[torch.arange(_TEXTS), which] -= 1.0
            wrong = wrong[:, : len(counts)] * (strength / _TEXTS)
            readouts.grad = wrong.T @ mean
            each = (wrong @ readouts * share).repeat_interleave(length, 0)
            features.grad = torch.zeros_like(features).index_add_(0, tokens.flatten(), each) * speaking
            optimiser.step()
            reporter.advance()
    return features.detach(), readouts.detach()


class _Text:
    """Tokens drawn as often as a text has them."""

    def __init__(self, counts: torch.Tensor) -> None:
        self._ids = counts.nonzero()[:, 0]
        below = counts[self._ids].cumsum(0)
        self._below = (below / below[-1]).float()

    def at(self, places: torch.Tensor) -> torch.Tensor:
        """The tokens at places between 0 and 1 of the text, sorted by token."""
        import torch

        return self._ids[torch.searchsorted(self._below, places).clamp_(max=len(self._ids) - 1)]


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
