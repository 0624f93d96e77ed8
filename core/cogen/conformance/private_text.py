"""Private text stays private: what a package holds is what the card of its sources allows to leave.

One rule for `cogen check`, `cogen publish` and the admission of a registry. A source says how far its text may go
(``leaves``); where it may hold personal data, nothing but figures leaves. Cards from before schema version 2 say only
whether there is personal data: where there is none, they pass as they did.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from cogen.conformance.result import Failed
from cogen.conformance.shipped import is_permissive
from cogen.conformance.shipped_texts import ShippedText, Use, shipped_texts
from cogen.conformance.sizes import check_sizes
from cogen.host import Expert
from cogen.spec.consent import contradicts, oversteps, reaches
from cogen.spec.data import DataCard, DataSource, Leaves, PersonalData
from cogen.spec.expert import ExpertSpec
from cogen.spec.suite import PrivateSuite
from cogen.spec.unfinished import unfinished

_KEEP = "leave its text out of samples and suites (`cogen train` then writes a private suite)"
#: Documents of a private suite at least: the figure of one would be that of a single text.
LEAST_DOCUMENTS = 2
#: Absolute paths, those out of the recipe's folder, and those of Windows.
_OF_A_MACHINE = re.compile(r"[/\\~]|[A-Za-z]:|(.*[/\\])?\.\.([/\\]|$)")
#: What a use is called in messages.
_USE: dict[Use, str] = {"samples": "samples", "heldout": "suites"}


@dataclass(frozen=True)
class SourceRule:
    """What the card says of one source. ``leaves``: ``None`` in a card that was written before there was the field."""

    name: str
    leaves: Leaves | None
    personal_data: PersonalData
    license: str
    #: Held out only: neither trained on nor shipped as samples.
    suite_only: bool = False

    def allows(self, use: Use) -> bool:
        """May its text be shipped so?"""
        return (self.leaves is None or reaches(self.leaves, use)) and not self.personal

    @property
    def personal(self) -> bool:
        """May its text hold personal data? Then it stays where it is."""
        return oversteps("samples", self.personal_data)


def rules_of(card: DataCard) -> tuple[SourceRule, ...]:
    """One for each source; where some say how far their text may go, those that do not say it keep it."""
    if card.sources == "unknown":
        return (SourceRule("unknown", None, card.personal_data, "unknown"),)
    default: Leaves | None = "nothing" if declares(card) else None
    return tuple(
        SourceRule(
            one.name, one.leaves or default, one.personal_data or card.personal_data, one.license, one.use == "suite"
        )
        for one in card.sources
    )


def declares(card: DataCard) -> bool:
    """Does the card say of any source how far its text may go?"""
    return card.sources != "unknown" and any(source.leaves is not None for source in card.sources)


def keeps_text(card: DataCard) -> bool:
    """Must every file of the package be accounted for? Where some text stays at home, or may be personal."""
    return declares(card) or any(rule.personal for rule in rules_of(card))


def check_unfinished(expert: Expert) -> str:
    """:raises Failed: a field that is shipped still holds the template's TODO."""
    if fields := unfinished(expert.spec):
        raise Failed(
            f"{', '.join(fields)} {'is' if len(fields) == 1 else 'are'} still TODO",
            'replace each TODO, by "unknown" where nobody knows: in recipe.toml, then train again; '
            "in expert.toml where there is no recipe",
        )
    return "no field is left to fill in"


def check_private(expert: Expert) -> str:
    """Every shipped text is of a source that lets it leave, and so is every figure.

    :raises Failed: names the source or the document.
    """
    check_declared(expert.spec)
    rules = rules_of(expert.spec.data)
    strict = declares(expert.spec.data)
    counts: dict[str, int] = {}
    for text in shipped_texts(expert):
        source = _check_text(text, rules, strict)
        counts[source] = counts.get(source, 0) + 1
    if not counts:
        return "no text is shipped"
    kinds = {rule.name: " (held out only)" for rule in rules if rule.suite_only}
    return "shipped: " + ", ".join(
        f"{count} documents of {name}{kinds.get(name, '')}" for name, count in sorted(counts.items())
    )


def check_declared(spec: ExpertSpec) -> None:
    """What the manifest alone says, whatever the files hold.

    :raises Failed: a source with personal data lets its text leave; figures of text that lets none leave.
    """
    for suite in spec.private_suites:
        _check_suite(suite)
    if not declares(spec.data):
        return
    for rule in rules_of(spec.data):
        if rule.leaves is not None and oversteps(rule.leaves, rule.personal_data):
            raise Failed(
                f'source {rule.name} says leaves = "{rule.leaves}", and its personal data is {rule.personal_data}',
                'leaves = "figures" (or "nothing"), or say how the personal data was removed',
            )
    for source in spec.data.sources if spec.data.sources != "unknown" else ():
        _check_place(source)
        if contradicts(spec.data.personal_data, source.personal_data):
            raise Failed(
                f"source {source.name} says that personal data is {source.personal_data}, and the card says "
                f"{spec.data.personal_data} of all text",
                f'personal_data = "{source.personal_data}" in [data]; sources without any say "none" themselves',
            )
        if source.use == "suite" and source.tokens not in (0, "unknown"):
            raise Failed(
                f'source {source.name} says use = "suite", and the card counts {source.tokens:,} training tokens of it',
                "a source that was trained on has no `use`: leave it out, or train without this source",
            )
        if source.leaves == "nothing" and (counted := _counted(source)):
            raise Failed(
                f'source {source.name} says leaves = "nothing", and the card gives its {counted}',
                'write "unknown", or leaves = "figures"',
            )
    if all(rule.leaves == "nothing" for rule in rules_of(spec.data)) and (made := _figures(spec)):
        raise Failed(f'every source says leaves = "nothing", and the manifest holds {made}', 'leaves = "figures"')
    check_sizes(spec.data)


def _counted(source: DataSource) -> str | None:
    for name in ("documents", "bytes", "tokens"):
        if getattr(source, name) != "unknown":
            return name
    if source.share not in ("unknown", 1):  # of the only source there is, it tells nothing
        return "share"
    return next((name for name in ("read_bytes", "kept_share", "dropped") if getattr(source, name) is not None), None)


def _check_place(source: DataSource) -> None:
    """What the card says of where a source's text lies, where that stays at home."""
    local = source.uri == "unknown" or source.uri.startswith("file:")
    if reaches(source.leaves or "nothing", "samples") or not local:
        return
    if source.archive_digest != "unknown":
        raise Failed(
            f"source {source.name} keeps its text, and the card gives its archive_digest",
            'write archive_digest = "unknown": a digest without a salt lets anybody test a guess at the text',
        )
    if _OF_A_MACHINE.match(source.uri.removeprefix("file:").removeprefix("//")):
        raise Failed(
            f"source {source.name} names a folder of its publisher's machine: {source.uri[:80]}",
            f'write uri = "file://{source.name}", or "unknown"',
        )


def _check_suite(suite: PrivateSuite) -> None:
    if suite.documents < LEAST_DOCUMENTS:
        raise Failed(
            f"private suite {suite.id} is of {suite.documents} document, and its figure would be that of a single text",
            "hold out more: 30 or more say something",
        )
    for name, figure in (("base", suite.base), ("expert", suite.expert)):
        if figure is not None and not figure.low <= figure.value <= figure.high:
            raise Failed(
                f"{name} on private suite {suite.id}: low, value and high are not in order", "measure with `cogen eval`"
            )


def _figures(spec: ExpertSpec) -> str | None:
    """What of a manifest is made of text without being text."""
    if spec.private_suites:
        return "a private suite"
    if spec.statistics is not None:
        return "statistics"
    if spec.samples is not None and spec.samples.embedding is not None:
        return "an embedding of samples"
    return None


def _check_text(text: ShippedText, rules: tuple[SourceRule, ...], strict: bool) -> str:
    """The name of the text's source.

    A text that does not say where it is from may be of any source: all of them have to allow it.
    """
    named = [rule for rule in rules if rule.name == text.source]
    if text.source is not None and not named and strict:
        raise Failed(
            f"{text.where} is of source {text.source[:80]!r}, which the data card does not list",
            f"`source` of a line is the name of a source: {', '.join(rule.name for rule in rules)}",
        )
    unnamed = "" if named else ", of no source that the card lists"
    for rule in named or rules:
        if rule.personal:
            raise Failed(
                f"{text.where}{unnamed}: the personal data of source {rule.name} is {rule.personal_data}, "
                "and such text is never shipped",
                _KEEP,
            )
        if rule.suite_only and text.use == "samples":
            raise Failed(
                f'{text.where}{unnamed}: source {rule.name} says use = "suite", and its text is no sample',
                "take the document out of the samples, or leave `use` out of the source",
            )
        if not rule.allows(text.use):
            raise Failed(
                f'{text.where}{unnamed}: source {rule.name} says leaves = "{rule.leaves}", '
                f"and text in {_USE[text.use]} needs {text.use!r}".replace("'", '"'),
                _KEEP if named else 'name the source in the field "source" of each line',
            )
        if strict and not is_permissive(rule.license):
            raise Failed(
                f"{text.where}{unnamed}: source {rule.name} is under {rule.license}, "
                "which does not let anybody redistribute it",
                _KEEP,
            )
    return named[0].name if named else "a source that is not named"


def shipped_with_personal_data(spec: ExpertSpec) -> Iterator[str]:
    """What an installed expert would be refused for today, by its manifest alone: one line each, for warnings."""
    ships = [name for name, there in (("samples", spec.samples is not None), ("suites", bool(spec.suites))) if there]
    if spec.samples is not None and spec.samples.path is None:
        ships.remove("samples")
    for rule in rules_of(spec.data) if ships else ():
        if oversteps(rule.leaves or "heldout", rule.personal_data):
            yield f"it ships {' and '.join(ships)}, and the personal data of source {rule.name} is {rule.personal_data}"
