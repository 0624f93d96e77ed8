"""What a model thinks of every token of a text, in the windows of our harness."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cogen.evals.settings import Settings, prefix_token_id

if TYPE_CHECKING:
    import torch


def token_scores(model: Any, tokenizer: Any, text: str, settings: Settings, progress: Any = None) -> torch.Tensor:
    """Log-likelihood in nats of every token of ``text``, shape (tokens,), float64.

    lm-eval's ``loglikelihood_rolling`` gives their sum only. Tokens, windows and the type of the softmax are the same:
    no special tokens, a prefix token in front, windows of ``settings.max_length``, each token predicted once.
    """
    import torch
    from lm_eval.utils import get_rolling_token_windows, make_disjoint_window

    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    found = [torch.empty(0, dtype=torch.float64)]
    for pair in get_rolling_token_windows(ids, prefix_token_id(tokenizer), settings.max_length, 1):
        context, predicted = make_disjoint_window(pair)
        inputs = torch.tensor([(context + predicted)[:-1]], device=model.device)
        with torch.no_grad():
            logits = model(inputs).logits[0, -len(predicted) :]  # shape (predicted, vocabulary)
        if progress:
            progress.advance(inputs.numel())
        logs = torch.log_softmax(logits, dim=-1, dtype=getattr(torch, settings.softmax_dtype))
        found.append(logs.gather(1, torch.tensor(predicted, device=logs.device)[:, None])[:, 0].double().cpu())
    return torch.cat(found)
