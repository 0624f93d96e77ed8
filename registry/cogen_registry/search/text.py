"""What search reads of an expert."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cogen.sharing.pairs import with_pairs

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec


def text_of(spec: ExpertSpec) -> str:
    """Title, summary, domains, languages, sources, suites and limits, one a line, the most telling first.

    An embedding model reads the first few hundred words only; full text reads all of it. What an expert is *not* for
    is left out: who searches "diagnosis" is not looking for what warns of it. Text of scripts without spaces stands
    once more in pairs of characters, on the last line.
    """
    card = spec.data
    lines = [
        spec.title,
        spec.summary,
        ", ".join(spec.domains),
        spec.id.replace("-", " "),
        spec.publisher,
        *(suite.title for suite in spec.suites),
        *(suite.title for suite in spec.private_suites),
        *(() if card.sources == "unknown" else (source.name for source in card.sources)),
        card.biases,
        card.limitations,
        spec.model.name,
        ", ".join(spec.languages),
    ]
    if spec.model.base is not None:
        lines.append(" ".join(filter(None, (spec.model.base.name, spec.model.base.upstream))))
    text = "\n".join(dict.fromkeys(" ".join(line.split()) for line in lines if line and line != "unknown"))
    return with_pairs(text)
