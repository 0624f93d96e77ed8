"""Every kind of tokenizer that texts are read with, as :class:`cogen.fusion.distill.alignment.encode.Encoder`."""

from __future__ import annotations

import functools
import json
from typing import Any

import numpy as np
from hypothesis import strategies as st

from cogen.fusion.distill.alignment.encode import Encoder
from cogen.fusion.distill.texts import Item
from support.tiny import WORDS
from support.tokenizers import OTHER_WORDS, bytewise, pieces, wordpieces


def bert() -> Any:
    """WordPiece behind BERT's normalizer: lower case, accents and control characters dropped."""
    from tokenizers import normalizers, pre_tokenizers

    found = wordpieces([*(word.lower() for word in OTHER_WORDS), "##s", "voltage", "##age"])
    found.backend_tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    found.backend_tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    found.add_special_tokens({"bos_token": "[CLS]"})
    return found


def composed(form: str = "NFC") -> Any:
    """Byte-level BPE that first puts accents and letters together: Qwen's NFC, Claude's NFKC."""
    from tokenizers import normalizers

    found = bytewise(added=["eigen value"])
    found.backend_tokenizer.normalizer = getattr(normalizers, form)()
    return found


def gemma_like() -> Any:
    """No pre-tokenizer: spaces become ▁ by a normalizer, none is put in front; tokens of spaces are added ones too."""
    from tokenizers import AddedToken, Tokenizer, normalizers
    from transformers import PreTrainedTokenizerFast

    state = json.loads(pieces("bpe", WORDS).backend_tokenizer.to_str())
    model = state["model"]
    model["vocab"]["▁▁"] = len(model["vocab"])
    model["merges"] = [["▁", "▁"], *model["merges"]]
    backend = Tokenizer.from_str(json.dumps(state))
    backend.pre_tokenizer = None
    backend.normalizer = normalizers.Replace(" ", "▁")
    backend.add_tokens([AddedToken("▁▁", normalized=False), AddedToken("\n\n", normalized=False)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def llama_like() -> Any:
    """Spaces become ▁ and one is put in front, by normalizers: also behind every special token in a text."""
    from tokenizers import normalizers

    found = pieces("bpe", OTHER_WORDS)
    found.backend_tokenizer.pre_tokenizer = None
    found.backend_tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    return found


def characters() -> Any:
    """A token a character, for those that it knows; it has no word of its own for the others."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted({*"".join(WORDS), " ", "\n"})
    backend = Tokenizer(models.WordLevel({token: id for id, token in enumerate(["<unk>", *letters])}, "<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    return PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>", bos_token="<unk>")


KINDS = {
    "bytes": bytewise,
    "bytes, other merges": lambda: bytewise(OTHER_WORDS, 400),
    "bytes, added tokens": lambda: bytewise(added=["grid operator", "電力"]),
    "bytes, NFC": composed,
    "bytes, NFKC": lambda: composed("NFKC"),
    "sentencepiece": lambda: pieces("bpe", OTHER_WORDS),
    "unigram": lambda: pieces("unigram", [*WORDS, *OTHER_WORDS]),
    "gemma": gemma_like,
    "llama": llama_like,
    "bert": bert,
    "characters": characters,
}
#: Their tokens' own bytes are the text, whatever it is.
EXACT = ("bytes", "bytes, other merges", "bytes, added tokens", "sentencepiece")

#: Texts of everything that goes wrong with characters and positions.
hard = st.text(
    st.one_of(
        st.sampled_from(
            "the grid  voltage\n\r\t\0😀👨‍👩‍👧❤️🇩🇪電力한국ÅGröße\u0301\u0323\u1112\u1161\u11ab\u200d\ufeffﬁ①½ｶﾞ▁नमस्ते"
        ),
        st.characters(blacklist_categories=("Cs",)),
    ),
    min_size=1,
    max_size=40,
)


@functools.cache
def encoder(kind: str) -> Encoder:
    return Encoder(KINDS[kind]())


def ends(kind: str, text: str) -> np.ndarray:
    """Of a plain document."""
    (found,) = encoder(kind).encode([Item(text)], 10_000)
    assert found.start == 1
    assert found.stop == len(found.ids)
    return found.ends
