"""What a router sees: the states that go into each layer's feed-forward block, on texts.

In the dense base this is the input of ``mlp``: behind the post-attention norm in Llama, Mistral, Qwen2 and Qwen3, the
residual stream itself in OLMo-2. That is where the mixtures of transformers have their router. Texts are read one by
one, so there is no padding; the prefix token in front of each window is not text and is not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError
from cogen.evals.settings import prefix_token_id
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    import torch

#: Tokens of a window behind its prefix token.
WINDOW = 512


@dataclass(frozen=True)
class Moments:
    """First and second moments of the states: ``mean`` (layers, hidden), ``covariance`` (layers, hidden, hidden)."""

    mean: torch.Tensor
    covariance: torch.Tensor


def feed_forwards(model: Any) -> list[Any]:
    """The modules whose input a router reads, one a layer.

    :raises CompatibilityError: the model's layers have no ``mlp``.
    """
    layers = getattr(model.get_decoder(), "layers", None)
    if not layers or not all(hasattr(layer, "mlp") for layer in layers):
        raise CompatibilityError(
            f"{type(model).__name__} has no layers with a feed-forward block called mlp",
            hint="choose experts of a Llama, Mistral, Qwen2, Qwen3 or OLMo-2",
        )
    return [layer.mlp for layer in layers]


def windows(tokenizer: Any, texts: Sequence[str], length: int = WINDOW) -> list[list[int]]:
    """Token ids of each text in windows of at most ``length`` tokens, each led by the prefix token."""
    prefix = prefix_token_id(tokenizer)
    found = []
    for text in texts:
        ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        found += [[prefix, *ids[start : start + length]] for start in range(0, len(ids), length)]
    return found


def states(
    model: Any, tokenizer: Any, texts: Sequence[str], reporter: Reporter = SILENT
) -> Iterator[list[torch.Tensor]]:
    """For every window, the router's input of each layer, shape (tokens, hidden), float32."""
    yield from window_states(model, windows(tokenizer, texts), reporter)


def window_states(
    model: Any, token_windows: Iterable[Sequence[int]], reporter: Reporter = SILENT
) -> Iterator[list[torch.Tensor]]:
    """As :func:`states`, of token ids; each window is led by the prefix token, whose state is left out."""
    import torch

    seen: list[torch.Tensor] = []
    handles = [
        module.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()[0, 1:].float().cpu()))
        for module in feed_forwards(model)
    ]
    decoder = model.get_decoder()
    try:
        for ids in token_windows:
            seen.clear()
            with torch.no_grad():
                decoder(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
            reporter.advance(len(ids))
            yield list(seen)
    finally:
        for handle in handles:
            handle.remove()


def mean_states(model: Any, tokenizer: Any, texts: Sequence[str], reporter: Reporter = SILENT) -> torch.Tensor:
    """Mean over all tokens, shape (layers, hidden), float64."""
    return mean_window_states(model, windows(tokenizer, texts), reporter)


def mean_window_states(model: Any, token_windows: Iterable[Sequence[int]], reporter: Reporter = SILENT) -> torch.Tensor:
    """As :func:`mean_states`, of token ids."""
    import torch

    total: torch.Tensor | None = None
    count = 0
    for layers in window_states(model, token_windows, reporter):
        part = torch.stack([layer.double().sum(0) for layer in layers])
        total = part if total is None else total + part
        count += len(layers[0])
    if total is None:
        raise CompatibilityError("there is no text to take states from", hint="samples need at least one line of text")
    return total / count


def moments(model: Any, tokenizer: Any, texts: Sequence[str], reporter: Reporter = SILENT) -> Moments:
    """Mean and covariance over all tokens, accumulated in float64."""
    import torch

    sums: list[torch.Tensor] = []
    squares: list[torch.Tensor] = []
    count = 0
    for layers in states(model, tokenizer, texts, reporter):
        wide = [layer.double() for layer in layers]
        if not sums:
            sums = [torch.zeros_like(x[0]) for x in wide]
            squares = [torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype) for x in wide]
        for i, x in enumerate(wide):
            sums[i] += x.sum(0)
            squares[i] += x.T @ x
        count += len(wide[0])
    mean = torch.stack(sums) / count
    covariance = torch.stack(squares) / count - mean[:, :, None] * mean[:, None, :]
    return Moments(mean, covariance)


#: Before attention and before the feed-forward block.
_NORMS = ("input_layernorm", "post_attention_layernorm")


@dataclass(frozen=True)
class StreamSizes:
    """Root mean square of the residual stream, each of shape (layers,).

    :param usual: before the norm of every feed-forward block, the median over ordinary tokens.
    :param first: there, of the prefix token, whose state depends on nothing else.
    :param attended: before the norm of every attention block, the median over ordinary tokens.
    """

    usual: torch.Tensor
    first: torch.Tensor
    attended: torch.Tensor


def stream_sizes(model: Any, token_windows: Sequence[Sequence[int]], reporter: Reporter = SILENT) -> StreamSizes:
    """
    :param token_windows: each led by the prefix token.
    :raises CompatibilityError: the layers have no norms before attention and feed-forward blocks.
    """
    import torch

    layers = model.get_decoder().layers
    norms: list[Any] = [getattr(layer, name, None) for name in _NORMS for layer in layers]
    if not norms or any(norm is None for norm in norms):
        raise CompatibilityError(
            f"{type(model).__name__} has no norm before its feed-forward blocks", hint="choose another --routing"
        )
    seen: list[list[torch.Tensor]] = [[] for _ in norms]

    def watch(place: int) -> Any:
        def hook(norm: Any, arguments: Any) -> None:
            states = arguments[0].detach()[0].double()
            seen[place].append((states.square().mean(-1) + norm.variance_epsilon).sqrt())

        return hook

    handles = [norm.register_forward_pre_hook(watch(place)) for place, norm in enumerate(norms)]
    try:
        for ids in token_windows:
            with torch.no_grad():
                model.get_decoder()(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False)
            reporter.advance(len(ids))
    finally:
        for handle in handles:
            handle.remove()
    usual = torch.stack([torch.cat([sizes[1:] for sizes in place]).median() for place in seen]).cpu()
    first = torch.stack([place[0][0] for place in seen]).cpu()
    count = len(layers)
    return StreamSizes(usual[count:], first[count:], usual[:count])


def size_at_token(model: Any, ids: Sequence[int], token: int, layer: int) -> torch.Tensor:
    """Root mean square of the stream before the norm in front of a layer's attention, where the token is ``token``.

    :param ids: a text that has the token.
    :returns: the median over its places, shape ().
    """
    import torch

    norm = model.get_decoder().layers[layer].input_layernorm
    seen: list[torch.Tensor] = []
    handle = norm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()[0].double()))
    row = torch.tensor([list(ids)], device=model.device)
    try:
        with torch.no_grad():
            model.get_decoder()(input_ids=row, use_cache=False)
    finally:
        handle.remove()
    sizes = (seen[0].square().mean(-1) + norm.variance_epsilon).sqrt()
    found: torch.Tensor = sizes[row[0] == token].median().cpu()
    return found
