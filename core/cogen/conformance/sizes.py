"""No number of a card tells how much text a source with ``leaves = "nothing"`` has."""

from __future__ import annotations

import re

from cogen.conformance.result import Failed
from cogen.spec.data import Audit, DataCard, DifferentialPrivacy
from cogen.spec.sizes import EPSILON_DIGITS, is_round, round_up

_AGAIN = "`cogen train` writes it so, without training anew"
#: A sampling probability, as a fraction or not.
_PROBABILITY = re.compile(r"\d\s*/\s*\d|(probability|rate|fraction|ratio|share|q)\b[^\d;,]{0,20}[\d.]", re.IGNORECASE)
_PASSES = re.compile(r"read the corpus [\d.]")


def check_sizes(card: DataCard) -> None:
    """:raises Failed: names the number, and what to write instead."""
    sources = card.sources if card.sources != "unknown" else ()
    silent = [source.name for source in sources if source.leaves == "nothing"]
    if not silent:
        return
    why = f'source {silent[0]} says leaves = "nothing"'
    if len(silent) < len(sources):
        _check_rest(card, why)
    elif card.split != "unknown":
        raise Failed(f"every {why}, and `split` counts its documents", 'split = "unknown"')
    if card.training != "unknown" and card.training.privacy is not None:
        _check_privacy(card.training.privacy, why)
    if card.audit is not None:
        _check_audit(card.audit, why)


def _check_rest(card: DataCard, why: str) -> None:
    """What the sources whose figures may leave say of the whole."""
    sources = [source for source in card.sources if source.leaves != "nothing"] if card.sources != "unknown" else []
    for source in sources:
        if source.share not in (0, "unknown"):
            raise Failed(
                f"{why}, and the share of source {source.name} tells the size of the whole corpus", 'share = "unknown"'
            )
    counts = [source.documents for source in sources]
    known = sum(count for count in counts if count != "unknown")
    if card.split != "unknown" and "unknown" not in counts and card.split.train_documents != known:
        raise Failed(
            f"{why}, and `split` has {card.split.train_documents:,} training documents where the other sources have "
            f"{known:,}",
            "count the sources alone whose figures may leave",
        )


def _check_privacy(privacy: DifferentialPrivacy, why: str) -> None:
    if privacy.noise_multiplier != "unknown":
        raise Failed(
            f"{why}, and noise_multiplier with ε and δ tells the number of documents",
            f'noise_multiplier = "unknown"; {_AGAIN}',
        )
    if _PROBABILITY.search(privacy.accountant):
        raise Failed(
            f"{why}, and the accountant's sampling probability tells the number of documents",
            f"leave it out of `accountant`; {_AGAIN}",
        )
    if privacy.epsilon != (rounded := round_up(privacy.epsilon)):
        raise Failed(
            f"{why}, and the digits of epsilon = {privacy.epsilon} tell the number of documents",
            f"{EPSILON_DIGITS} digits, rounded up: epsilon = {rounded:g}; {_AGAIN}",
        )


def _check_audit(audit: Audit, why: str) -> None:
    if audit.passes != "unknown" or any(_PASSES.search(note) for note in audit.notes):
        raise Failed(
            f"{why}, and the audit's passes over the corpus tell its size",
            'passes = "unknown"; `cogen audit RECIPE --save` writes it so',
        )
    both = audit.membership_documents  # training documents and held-out ones
    sums = {0} | {one + other for one in _round_below(both) for other in _round_below(both)}
    counts = {"extraction_prefixes": is_round(audit.extraction_prefixes), "membership_documents": both in sums}
    for name, rounded in counts.items():
        if not rounded:
            raise Failed(
                f"{why}, and {name} = {getattr(audit, name)} of the audit tells how many documents there are",
                "measure on 1, 2, 3, 5, 10, 20 … of them: `cogen audit RECIPE --save` does",
            )


def _round_below(count: int) -> list[int]:
    """All round counts up to ``count``."""
    return [step * 10**power for power in range(len(str(count))) for step in (1, 2, 3, 5) if step * 10**power <= count]
