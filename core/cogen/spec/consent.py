"""How far the text of a source may go: :data:`cogen.spec.data.Leaves` compared, and what personal data forbids."""

from __future__ import annotations

from cogen.spec.data import Leaves, PersonalData

_ORDER: tuple[Leaves, ...] = ("nothing", "figures", "samples", "heldout")
#: Text that must not leave. "unknown" is among it: nobody looked.
_PRIVATE: frozenset[PersonalData] = frozenset({"present", "unknown"})


def reaches(leaves: Leaves, level: Leaves) -> bool:
    """Whether a source that may go as far as ``leaves`` may go as far as ``level``."""
    return _ORDER.index(leaves) >= _ORDER.index(level)


def contradicts(card: PersonalData, source: PersonalData | None) -> bool:
    """Whether a card says that there is no personal data (left), and a source of it that there is, or may be."""
    return card not in _PRIVATE and source in _PRIVATE


def oversteps(leaves: Leaves, personal_data: PersonalData) -> bool:
    """Whether text with personal data (or nobody knows) is meant to leave: an error everywhere, never mended silently.

    :param personal_data: of the source, or of the card where the source has none of its own.
    """
    return personal_data in _PRIVATE and reaches(leaves, "samples")
