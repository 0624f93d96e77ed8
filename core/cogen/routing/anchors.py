"""The base on the fixed general text, and experts' samples in the base: computed once, kept in the cache."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from cogen.cache import cached
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.evals import calibration_texts
from cogen.files import atomic_folder
from cogen.reporter import SILENT, Reporter
from cogen.routing.states import (
    WINDOW,
    Moments,
    StreamSizes,
    mean_states,
    mean_window_states,
    moments,
    size_at_token,
    stream_sizes,
    windows,
)
from cogen.routing.turns import example_chat
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

#: Documents and tokens of each that show how large the stream is: a median, so a few hundred tokens are enough.
_SIZED, _TOKENS = 8, 128
SIZED_TOKENS = _SIZED * _TOKENS
#: Raised when the computation changes, so that what an older version kept is not used.
_VERSION = 1


class Anchor:
    """States of one base, from the cache or by running it.

    :param load: gives the base's model in float32; called only when something is not known yet.
    :param key: digest of the base and of its tokenizer.
    """

    def __init__(
        self, load: Callable[[], Any], tokenizer: Any, key: Sequence[str], reporter: Reporter = SILENT
    ) -> None:
        self._load, self._tokenizer, self._key, self._reporter = load, tokenizer, list(key), reporter
        self._model: Any = None

    @property
    def general(self) -> Moments:
        """On the fixed general text."""
        texts = calibration_texts()

        def compute() -> dict[str, torch.Tensor]:
            found = moments(self.model, self._tokenizer, texts, self._reporter)
            return {"mean": found.mean, "covariance": found.covariance.float()}

        kept = self._kept(["general", texts], compute)
        return Moments(kept["mean"], kept["covariance"])

    def mean(self, texts: Sequence[str], *, cached: bool = True) -> torch.Tensor:
        """Mean state on these texts, shape (layers, hidden), float64.

        :param cached: False for private texts: names in the cache are digests without a salt, by which anybody who
            reads the cache could test a guess at them.
        """

        def compute() -> dict[str, torch.Tensor]:
            return {"mean": mean_states(self.model, self._tokenizer, texts, self._reporter)}

        return (self._kept(["mean", list(texts)], compute) if cached else compute())["mean"]

    def mean_of(self, token_windows: Sequence[Sequence[int]]) -> torch.Tensor:
        """Mean state on these windows of token ids, each led by the prefix token: shape (layers, hidden), float64."""

        def compute() -> dict[str, torch.Tensor]:
            return {"mean": mean_window_states(self.model, token_windows, self._reporter)}

        return self._kept(["windows", [list(ids) for ids in token_windows]], compute)["mean"]

    def sizes(self) -> StreamSizes:
        """Of the residual stream on the first documents of the general text."""
        read = [windows(self._tokenizer, [text], _TOKENS)[0] for text in calibration_texts()[:_SIZED]]

        def compute() -> dict[str, torch.Tensor]:
            return vars(stream_sizes(self.model, read, self._reporter))

        return StreamSizes(**self._kept(["sizes before attention and feed-forward", read], compute))

    def size_at(self, token: int, layer: int) -> torch.Tensor:
        """Of the stream before a layer's attention at ``token`` in a chat about the general text, shape ()."""
        ids = example_chat(self._tokenizer, calibration_texts())

        def compute() -> dict[str, torch.Tensor]:
            return {"size": size_at_token(self.model, ids, token, layer)}

        return self._kept(["size at a token", ids, token, layer], compute)["size"]

    @property
    def tokenizer(self) -> Any:
        """The base's."""
        return self._tokenizer

    @property
    def model(self) -> Any:
        """The base, loaded when it is first needed."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def release(self) -> None:
        """Let go of the model."""
        self._model = None

    def _kept(self, what: Any, compute: Callable[[], dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
        key = canonical_digest([_VERSION, WINDOW, self._key, what]).removeprefix("sha256:")[:32]
        folder = cached("states", key)
        if not folder.is_dir():
            found = compute()
            with atomic_folder(folder) as part:
                write_safetensors(part / "states.safetensors", found)
        return {name: read_tensor(info) for name, info in read_header(folder / "states.safetensors").items()}
