"""Losses by token, and paired differences with bootstrap intervals over documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

RESAMPLES, SEED = 2000, 0


def losses(model: Any, ids: Sequence[int]) -> np.ndarray:
    """Negative log-likelihood in nats of every token but the first; shape (tokens - 1,), float64."""
    import torch

    row = torch.tensor([list(ids)])
    with torch.no_grad():
        logits = model(input_ids=row, use_cache=False).logits[0, :-1].float()
    return torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none").double().numpy()


class KnownLosses:
    """Losses of a model folder that CoGen wrote, kept in a folder beside it; the model is opened when it is needed."""

    def __init__(self, folder: Path, dtype: str, opened: Callable[[], Any]) -> None:
        digest = json.loads((folder / "cogen.lock").read_text(encoding="utf-8"))["weights_digest"]
        self._key, self._folder, self._opened = [digest, dtype], folder.parent / "losses", opened
        self._model: Any = None

    def of(self, ids: Sequence[int]) -> np.ndarray:
        """See :func:`losses`."""
        import numpy as np

        key = hashlib.sha256(json.dumps([*self._key, list(ids)]).encode()).hexdigest()
        file = self._folder / f"{key[:32]}.npy"
        if not file.is_file():
            self._model = self._model or self._opened()
            self._folder.mkdir(exist_ok=True)
            part = file.with_suffix(".part.npy")
            np.save(part, losses(self._model, ids))
            part.rename(file)
        found: np.ndarray = np.load(file)
        return found


def excess(
    found: Sequence[np.ndarray], reference: Sequence[np.ndarray], start: int = 0, stop: int | None = None
) -> Any:
    """By how many percent the loss on tokens [start, stop) of all documents is above the reference's.

    :returns: ``{"percent", "low", "high", "documents", "tokens"}``: the interval is the 95 % percentile bootstrap over
        documents, each with both models' losses; documents that have no such tokens don't count.
    """
    import numpy as np

    pairs = [
        (a[start:stop].sum(), b[start:stop].sum(), len(a[start:stop])) for a, b in zip(found, reference, strict=True)
    ]
    table = np.array([pair for pair in pairs if pair[2]])
    if not len(table):
        return None
    drawn = np.random.default_rng(SEED).integers(0, len(table), (RESAMPLES, len(table)))
    sums = table[drawn, :2].sum(1)
    low, high = np.percentile(100 * (sums[:, 0] / sums[:, 1] - 1), [2.5, 97.5])
    percent = 100 * (table[:, 0].sum() / table[:, 1].sum() - 1)
    return {
        "percent": float(percent),
        "low": float(low),
        "high": float(high),
        "documents": len(table),
        "tokens": int(table[:, 2].sum()),
    }


def written(found: Any) -> str:
    """``+1.40 % [+1.02, +1.77]``."""
    return "" if found is None else f"{found['percent']:+.2f} % [{found['low']:+.2f}, {found['high']:+.2f}]"
