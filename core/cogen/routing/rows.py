"""Router rows without training: which side of general text a state lies on, by Fisher's linear discriminant.

With general text ``N(μ, Σ)`` and an expert's text ``N(m, Σ)``, the log-odds of the two for a state x are

    (m - μ)ᵀ Σ⁻¹ x - ½ (m - μ)ᵀ Σ⁻¹ (m + μ)

which is linear in x. μ and Σ are those of the base on a fixed general text, so an expert's row depends on the base and
on its own samples alone: other experts come and go without touching it. The base's own row is zero (its odds against
itself), and the softmax over rows is the posterior of the domain. FlexOlmo (arXiv:2507.07024) takes the bare mean,
mergekit's ``hidden`` the normalised state of the last token; neither has a zero point nor a scale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

    from cogen.routing.states import Moments

#: Share of the covariance that is replaced by its diagonal, and what is added to the diagonal in units of its mean: a
#: few thousand tokens do not tell all directions, and the rows have to survive rounding to bfloat16.
SHRINK, FLOOR = 0.2, 0.1
#: Factor on the rows. The covariance of general text understates how domain text varies, so the odds are too sure of
#: themselves; 0.3 was chosen among 0.1, 0.3, 1 and 3 on the dev parts of the reference experts.
TEMPER = 0.3
#: An element that is nearly zero on general text takes no larger steps than one of this share of its layer's size.
LEAST = 0.01


def discriminant_rows(anchor: Moments, means: torch.Tensor) -> torch.Tensor:
    """
    :param anchor: of the base on general text.
    :param means: of the base on an expert's texts, shape (layers, hidden).
    :returns: the expert's row in every layer, shape (layers, hidden), float64: the log-odds times :data:`TEMPER`.

    transformers' routers have no bias. The constant goes into the row instead, along the direction b in which general
    text is constant: ``b·μ = 1`` and the least variance of ``b·x``.
    """
    import torch

    rows = []
    for mean, covariance, own in zip(anchor.mean.double(), anchor.covariance.double(), means.double(), strict=True):
        spread = regularised(covariance)
        difference = own - mean
        weight = torch.linalg.solve(spread, difference)
        constant = weight @ (own + mean) / 2
        rows.append(weight - constant * constant_direction(mean, spread))
    return TEMPER * torch.stack(rows)


def regularised(covariance: torch.Tensor) -> torch.Tensor:
    """A covariance that can be inverted; see :data:`SHRINK`."""
    import torch

    diagonal = torch.diagonal(covariance)
    mixed = (1 - SHRINK) * covariance + SHRINK * torch.diag(diagonal)
    return mixed + FLOOR * diagonal.mean() * torch.eye(len(diagonal), dtype=covariance.dtype)


def constant_direction(mean: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
    """b with ``b·mean = 1`` and the smallest ``bᵀ spread b``: shape (hidden,)."""
    import torch

    direction = torch.linalg.solve(spread, mean)
    scale = direction @ mean
    return direction / scale if float(scale) > 0 else torch.zeros_like(mean)


def step_sizes(anchor: Moments) -> torch.Tensor:
    """How far one step of an optimiser should move each element of a row: one over the state's root mean square.

    Elements of a state differ in size by orders of magnitude, Adam's steps don't. The mean counts: where it is large,
    a step moves the logit of every token alike.

    :returns: shape (layers, hidden), float64; zero in a layer that is zero on general text.
    """
    import torch

    square = torch.diagonal(anchor.covariance, dim1=-2, dim2=-1).double().clamp_min(0) + anchor.mean.double().square()
    floor = LEAST**2 * square.mean(-1, keepdim=True)
    return torch.where(floor > 0, torch.maximum(square, floor).rsqrt(), 0.0)
