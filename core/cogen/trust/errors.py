"""What is wrong with a key, a signature or a receipt."""

from __future__ import annotations

from cogen.errors import CogenError


class TrustError(CogenError):
    """Something is not what its publisher signed, or not signed at all."""


def one_line(error: BaseException, longest: int = 400) -> str:
    """What a library says is wrong, in one line of at most ``longest`` characters.

    Of a document that fails a model's validation only that it does: pydantic repeats the values, and what somebody sent
    (a token in the wrong field, say) belongs in no answer and in no log.
    """
    from pydantic import ValidationError

    one: BaseException | None = error
    while one is not None:
        if isinstance(one, ValidationError):
            return "it does not have the form of a Sigstore bundle"
        one = one.__cause__ or one.__context__
    return (" ".join(str(error).split()) or type(error).__name__)[:longest]
