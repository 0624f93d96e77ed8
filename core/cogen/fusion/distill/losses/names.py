"""The losses by name; nothing here imports torch."""

from __future__ import annotations

#: Name → what it is, in half a sentence.
LOSSES = {
    "uld": "sorted top-10 logits, standardised (InfiFusion, arXiv:2501.02795)",
    "alm": "likelihood of chunks of the same bytes (ALM, arXiv:2503.20083)",
    "p_kl": "divergence after projecting the vocabulary (X-Token P-KL, arXiv:2605.21699)",
    "piece_kl": "divergence of the next token, the teacher's tokens cut into the student's pieces",
    "h_kl": "divergence on shared tokens, sorted differences on the rest (X-Token H-KL, arXiv:2605.21699)",
    "graph": "uld and the graph of logits (InfiGFusion, arXiv:2505.13893)",
    "kl": "divergence of the next token, for one tokenizer only",
    "gold": "divergence on shared tokens, sorted differences on the rest (TRL's GOLD); a baseline",
    "mined": "the teacher's tokens by least edit distance (FuseLLM, arXiv:2401.10491); a baseline",
}
#: Learned from pairs of answers rather than from texts.
PREFERENCES = {
    "infifpo": "preferences against the clipped fusion of teachers (InfiFPO, arXiv:2505.13878)",
    "dpo": "preferences against the initial student (DPO, arXiv:2305.18290)",
}


def known() -> dict[str, str]:
    """Every method of strategy distill, with what it is."""
    return LOSSES | PREFERENCES
