"""A place in a sentence that can be filled with something else of its kind, and what may stand there."""

from __future__ import annotations

import zlib
from collections.abc import Set
from dataclasses import dataclass
from typing import Literal

import regex

from cogen.statements.field import Field
from cogen.statements.prose import Sentence
from cogen.statements.tokens import Token

Kind = Literal["number", "unit", "entity", "term"]
KINDS: tuple[Kind, ...] = ("number", "unit", "entity", "term")


#: What opens a list of examples, in the languages whose words are listed: other things are true after it, too.
_OPEN = regex.compile(
    r"\be\.g\.|\b(?:such as|for example|for instance|include[sd]?|including|like|various)\b"
    r"|例如|比如|诸如|包括",
    regex.I,
)
#: Where something is only possible, other things are, too; and of a denial or a comparison nearly everything is true:
#: "imaging is not required" as well as "imaging is not preferred".
_WEAK = regex.compile(
    r"\b(?:can|may|might|could|no|not|never|none|nor|neither|without|cannot|rarely|seldom|hardly|less|few|fewer|little"
    r"|un(?:able|likely|clear)|inability|lacks?|lacking|absence|avoid(?:s|ed|ing)?|fail(?:s|ed|ing|ure)?|except|rather"
    r"|other|another|than|over|versus|unlike|regardless)\b|n['’]t\b|可以|可能|也可|不|没有|未|无|避免",
    regex.I,
)


@dataclass(frozen=True)
class Line:
    """A sentence in its document, read into tokens, with what replacements are checked against."""

    sentence: Sentence
    tokens: tuple[Token, ...]
    #: Tokens of the whole document, in lower case.
    document: frozenset[str]
    #: Of the context and the sentence: what stands there twice could be copied.
    shown: tuple[str, ...]
    #: Values of the numbers in the document.
    values: frozenset[float]
    #: Unit → numbers that stand before it in the document.
    quantities: dict[str, tuple[float, ...]]
    field: Field

    def key(self, at: int) -> str:
        """Key of the token at ``at``; of what is before and after the sentence, the empty one."""
        return self.tokens[at].key if 0 <= at < len(self.tokens) else ""

    def hedged(self, token: Token) -> bool:
        """May others be true as well: after a list of examples, or in a possibility, a denial or a comparison?"""
        text = self.sentence.text
        return _OPEN.search(text, 0, token.start) is not None or _WEAK.search(text) is not None

    def fits(self, at: int) -> Set[str]:
        """Words and numbers that the field has after what stands before ``at``, and before what stands after it."""
        if not 0 < at < len(self.tokens) - 1:
            return frozenset()
        left, right = (self.field.place(self.tokens[at + step]) for step in (-1, 1))
        return self.field.after.get(left, {}).keys() & self.field.before.get(right, {}).keys()


@dataclass(frozen=True)
class Slot:
    """``sentence[start:end]`` is true; each of ``others`` is not, the best matched first."""

    kind: Kind
    start: int
    end: int
    others: tuple[str, ...]


def order(salt: str, text: str) -> int:
    """A number that looks random and is always the same: what is drawn depends on nothing but the text itself."""
    return zlib.crc32(f"{salt}\0{text}".encode())
