"""Tokenizers of a few hundred tokens, of every kind that a vocabulary may be made of."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from support.tiny import tokenizer

#: Scripts and symbols that the tiny tokenizers have partly seen, partly not.
TEXTS = (
    "the grid operator measures voltage",
    "Größe der Leistung — 5 %",
    "電力ネットワーク",
    "мощность сети",
    "😀 قوة",
    "  two  spaces\tand\nlines ",
    "def f(x): return x**2",
    "NETWORK network Network",
    "a\u0301e\u0308",
)
OTHER_WORDS = ("solver", "matrix", "eigenvalue", "sparse", "tensor", "gradient", "мощность", "the", "network")


def bytewise(words: Sequence[str] = (), size: int = 300, added: Sequence[Any] = ()) -> Any:
    """Byte-level BPE: that of ``support.tiny``, or one trained on other words; with added tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    if not words:
        backend = Tokenizer.from_str(tokenizer().backend_tokenizer.to_str())
    else:
        backend = Tokenizer(models.BPE())
        backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer = trainers.BpeTrainer(
            vocab_size=size, special_tokens=["<|endoftext|>"], initial_alphabet=alphabet, show_progress=False
        )
        backend.train_from_iterator([" ".join(words)] * 3, trainer)
    backend.add_tokens(list(added))
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|endoftext|>")


def pieces(kind: str, words: Sequence[str], size: int = 120) -> Any:
    """SentencePiece's way of writing: "bpe" with bytes for what it doesn't know, or "unigram"."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True) if kind == "bpe" else models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    special = ["<unk>", "<s>", "</s>"]
    if kind == "bpe":
        special += [f"<0x{byte:02X}>" for byte in range(256)]
        trainer: Any = trainers.BpeTrainer(vocab_size=size + 259, special_tokens=special, show_progress=False)
    else:
        trainer = trainers.UnigramTrainer(
            vocab_size=size, special_tokens=special, unk_token="<unk>", show_progress=False
        )
    backend.train_from_iterator([" ".join(words)] * 3, trainer)
    state = json.loads(backend.to_str())
    state["added_tokens"] = [entry for entry in state["added_tokens"] if not entry["content"].startswith("<0x")]
    backend = Tokenizer.from_str(json.dumps(state))
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def wordpieces(words: Sequence[str]) -> Any:
    """BERT's: the longest piece first."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({letter for word in words for letter in word})
    vocabulary = ["[UNK]", *letters, *(f"##{letter}" for letter in letters), *sorted(set(words) - set(letters))]
    backend = Tokenizer(models.WordPiece({token: id for id, token in enumerate(vocabulary)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="[UNK]")


def special(content: str) -> Any:
    """A control token, such as those of chat formats."""
    from tokenizers import AddedToken

    return AddedToken(content, special=True, normalized=False)
