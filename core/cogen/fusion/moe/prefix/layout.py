"""Shapes of the widened model: where the extra dimensions and heads lie, and how large every tensor becomes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cogen.fusion.details import MoeDetails

#: The stream is widened to a multiple of this: a block of llama.cpp's Q8_0, so that evidence has scales of its own,
#: and whole tiles of matrix kernels.
ALIGNED = 32
#: Value of an extra dimension in the embedding as a share of the token's own root mean square. Small, so that norms do
#: not notice; a power of two, so that nothing is rounded.
SHARE = 2.0**-8


@dataclass(frozen=True)
class StreamLayout:
    """Sizes of the base, and of its widened copy.

    :param hidden: width of the base's stream; ``wide``: after widening.
    :param heads, groups: query heads and key-value heads of the base; ``width``: dimensions of each.
    :param evidences: dimensions that evidence is kept in: one for each expert, or as many as the extra head carries,
        if there are more experts.
    :param epsilon: of the base's norms.
    :param turns: the average forgets what stands before the user's newest message.
    """

    hidden: int
    wide: int
    heads: int
    groups: int
    width: int
    evidences: int
    epsilon: float
    turns: bool = False

    @property
    def extra_heads(self) -> int:
        """Query heads that share a key-value head; one of the extra ones averages, with ``turns`` a second one shows
        what stood before a turn, and the others stay zero."""
        return self.heads // self.groups

    @property
    def factor(self) -> float:
        """What a norm's weights are multiplied by: it divides by the mean over more dimensions."""
        return math.sqrt(self.hidden / self.wide)

    # ---- the extra dimensions ---------------------------------------------------------------------

    @property
    def constant(self) -> int:
        """1 for every token but the prefix token."""
        return self.hidden

    @property
    def mark(self) -> int:
        """1 for the prefix token."""
        return self.hidden + 1

    @property
    def evidence(self) -> int:
        """First of the token's evidence."""
        return self.hidden + 2

    @property
    def mean(self) -> int:
        """First of the average that the extra head writes."""
        return self.evidence + self.evidences

    @property
    def turn(self) -> int:
        """With ``turns``: 1 for the token that begins a message of the user."""
        return self.mean + self.evidences

    @property
    def steady(self) -> int:
        """With ``turns``: the same absolute value for every token but the prefix token."""
        return self.turn + 1

    @property
    def past(self) -> int:
        """With ``turns``: first of the average as it stands where a message of the user begins, 0 elsewhere."""
        return self.steady + 1

    def shape(self, name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Of a tensor of the base outside feed-forward blocks, after widening."""
        wide, queries = self.wide, (self.heads + self.extra_heads) * self.width
        values = (self.groups + 1) * self.width
        place = name.rsplit(".", 2)[-2]
        rows = {"q_proj": queries, "k_proj": values, "v_proj": values, "o_proj": wide}
        if place in rows:
            return (rows[place], *((queries if place == "o_proj" else wide,) if len(shape) == 2 else ()))
        if place in ("q_norm", "k_norm"):
            return shape
        return (shape[0], wide) if len(shape) == 2 else (wide,)


def layout_of(config: Mapping[str, Any], experts: int, *, turns: bool = False, wide: int | None = None) -> StreamLayout:
    """
    :param config: every field of the base's configuration.
    :param wide: of a plan; default: the least that holds everything.
    """
    hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
    width = int(config.get("head_dim") or hidden // heads)
    evidences = min(experts, width)
    needed = hidden + (4 + 3 * evidences if turns else 2 + 2 * evidences)
    return StreamLayout(
        hidden=hidden,
        wide=-(-needed // ALIGNED) * ALIGNED if wide is None else wide,
        heads=heads,
        groups=int(config.get("num_key_value_heads") or heads),
        width=width,
        evidences=evidences,
        epsilon=float(config["rms_norm_eps"]),
        turns=turns,
    )


def planned_layout(config: Mapping[str, Any], mixture: MoeDetails) -> StreamLayout:
    """Of a plan with routing prefix: as it says, so that the plans of earlier versions keep theirs."""
    assert mixture.prefix is not None
    turns = mixture.prefix.turn is not None
    return layout_of(config, len(mixture.slots) - 1, turns=turns, wide=mixture.prefix.hidden)


def of_whole_heads(layout: StreamLayout) -> int:
    """The width of a stream that is as wide as all query heads together, as in the base; that of ``layout`` where the
    base is not so, or where the extra dimensions need more room than the extra heads make.
    """
    whole = (layout.heads + layout.extra_heads) * layout.width
    alike = layout.hidden == layout.heads * layout.width
    return whole if alike and whole >= layout.wide else layout.wide


def widened_config(made: Mapping[str, Any], layout: StreamLayout) -> dict[str, Any]:
    """``config.json`` of a mixture as it is for the widened stream."""
    return dict(
        sorted(
            {
                **made,
                "hidden_size": layout.wide,
                "num_attention_heads": layout.heads + layout.extra_heads,
                "num_key_value_heads": layout.groups + 1,
                "head_dim": layout.width,
                "rms_norm_eps": layout.epsilon * layout.hidden / layout.wide,
            }.items()
        )
    )
