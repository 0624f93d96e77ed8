"""Quantized inference, simulated: what the arithmetic of engines with 8-bit weights and activations rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

#: Elements that share a scale in llama.cpp's Q8_0.
BLOCK = 32


def int8(values: torch.Tensor, *, by_row: bool) -> torch.Tensor:
    """Rounded to 255 steps of one scale for the tensor, or for each of its rows."""
    most = values.abs().amax(-1, keepdim=True) if by_row else values.abs().amax()
    scale = (most / 127).clamp(min=1e-12)
    return (values / scale).round() * scale


def fp8(values: torch.Tensor) -> torch.Tensor:
    """Rounded to e4m3 with one scale for the tensor."""
    import torch

    scale = (values.abs().amax() / torch.finfo(torch.float8_e4m3fn).max).clamp(min=1e-12)
    return (values / scale).to(torch.float8_e4m3fn).to(values.dtype) * scale


def quantize(model: Any, kind: str, embedding: str = "") -> None:
    """Round, in place, weights of all projections and routers, and from now on what they read.

    :param kind: "int8" (a scale for each output channel of a weight, one for an activation) or "fp8" (one a tensor).
    :param embedding: "" (kept, as engines do by default), "row" (int8 with a scale a row) or "block" (Q8_0).
    """
    import torch

    def weight(values: torch.Tensor) -> torch.Tensor:
        return int8(values, by_row=True) if kind == "int8" else fp8(values)

    def activation(_: Any, arguments: Any) -> Any:
        first = int8(arguments[0], by_row=False) if kind == "int8" else fp8(arguments[0])
        return (first, *arguments[1:])

    with torch.no_grad():
        table = model.get_input_embeddings()
        for name, module in model.named_modules():
            own = {key: value for key, value in module.named_parameters(recurse=False) if value.ndim > 1}
            if not own or module is table or name == "lm_head":
                continue
            for value in own.values():
                value.copy_(weight(value))
            module.register_forward_pre_hook(activation)
        if embedding == "row":
            table.weight.copy_(int8(table.weight, by_row=True))
        elif embedding == "block":
            rows, width = table.weight.shape
            table.weight.copy_(
                int8(table.weight.reshape(rows, width // BLOCK, BLOCK), by_row=True).reshape(rows, width)
            )


def winners(model: Any, texts: Sequence[Sequence[int]], layer: int) -> torch.Tensor:
    """The slot that the router of ``layer`` prefers at every token of all texts, shape (tokens,)."""
    import torch

    from cogen.fusion.moe.insight import gates

    seen: list[torch.Tensor] = []
    handle = gates(model)[layer].register_forward_hook(lambda _, __, output: seen.append(output[0].argmax(-1)))
    try:
        for ids in texts:
            with torch.no_grad():
                model.get_decoder()(input_ids=torch.tensor([list(ids)]), use_cache=False)
    finally:
        handle.remove()
    return torch.cat(seen)


def agreement(folder: Path, texts: Sequence[Sequence[int]], opened: Callable[[Path, str], Any]) -> dict[str, float]:
    """Case → share of tokens at which the middle layer's router prefers the same slot as in float32."""

    def found(dtype: str, kind: str = "", embedding: str = "") -> torch.Tensor:
        model = opened(folder, dtype)
        if kind:
            quantize(model, kind, embedding)
        return winners(model, texts, model.config.num_hidden_layers // 2)

    exact = found("float32")
    cases = {
        "bfloat16": ("bfloat16",),
        "int8": ("float32", "int8"),
        "int8, embedding in blocks of 32": ("float32", "int8", "block"),
        "int8, embedding with a scale a row": ("float32", "int8", "row"),
        "fp8": ("float32", "fp8"),
    }
    return {name: float((found(*case) == exact).double().mean()) for name, case in cases.items()}
