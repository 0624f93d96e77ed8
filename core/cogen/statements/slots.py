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


#: What opens a list of examples or a mere possibility, in the languages whose words are listed: other things are true
#: after it, too.
_OPEN = regex.compile(
    r"\b(?:such as|e\.g\.|for example|for instance|include[sd]?|including|like|can|may|might|could|various)\b"
    r"|例如|比如|诸如|包括|可以|可能|也可"
)
#: After a denial nearly everything is true: "imaging is not required" as well as "imaging is not preferred".
_DENIED = regex.compile(
    r"\b(?:no|not|never|none|nor|neither|without|cannot|rarely|seldom|hardly|less|few|fewer|little|limited|un(?:able|likely|clear)"
    r"|inability|lacks?|lacking|absence|avoid(?:s|ed|ing)?|fail(?:s|ed|ing|ure)?|except|rather|other|another)\b|n['’]t\b"
    r"|不|没有|未|无|避免"
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
        """Does a list of examples, a possibility or a denial stand before the token, so that others may be true?"""
        return any(pattern.search(self.sentence.text, 0, token.start) for pattern in (_OPEN, _DENIED))

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
