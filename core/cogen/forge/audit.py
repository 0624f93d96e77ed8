"""The privacy audit of a recipe's expert: which texts and canaries it is measured on, and what the card keeps."""

from __future__ import annotations

import datetime
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import Checkpoint
from cogen.forge.blocks import separator_id
from cogen.forge.build import PreparedTraining
from cogen.forge.recipe import AuditRecipe, TrainRecipe
from cogen.privacy.canaries import CANDIDATES, MOST, Exposure, exposure
from cogen.privacy.extraction import CONTINUATION, PREFIX, Passage, passages, shares_in_place
from cogen.privacy.losses import mean_losses
from cogen.privacy.membership import Separation, separation
from cogen.privacy.verdict import Findings, judge, too_few
from cogen.reporter import SILENT, Reporter, begin
from cogen.spec.data import Audit
from cogen.spec.expert import ExpertSpec
from cogen.spec.sizes import round_count
from cogen.training.trainer import set_threads

T = TypeVar("T")

#: Tokens of a document that the membership test reads.
_READ = 128


def wants_audit(recipe: TrainRecipe) -> bool:
    """An audit ends the training of private text, and of what says so in ``[audit]``."""
    return recipe.private if recipe.audit is None else recipe.audit.enabled


def audit_expert(
    prepared: PreparedTraining,
    expert: Checkpoint,
    settings: AuditRecipe | None = None,
    reporter: Reporter = SILENT,
    trained_canaries: bool = True,
) -> Audit:
    """Measure what ``expert``, trained by this recipe, reveals of its training text; the same figures every time.

    :param settings: sizes; default: the recipe's.
    :param trained_canaries: False: the expert was trained on other canaries than those of ``prepared``, or on none.
    """
    settings = settings or prepared.recipe.audit or AuditRecipe(canaries=0)
    recipe = prepared.recipe.training
    read = _read(prepared)
    documents = [prepared.encoded[index] for index in read]
    asked = passages(documents, settings.prefixes, recipe.seed)
    members, others = _compared(prepared, read, settings.documents)
    if silent := lets_nothing_leave(prepared.recipe):
        # Counts below those asked for are the size of the corpus: round numbers of it are measured instead.
        asked, members, others = (_rounded(found) for found in (asked, members, others))
    missing = [why for why in (too_few(len(members), len(others)),) if why]
    canaries = prepared.canaries if trained_canaries else None
    if not canaries:
        missing.append("canaries: not checked, training read none that are known here")
    set_threads(recipe.threads)
    scored = [*members, *others] if not too_few(len(members), len(others)) else []
    tokens = 2 * (len(asked) * (PREFIX + CONTINUATION) + sum(min(len(ids), _READ) for ids in scored))
    if canaries:
        tokens += 12 * CANDIDATES
    run = _Measuring(tokens, reporter, scored, asked)
    own = run.measure(lambda: load_model(expert, "float32"), "expert")
    shown: Exposure | None = None
    if canaries:
        lead = separator_id(prepared.tokenizer)
        shown = exposure(run.model, prepared.tokenizer, lead, canaries.secrets, recipe.seed, reporter)
    base = run.measure(lambda: load_model(prepared.base, "float32"), "base")
    apart: Separation | None = None
    if scored:
        gains = [before - after for before, after in zip(base.losses, own.losses, strict=True)]
        apart = separation(gains[: len(members)], gains[len(members) :])
    found = Findings(
        shown,
        own.in_place,
        base.in_place,
        apart,
        len(members),
        len(others),
        float(f"{_passes(prepared):.3g}"),
        tuple(missing),
        passes_shown=not silent,
    )
    return _audit(found)


def with_audit(spec: ExpertSpec, audit: Audit) -> ExpertSpec:
    """The manifest with the audit in its card, which version 1 does not know."""
    data = spec.data.model_copy(update={"audit": audit})
    return spec.model_copy(update={"schema_version": 2, "data": data})


class _Measured:
    """Of one model: mean losses of the scored documents, shares in place of the passages."""

    def __init__(self, losses: list[float], in_place: list[float]) -> None:
        self.losses, self.in_place = losses, in_place


class _Measuring:
    """The same texts, read by one model after the other; only one is in memory."""

    def __init__(
        self, tokens: int, reporter: Reporter, scored: Sequence[Sequence[int]], asked: Sequence[Passage]
    ) -> None:
        self.tokens, self.reporter, self.scored, self.asked = tokens, reporter, scored, asked
        self.model: Any = None

    def measure(self, load: Callable[[], Any], name: str) -> _Measured:
        first = self.model is None
        self.model = None
        self.model = load()
        if first:
            self._say_cost()
            begin(self.reporter, "privacy audit", self.tokens, "tokens")
        self.reporter.describe(f"privacy audit: {name}")
        losses = mean_losses(self.model, self.scored, _READ, self.reporter)
        return _Measured(losses, shares_in_place(self.model, self.asked, self.reporter))

    def _say_cost(self) -> None:
        """Time a little of it and scale up."""
        texts = [passage.prefix for passage in self.asked] or self.scored
        probe = [ids[:PREFIX] for ids in texts[:8]]
        if not probe:
            return
        mean_losses(self.model, probe[:1])  # the first pass brings the weights into memory, and is not counted
        began = time.perf_counter()
        mean_losses(self.model, probe)
        seconds = (time.perf_counter() - began) * self.tokens / sum(map(len, probe))
        about = f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"
        self.reporter.note(f"privacy audit: {self.tokens:,} tokens, about {about}")


def _read(prepared: PreparedTraining) -> list[int]:
    """Indices of the training documents that the first pass reads whole; of Poisson samples all documents."""
    training = prepared.recipe.training
    if training.privacy is not None:  # which ones were drawn is nobody's to know
        return list(range(len(prepared.encoded)))
    # Blocks of whole conversations are partly empty: what half of them hold was read for certain.
    left, found = prepared.own_tokens // (2 if training.data == "chat" else 1), []
    for index, ids in enumerate(prepared.encoded):
        left -= len(ids)
        if left < 0:
            break
        found.append(index)
    return found


def _passes(prepared: PreparedTraining) -> float:
    """How often a document was read on average."""
    training = prepared.recipe.training
    if training.privacy is not None:
        return training.steps * training.batch_size * training.gradient_accumulation / len(prepared.encoded)
    return prepared.own_tokens / max(1, sum(map(len, prepared.encoded)))


def _compared(prepared: PreparedTraining, read: Sequence[int], limit: int) -> tuple[list[list[int]], list[list[int]]]:
    """Training documents and held-out ones of the same sources, in the held-out ones' proportions; token ids.

    Sources that are held out only have no members: a test on them would tell sources apart, not members.
    """
    corpus, rng = prepared.corpus, random.Random(f"{prepared.recipe.training.seed} membership")
    others_only = {source.name for source in prepared.recipe.corpus.suite_sources}
    held = [document for document in corpus.held if document.source not in others_only]
    others = prepared.encode(rng.sample(held, min(limit, len(held)))) if held else []
    counts = Counter(document.source for document in held)
    members: list[list[int]] = []
    for source, count in sorted(counts.items()):
        own = [index for index in read if corpus.train[index].source == source]
        wanted = min(len(own), round(limit * count / len(held)))
        members += [prepared.encoded[index] for index in rng.sample(own, wanted)]
    # A conversation that did not fit has no tokens.
    return [ids for ids in members if ids], [ids for ids in others if ids]


def _audit(found: Findings) -> Audit:
    verdict, notes = judge(found)
    apart, shown = found.membership, found.exposure
    asked = max(1, len(found.expert))
    return Audit(
        date=datetime.date.today().isoformat(),
        verdict=verdict,
        canaries=len(shown.bits) if shown else 0,
        canary_exposure=round(shown.greatest, 2) if shown else "unknown",
        canary_exposure_most=MOST if shown else "unknown",
        extraction_prefixes=len(found.expert),
        extraction=round(sum(share == 1 for share in found.expert) / asked, 4),
        extraction_base=round(sum(share == 1 for share in found.base) / asked, 4),
        membership_documents=found.members + found.others if apart else 0,
        membership_auc=round(apart.auc, 4) if apart else "unknown",
        membership_low=round(apart.low, 4) if apart else "unknown",
        membership_high=round(apart.high, 4) if apart else "unknown",
        passes=found.passes if found.passes_shown else "unknown",
        notes=notes,
    )


def _rounded(found: list[T]) -> list[T]:
    """As many of them as :func:`cogen.spec.sizes.round_count` says; the same ones every time."""
    return random.Random(len(found)).sample(found, round_count(len(found)))


def lets_nothing_leave(recipe: TrainRecipe) -> bool:
    """Does some source let nothing leave? Then no number may tell the size of the whole corpus."""
    return any(source.leaves == "nothing" for source in recipe.corpus.sources)
