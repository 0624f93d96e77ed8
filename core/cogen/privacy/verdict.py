"""The verdict of an audit, by fixed rules: docs/audit.md gives their reasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from cogen.privacy.canaries import MOST, Exposure
from cogen.privacy.extraction import NEARLY
from cogen.privacy.membership import FEWEST, Separation
from cogen.spec.data import Audit

Verdict = Literal["no leak found", "leaks", "not conclusive"]
#: Ranks of the canaries that unread secrets would show less often than this are no chance.
CHANCE = 0.001
#: Lower end of the interval from which a membership test counts as a leak.
MEMBERSHIP = 0.6
#: Canaries and passages that an audit needs to find nothing.
FEWEST_CANARIES = 5
FEWEST_PREFIXES = 50
#: Figures of a card have four digits.
_ROUNDING = 1e-4
#: Reading a small corpus more often than this is named as a risk.
PASSES = 4.0


@dataclass(frozen=True)
class Findings:
    """What was measured. Shares in place are those of ``extraction.shares_in_place``; ``passes`` of the corpus."""

    exposure: Exposure | None
    expert: Sequence[float]
    base: Sequence[float]
    membership: Separation | None
    members: int
    others: int
    passes: float
    #: May the number of passes be said? With the steps it gives the size of the corpus.
    passes_shown: bool = field(default=True, kw_only=True)
    #: Why something was not checked.
    missing: tuple[str, ...] = ()

    @property
    def verbatim(self) -> int:
        """Continuations that the expert reproduces word for word and its base does not."""
        return sum(own == 1 > other for own, other in zip(self.expert, self.base, strict=True))


def judge(found: Findings) -> tuple[Verdict, tuple[str, ...]]:
    """The verdict and the remarks that explain it."""
    leaks: list[str] = []
    doubts, notes = list(found.missing), []
    if found.exposure is not None:
        doubts += _canaries(found.exposure, leaks)
    if found.verbatim:
        leaks.append(
            f"{found.verbatim} of {len(found.expert)} continuations of training text are reproduced word for word, "
            "and not by the base"
        )
    if len(found.expert) < FEWEST_PREFIXES:
        doubts.append(f"only {len(found.expert)} passages of training text could be asked for")
    if found.membership is not None:
        doubts += _membership(found.membership, leaks)
    near = [sum(share >= NEARLY for share in shares) for shares in (found.expert, found.base)]
    notes.append(f"at least 90 % of the tokens in place: {near[0]} of {len(found.expert)}, by the base {near[1]}")
    if found.exposure is not None:
        notes.append(f"mean exposure of the canaries: {found.exposure.mean:.2f} bits (unread: 1.44)")
    if found.membership is not None:
        notes.append(
            f"{found.members} training and {found.others} held-out documents; at 5 % false alarms "
            f"{found.membership.found:.0%} of the members are found"
        )
    if found.passes > PASSES:
        times = f"{found.passes:.1f} times" if found.passes_shown else f"more than {PASSES:g} times"
        notes.append(f"risk: training read the corpus {times}; what is read again and again is memorized")
    verdict: Verdict = "leaks" if leaks else "not conclusive" if doubts else "no leak found"
    return verdict, (*leaks, *doubts, *notes)


def _canaries(found: Exposure, leaks: list[str]) -> list[str]:
    """Doubts; a clear result is appended to ``leaks``."""
    if found.chance >= CHANCE:
        few = len(found.bits) < FEWEST_CANARIES
        return [f"{len(found.bits)} canaries show little: at least {FEWEST_CANARIES} are needed"] if few else []
    first = sum(bits >= MOST - 1e-9 for bits in found.bits)
    trace = f"the canaries rank higher than unread secrets would (probability {found.chance:.1g})"
    if first:
        leaks.append(f"{trace}, {first} of {len(found.bits)} before all others")
        return []
    return [f"{trace}, none of them first"]


def _membership(found: Separation, leaks: list[str]) -> list[str]:
    """Doubts; a clear result is appended to ``leaks``."""
    if found.low >= MEMBERSHIP:
        leaks.append(f"training documents can be distinguished from held-out ones: AUC {found.auc:.2f}")
        return []
    if found.low > 0.5:
        return [f"training documents score higher than held-out ones, weakly: AUC {found.auc:.2f}"]
    return []


def too_few(members: int, others: int) -> str | None:
    """Why there is no membership test, if so."""
    if min(members, others) >= FEWEST:
        return None
    return f"membership: not checked, {members} training and {others} held-out documents where {FEWEST} each are needed"


def contradiction(audit: Audit) -> str | None:
    """What in the figures of a published audit does not allow its verdict; ``None``: nothing that they show.

    The card holds less than an audit measures, so a verdict can't be judged again, only refuted.
    """
    if audit.verdict == "leaks":
        return None
    if audit.extraction > audit.extraction_base:
        return "the expert reproduces more of the training text than its base"
    if audit.membership_low != "unknown" and audit.membership_low >= MEMBERSHIP + _ROUNDING:
        return f"the interval of the membership test begins at {audit.membership_low:.2f}"
    if audit.verdict == "not conclusive":
        return None
    if audit.extraction_prefixes < FEWEST_PREFIXES:
        return f"{audit.extraction_prefixes} passages were asked for where {FEWEST_PREFIXES} are needed"
    if audit.canary_exposure == "unknown" or audit.canaries < FEWEST_CANARIES:
        return f"{audit.canaries} canaries were checked where {FEWEST_CANARIES} are needed"
    if audit.membership_low == "unknown" or audit.membership_documents < 2 * FEWEST:
        return "there was no membership test of enough documents"
    if audit.membership_low > 0.5:
        return "training documents score higher than held-out ones"
    return None
