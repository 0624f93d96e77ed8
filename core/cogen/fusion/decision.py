"""What a plan records of the vocabulary of its composite, so that it can be compared with another one."""

from __future__ import annotations

import hashlib

import numpy as np

from cogen.fusion.plan import PlannedVocabulary
from cogen.merging.vocabulary import Vocabulary
from cogen.spec.expert import canonical_digest


def planned_vocabulary(vocabulary: Vocabulary, tokenizer: str) -> PlannedVocabulary:
    """
    :param vocabulary: of the base (0) and of the plan's experts.
    :param tokenizer: digest of the composite's tokenizer.
    """
    tokens = [{*own.ids} for own in vocabulary.facts.tokens]
    composite = {*vocabulary.facts.target.ids}
    return PlannedVocabulary(
        tokenizer_digest=tokenizer,
        size=vocabulary.size,
        added=len(composite - tokens[0]),
        dropped=len(set.union(*tokens) - composite),
        digest=_decided(vocabulary),
        notes=vocabulary.notes,
    )


def _decided(vocabulary: Vocabulary) -> str:
    """Digest of all tokens, of the row that each model takes for each, and of what changes in the configuration."""
    rows = []
    for model, rules in sorted(vocabulary.rules.items()):
        digest = hashlib.sha256()
        sums, donors = rules.sums, [p for _, p in sorted(rules.donors.items())]
        parts = [rules.which, rules.row, sums.start, sums.source, sums.row, sums.coefficient]
        for part in [*parts, *(array for p in donors for array in (p.wanted, p.numbers, p.shared, p.own))]:
            digest.update(np.int64(len(part)).astype("<i8").tobytes())
            digest.update(np.ascontiguousarray(part).astype("<f8" if part.dtype.kind == "f" else "<i8").tobytes())
        rows.append([model, digest.hexdigest()])
    return canonical_digest(
        {
            "tokens": [[id, token] for id, (token, _) in sorted(vocabulary.facts.target.entries.items())],
            "size": vocabulary.size,
            "tensors": list(vocabulary.names),
            "rows": rows,
            "config": vocabulary.config_changes,
            "generation": vocabulary.generation_changes,
        }
    )
