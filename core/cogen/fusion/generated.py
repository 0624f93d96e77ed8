"""Text that an expert writes itself, for those that ship none: on the integrator's machine, from the weights alone.

A sample of a language model's distribution is as much of its field as training text is, for routers and calibration.
Whatever a model remembers word for word can stand in it, so it is kept like private text: readable by its owner alone,
and never copied into an output.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from cogen.cache import cached
from cogen.devices import mark
from cogen.errors import CompatibilityError
from cogen.evals.settings import prefix_token_id
from cogen.files import atomic_write
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

#: Texts of an expert, tokens of each, and how many are written side by side.
TEXTS, TOKENS, BATCH = 64, 128, 16
_SEED = 0
#: Raised when the computation changes, so that what an older version kept is not used.
_VERSION = 1


class Writer(Protocol):
    """A model that can write; members of a route are some."""

    @property
    def id(self) -> str: ...
    @property
    def digest(self) -> str: ...
    @property
    def tokenizer(self) -> Any: ...
    @property
    def tokenizer_digest(self) -> str: ...
    @property
    def load(self) -> Callable[[str], Any]: ...


def generation_tokens() -> int:
    """Tokens that writing and reading one expert's texts takes at most."""
    return 2 * TEXTS * TOKENS


def generated_texts(writer: Writer, reporter: Reporter = SILENT) -> list[str]:
    """Texts by an expert, from nothing but its prefix token, at temperature 1; the same ones for the same weights.

    Kept in the cache, readable by its owner alone.

    :raises CompatibilityError: the model cannot write, or writes nothing.
    """
    settings = [_VERSION, TEXTS, TOKENS, BATCH, _SEED]
    key = canonical_digest(
        ["generated", settings, writer.digest, writer.tokenizer_digest, *mark(deciding=True)]
    ).removeprefix("sha256:")[:32]
    path = cached("generated", f"{key}.json")
    if path.is_file():
        try:
            kept: Any = json.loads(path.read_text(encoding="utf-8"))
        except ValueError:  # damaged: written again
            kept = None
        if isinstance(kept, list) and kept and all(isinstance(text, str) and text for text in kept):
            return kept
    reporter.describe(f"{writer.id} writes {TEXTS} texts")
    found = write_texts(writer.load("float32"), writer.tokenizer, writer.id, reporter)
    atomic_write(path, json.dumps(found, ensure_ascii=False).encode(), 0o600)
    return found


def write_texts(model: Any, tokenizer: Any, name: str, reporter: Reporter = SILENT) -> list[str]:
    """See :func:`generated_texts`.

    :param model: a transformers causal language model; ``name``: of the expert, for errors.
    """
    import torch

    if not (hasattr(model, "generate") and hasattr(model, "generation_config")):
        raise CompatibilityError(
            f"{name} ships no text, and its model cannot write any",
            hint=f"leave {name} out, or ask its publisher for samples or statistics",
        )
    prefix = prefix_token_id(tokenizer)
    ends = {token for token in (tokenizer.eos_token_id, prefix) if token is not None}
    texts: list[str] = []
    with _plain_settings(model, prefix, sorted(ends)), torch.random.fork_rng():
        torch.manual_seed(_SEED)
        for _ in range(TEXTS // BATCH):
            rows = _sample(model, prefix, name)
            reporter.advance(2 * rows.numel())
            for row in rows.tolist():
                kept = next((row[:i] for i, token in enumerate(row) if token in ends), row)
                # A character may span several tokens, of which the last are missing.
                text = tokenizer.decode(kept, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}").strip()
                texts += [text] if text else []
    if not texts:
        raise CompatibilityError(
            f"{name} ships no text, and writes none: it ends every text at once",
            hint=f"leave {name} out, or ask its publisher for samples or statistics",
        )
    return texts


def _sample(model: Any, prefix: int, name: str) -> torch.Tensor:
    """Token ids drawn from the model's own distribution behind the prefix token, shape (BATCH, up to TOKENS)."""
    import torch

    ids = torch.full((BATCH, 1), prefix, device=model.device)
    with torch.no_grad():
        if not bool(torch.isfinite(model(input_ids=ids[:1]).logits).all()):
            raise CompatibilityError(
                f"{name} gives what is not a number",
                hint=f"leave {name} out, or tell its publisher: its weights are bad",
            )
        found: torch.Tensor = model.generate(ids, attention_mask=torch.ones_like(ids))[:, 1:]
    return found.cpu()


@contextlib.contextmanager
def _plain_settings(model: Any, prefix: int, ends: list[int]) -> Iterator[None]:
    """A model's own settings for generation (penalties, top k) would make its texts others than its distribution."""
    from transformers import GenerationConfig

    kind: Any = GenerationConfig
    before = model.generation_config
    model.generation_config = kind(
        do_sample=True,
        temperature=1.0,
        top_k=0,
        top_p=1.0,
        max_new_tokens=TOKENS,
        bos_token_id=prefix,
        eos_token_id=ends,
        pad_token_id=ends[0],
    )
    try:
        yield
    finally:
        model.generation_config = before
