"""A feed-forward block and its trained twin, mixed by a router row: the two-expert mixture of the mode ``anchored``.

Slot 0 is the frozen base with a router row of zeros, slot 1 is the base plus LoRA with the row r. For the state x that
goes into the block their weights are ``softmax([0, r·x])`` in float32: what transformers' mixtures (Mixtral, Qwen2-MoE,
FlexOlmo …) compute for two experts of which the top two are taken and normalised. FlexOlmo (arXiv:2507.07024) trains
its experts in such pairs.

This module imports torch; import it where a model is trained.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from cogen.errors import TrainError
from cogen.routing.states import feed_forwards

_PROJECTIONS = ("gate_proj", "up_proj", "down_proj")


class AnchoredBlock(nn.Module):
    """Stands where ``mlp`` stood. The projections keep their names, so peft saves and loads them as before.

    The row is ``start + delta · scale``, shape (hidden,), float32: elements of a state differ in size by orders of
    magnitude, Adam's steps don't, so ``scale`` is one over an element's size and a step of delta means the same in all
    of them. Only ``delta`` and the LoRA factors are trained.

    :param mlp: a gated feed-forward block whose three projections carry a LoRA.
    """

    def __init__(self, mlp: Any, start: torch.Tensor, scale: torch.Tensor) -> None:
        super().__init__()
        self.start: torch.Tensor
        self.scale: torch.Tensor
        self.gate_proj, self.up_proj, self.down_proj = (getattr(mlp, name) for name in _PROJECTIONS)
        self.act_fn = mlp.act_fn
        device = self.gate_proj.base_layer.weight.device
        self.register_buffer("start", start.float().clone().to(device))
        self.register_buffer("scale", scale.float().clone().to(device))
        self.delta = nn.Parameter(torch.zeros_like(self.start))
        #: r·x of the last training pass, shape (batch, tokens): its gradient reaches the row and stops at the state.
        self.seen: torch.Tensor | None = None

    def row(self) -> torch.Tensor:
        """r, shape (hidden,), float32."""
        return self.start + self.delta * self.scale

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """r·x in float32, whatever autocast says: (batch, tokens, hidden) → (batch, tokens)."""
        with torch.autocast(x.device.type, enabled=False):
            return x.float() @ self.row()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(batch, tokens, hidden) → the same shape. The base's projections are computed once for both slots."""
        if self.training:
            with torch.enable_grad():  # on general text the model runs without gradients, the row with them
                self.seen = self.logits(x.detach())
        logits = self.logits(x)
        weights = torch.softmax(torch.stack([torch.zeros_like(logits), logits], -1), -1)
        gate, up = self.gate_proj.base_layer(x), self.up_proj.base_layer(x)
        base = self.act_fn(gate) * up
        own = self.act_fn(_adapted(self.gate_proj, gate, x)) * _adapted(self.up_proj, up, x)
        weights = weights.to(own.dtype)
        own = weights[..., 1:] * own
        # down(w0·h0 + w1·h1) + BA(w1·h1) = w0·down(h0) + w1·(down + BA)(h1): the base's matrix is used once, not twice
        return _adapted(self.down_proj, self.down_proj.base_layer(weights[..., :1] * base + own), own)


def _adapted(layer: Any, base: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """What a LoRA layer of peft gives, when ``base`` is what the layer below it gave."""
    (name,) = layer.active_adapters
    first, second = layer.lora_A[name], layer.lora_B[name]
    product = second(first(layer.lora_dropout[name](x.to(first.weight.dtype))))
    found: torch.Tensor = (base + product * layer.scaling[name]).to(base.dtype)
    return found


def pair_up(model: Any, start: torch.Tensor, scale: torch.Tensor) -> Any:
    """Put a :class:`AnchoredBlock` in the place of every feed-forward block of a peft model, and return the model.

    :param start: router rows to begin with, shape (layers, hidden).
    :param scale: size of a step of each of their elements, the same shape.
    :raises TrainError: a block is not a gated one of three projections.
    """
    blocks = feed_forwards(model)
    for mlp in blocks:
        if not hasattr(mlp, "act_fn") or not all(hasattr(getattr(mlp, name, None), "lora_A") for name in _PROJECTIONS):
            raise TrainError(
                f"{type(mlp).__name__} is not a gated feed-forward block, which mode 'anchored' needs",
                hint="use a base like Llama, Mistral, Qwen2, Qwen3 or OLMo-2, or mode 'ffn'",
            )
    layers = model.get_decoder().layers
    for layer, mlp, own, size in zip(layers, blocks, start, scale, strict=True):
        layer.mlp = AnchoredBlock(mlp, own, size).train(mlp.training)
    return model


def pairs(model: Any) -> list[AnchoredBlock]:
    """The pairs of a model, in the order of its layers."""
    return [module for module in model.modules() if isinstance(module, AnchoredBlock)]


def rows(model: Any) -> torch.Tensor:
    """The router rows as they are published: shape (layers, hidden), float32, on the CPU."""
    return torch.stack([pair.row().detach().float().cpu() for pair in pairs(model)])
