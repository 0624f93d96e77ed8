"""The tokenizer: does what it writes say what it read?"""

from __future__ import annotations

from typing import Any

from cogen.conformance.result import Failed
from cogen.conformance.suite_texts import suite_texts
from cogen.host import Expert

#: What texts of any domain may hold: accents apart and together, scripts, signs of several code points, white space.
PROBES = {
    "accents": "Zoë naïve e\u0301 ﬁ",
    "scripts": "電力网 Ενέργεια ישראל हिन्दी",
    "emoji": "👩🏽‍🔬 ⚡",
    "white space": "a  b\tc\n\nd\r\n  e",
    "control": "x\u200by\u00a0z\u0007",
}


def check_round_trip(expert: Expert, tokenizer: Any, rows: int) -> str:
    """Every text of the suites comes back from its tokens.

    A tokenizer that changes texts by design (case, accents) must at least read what it wrote as the same tokens.

    :param rows: of the model's embedding: no id may be as large.
    :raises Failed: an id without a row, an unknown token in a suite (bits per byte would not count what it stands
        for), or a text that neither comes back nor stays what it was turned into.
    """
    texts = suite_texts(expert)
    changed = 0
    for where, _, text in texts:
        ids = _encode(tokenizer, text)
        if ids and max(ids) >= rows:
            raise Failed(
                f"{where} has the token {max(ids)}, the model has rows for {rows:,}", "ship the tokenizer of this model"
            )
        if tokenizer.unk_token_id is not None and tokenizer.unk_token_id in ids:
            raise Failed(
                f"{where} holds characters that are unknown to the tokenizer: bits per byte would not count them",
                "leave such documents out, or take a tokenizer with bytes for what it lacks",
            )
        back = _decode(tokenizer, ids)
        if not _same(back, text):
            changed += 1
            if _encode(tokenizer, back) != ids:
                raise Failed(
                    f"{where} comes back as {back[:40]!r} from its tokens, where {text[:40]!r} went in",
                    "its decoder does not undo what its pre-tokenizer does: ship the tokenizer of the training",
                )
    lossy = [name for name, text in PROBES.items() if not _same(_decode(tokenizer, _encode(tokenizer, text)), text)]
    result = f"{len(texts) - changed} of {len(texts)} texts come back from their tokens unchanged"
    return f"{result}; not kept: {', '.join(lossy)}" if lossy else f"{result}, and so do all probes"


def _same(back: str, text: str) -> bool:
    """SentencePiece may put one space before a text."""
    return back in (text, f" {text}")


def _encode(tokenizer: Any, text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids


def _decode(tokenizer: Any, ids: list[int]) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False))
