"""The data card: nothing is left empty, and what it counts adds up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cogen.conformance.result import Failed
from cogen.host import Expert
from cogen.privacy.verdict import contradiction
from cogen.spec.data import DataCard, DataSource

#: Shares are written with four digits; a source's may be off by half of the last one, and a little for its counting.
_ROUNDING = 1e-3


def check_card(expert: Expert) -> str:
    """Free texts are not empty; documents, tokens and shares of the sources agree with each other and with the suites.

    A sum is compared only where each of its terms is known.

    :raises Failed: names the first figure that does not fit.
    """
    card = expert.spec.data
    empty = [name for name in ("preprocessing", "limitations", "not_for", "biases") if not getattr(card, name).strip()]
    if empty:
        raise Failed(f"the data card's `{empty[0]}` is empty", 'say what is so, or "unknown"')
    if card.sources != "unknown":
        _shares(card.sources)
        _documents(card.sources, card)
    _measured(expert)
    if card.audit is not None and (why := contradiction(card.audit)) is not None:
        raise Failed(
            f'the privacy audit says "{card.audit.verdict}", and {why}', "run `cogen audit RECIPE --save` again"
        )
    unknown = [name for name in type(card).model_fields if getattr(card, name) == "unknown"]
    return f"complete and adds up; declared unknown: {', '.join(unknown)}" if unknown else "complete and adds up"


def _shares(sources: Sequence[DataSource]) -> None:
    shares = [source.share for source in sources]
    known = [share for share in shares if share != "unknown"]
    total = sum(known)
    complete = len(known) == len(shares)
    if total > 1 + _ROUNDING * len(shares) or (complete and total < 1 - _ROUNDING * len(shares)):
        raise Failed(f"the sources' shares add up to {total:.4f}, not to 1", "a share is of all training tokens")
    tokens = [source.tokens for source in sources]
    whole = sum(count for count in tokens if count != "unknown")
    if "unknown" in tokens or not whole:
        return
    for source in sources:
        if source.share != "unknown" and abs(source.share - float(source.tokens) / whole) > _ROUNDING:
            raise Failed(
                f"source {source.name} has {source.tokens:,} of {whole:,} tokens, "
                f"a share of {float(source.tokens) / whole:.4f}; the card says {source.share:.4f}",
                "correct `share` or `tokens`",
            )


def _documents(sources: Sequence[DataSource], card: DataCard) -> None:
    for source in sources:
        counts = source.documents, source.bytes, source.tokens
        if "unknown" not in counts and any(counts) and not all(counts):
            raise Failed(
                f"source {source.name} has {source.documents} documents, {source.bytes} bytes, {source.tokens} tokens",
                "a source that was used has some of each",
            )
    if card.split == "unknown":
        return
    documents = [source.documents for source in sources]
    total = sum(count for count in documents if count != "unknown")
    if "unknown" not in documents and total != card.split.train_documents:
        raise Failed(
            f"the sources have {total:,} documents, `split` says {card.split.train_documents:,}",
            "both count the training part after cleaning",
        )


def _measured(expert: Expert) -> None:
    """What was measured, and what is claimed, is of no more documents than there are."""
    card = expert.spec.data
    there: dict[str, Any] = {}
    for suite in expert.spec.suites:
        if suite.claim is not None and suite.claim.documents > suite.test.documents:
            raise Failed(
                f"the claim of suite {suite.id} is of {suite.claim.documents} documents, "
                f"its test part has {suite.test.documents}",
                "claim what was measured on the test part that you ship",
            )
        for part, data in (("dev", suite.dev), ("test", suite.test)):
            there[part] = there.get(part, 0) + data.documents
    if card.training == "unknown":
        return
    for private in expert.spec.private_suites:
        there[private.split] = there.get(private.split, 0) + private.documents
    for measured in card.training.measured:
        # A private suite gives figures of one split; how many documents the other one has is nobody's business.
        if measured.part not in there and expert.spec.private_suites:
            continue
        if measured.documents > (most := there.get(measured.part, 0)):
            raise Failed(
                f"the card measured {measured.documents} documents of the {measured.part} split, "
                f"the suites have {most}",
                "measure on what you ship, or give the figures as a private suite",
            )
