"""Whole experts whose tokens, padding or output head are not their base's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from support.tiny import llama
from support.tokenizers import bytewise, special

START, END = special("<|im_start|>"), special("<|im_end|>")


def save_expert(
    world: Any,
    id: str,
    seed: int = 2,
    added: Sequence[Any] = (),
    *,
    of: Any = None,
    rows: int | None = None,
    tied: bool = True,
    dtype: str = "bfloat16",
    template: str | None = None,
    promised: str | None = None,
    **changes: Any,
) -> Any:
    """An expert of the world of ``tests/fusion/conftest.py``: the base's tokenizer with ``added`` tokens, or ``of``.

    :param rows: of the embedding; default: one a token.
    :param promised: digest of the tokenizer in the manifest, where it is not that of the folder.
    """
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_tokenizer

    folder = world.folder / f"weights-{id}"
    tokenizer = of or bytewise(added=list(added))
    llama(seed, dtype, vocab_size=rows or len(tokenizer), tie_word_embeddings=tied, **changes).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template)
    digest = promised or tokenizer_digest(load_tokenizer(folder))
    return world.expert(id, full=True, base=world.base(dtype=dtype), tokenizer_is=digest)
