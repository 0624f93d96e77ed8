"""The tensors outside feed-forward blocks of a mixture with routing ``prefix``, widened."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from cogen.fusion.moe.assemble import EMBEDDING
from cogen.fusion.moe.prefix.head import ExtraHead
from cogen.fusion.moe.prefix.layout import SHARE, StreamLayout
from cogen.fusion.moe.prefix.operands import WideEmbedding, WideMatrix, WideVector
from cogen.fusion.moe.prefix.reset import ResetHead
from cogen.fusion.moe.prefix.rows import PrefixRows
from cogen.merging.block import Operand

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails

#: Least logit of the public slot for the prefix token, at the sizes that its state has.
FIRST_LOGIT = 48.0
_FIRST_LAYER, _SECOND_LAYER = "model.layers.0.", "model.layers.1."
#: Tokens over which the kernel's mass is summed.
_FAR = 2048
AFTER = "post_attention_layernorm.weight"


class WidenedTensors:
    """The tensors outside feed-forward blocks, with what the extra dimensions and the extra head need.

    :param reset: with turns that reset the average.
    :param read: gives a tensor of the unwidened composite by its name.
    :param prefix: id of the prefix token.
    """

    def __init__(
        self,
        layout: StreamLayout,
        mixture: MoeDetails,
        rows: PrefixRows,
        head: ExtraHead,
        reset: ResetHead | None,
        prefix: int,
        read: Callable[[str], torch.Tensor],
    ) -> None:
        self._layout, self._mixture, self._rows, self._head, self._reset = layout, mixture, rows, head, reset
        self._prefix = prefix
        own = read(EMBEDDING)[prefix].double()
        #: Of the prefix token's mark in the stream, and of the average: powers of two where nothing else is needed.
        self._marked = SHARE * float((own.square().mean() + layout.epsilon).sqrt())
        self._share = SHARE * 2.0 ** round(float(rows.usual[0].log2()))
        #: Of what is the same for all tokens: small beside every embedding.
        self._unit = 0.0 if rows.attended is None else SHARE * 2.0 ** round(float(rows.attended[0].log2()))

    def operand(self, name: str, source: Operand) -> Operand:
        """The widened tensor."""
        import torch

        layout = self._layout
        if name == EMBEDDING:
            wide = (source.shape[0], layout.wide)
            steady = (layout.steady - layout.hidden,) if layout.turns else ()
            return WideEmbedding(source, wide, self._extra(), SHARE, layout.epsilon, steady, self._unit)
        shape = layout.shape(name, source.shape)
        if len(shape) == 2:
            entries = self._entries(name.removeprefix(_FIRST_LAYER)) if name.startswith(_FIRST_LAYER) else []
            if self._reset is not None:
                entries = [*entries, *self._reset_entries(name, self._reset)]
            return WideMatrix(source, (shape[0], shape[1]), tuple(entries))
        if "norm" in name.rsplit(".", 2)[-2]:
            return WideVector(source, layout.factor, self._tail(name))
        return WideVector(source, 1.0, torch.zeros(shape[0] - source.shape[0]))

    def _extra(self) -> torch.Tensor:
        """What the embedding writes into the extra dimensions, as a share: shape (rows, dimensions that it fills)."""
        import torch

        extra = torch.cat([torch.ones(len(self._rows.evidence), 1), torch.zeros(len(self._rows.evidence), 1)], 1)
        extra = torch.cat([extra, self._rows.evidence], 1)
        if self._layout.turns:
            planned, layout = self._mixture.prefix, self._layout
            assert planned is not None
            extra = torch.cat([extra, torch.zeros(len(extra), 2 + layout.evidences)], 1)
            extra[planned.turn, layout.turn - layout.hidden] = 1.0
            extra[:, layout.steady - layout.hidden] = 1.0
        extra[self._prefix] = 0.0
        extra[self._prefix, 1] = 1.0
        return extra

    def _tail(self, name: str) -> torch.Tensor:
        """Weights of a norm for the extra dimensions: what is not read there is 0."""
        import torch

        layout = self._layout
        tail = torch.zeros(layout.wide, dtype=torch.float64)
        place = name.removeprefix("model.layers.").split(".", 1)
        if name == f"{_FIRST_LAYER}input_layernorm.weight":
            tail[layout.constant : layout.mean] = layout.factor / SHARE
            if layout.turns:
                tail[layout.turn] = layout.factor / SHARE
        elif name == f"{_SECOND_LAYER}input_layernorm.weight" and self._rows.attended is not None:
            size = layout.factor * float(self._rows.attended[1])
            tail[layout.steady] = size / self._unit
            # At marks, the only tokens that have something there, the norm gives the average itself.
            tail[layout.past : layout.past + layout.evidences] = layout.factor * self._rows.mark / self._share
        elif place[-1] == AFTER:
            layer = int(place[0])
            tail[layout.mark] = layout.factor * self._reach(layer) / self._marked
            tail[layout.mean : layout.mean + layout.evidences] = (
                layout.factor * float(self._rows.usual[layer]) / self._share
            )
        return tail[layout.hidden :]

    def _reach(self, layer: int) -> float:
        """Size of the stream at which the prefix token's mark is read as 1.

        That of its own at the beginning of a text, or of ordinary tokens, as it has elsewhere, if that is larger.
        Bounded, so that float16 can hold the logit.
        """
        first, usual = float(self._rows.first[layer]), float(self._rows.usual[layer])
        return min(max(first, usual), 1000.0 * first)

    def _entries(self, name: str) -> list[tuple[int, int, float]]:
        """(row, column, value) of the extra head in one matrix of the first layer."""
        layout, head = self._layout, self._head
        query, value = layout.heads * layout.width, layout.groups * layout.width
        entries: list[tuple[int, int, float]] = []
        if name == "self_attn.q_proj.weight":
            entries += _column(query, layout.constant, head.query)
        elif name == "self_attn.k_proj.weight":
            entries += _column(value, layout.constant, head.key) + _column(value, layout.mark, head.sink)
        elif name == "self_attn.v_proj.weight":
            entries += [(value + n, layout.evidence + n, 1.0) for n in range(layout.evidences)]
        elif name == "self_attn.o_proj.weight":
            entries += [(layout.mean + n, query + n, self._share) for n in range(layout.evidences)]
        return entries

    def _reset_entries(self, name: str, reset: ResetHead) -> list[tuple[int, int, float]]:
        """(row, column, value) of what forgets at turns, in one matrix of the first two layers."""
        planned, layout, rows = self._mixture.prefix, self._layout, self._rows
        assert planned is not None
        query, value = layout.heads * layout.width, layout.groups * layout.width
        second, evidences = query + layout.width, range(layout.evidences)
        if name == f"{_FIRST_LAYER}self_attn.q_proj.weight":
            at_marks = _column(second, layout.turn, reset.mark_query - self._head.query)
            return [*_column(second, layout.constant, self._head.query), *at_marks]
        if name == f"{_FIRST_LAYER}self_attn.k_proj.weight":
            return _column(value, layout.turn, reset.mark_key)
        if name == f"{_FIRST_LAYER}self_attn.o_proj.weight":
            first = [(layout.past + n, query + n, self._share) for n in evidences]
            return [*first, *((layout.past + n, second + n, -self._share) for n in evidences)]
        if name == f"{_SECOND_LAYER}self_attn.q_proj.weight":
            return _column(query, layout.steady, reset.query)
        if name == f"{_SECOND_LAYER}self_attn.k_proj.weight":
            return _column(value, layout.steady, reset.key)
        if name == f"{_SECOND_LAYER}self_attn.v_proj.weight":
            return [(value + n, layout.past + n, 1.0) for n in evidences]
        if name == f"{_SECOND_LAYER}self_attn.o_proj.weight":
            taken = planned.reset * rows.kernel.mass(_FAR) * self._share
            return [(layout.mean + n, query + n, -taken) for n in evidences]
        return []

    def routers(self) -> torch.Tensor:
        """Of every layer, shape (slots, wide), float32."""
        import torch

        planned, layout = self._mixture.prefix, self._layout
        assert planned is not None
        rows = torch.zeros(len(self._mixture.slots), layout.wide)
        number = 0
        for slot, id in enumerate(self._mixture.slots):
            if id == "base":
                rows[slot, layout.mark] = FIRST_LOGIT
            else:
                rows[slot, layout.mean : layout.mean + layout.evidences] = (
                    planned.strength * self._rows.readouts[number]
                )
                number += 1
        return rows


def _column(start: int, column: int, values: Iterable[float]) -> list[tuple[int, int, float]]:
    return [(start + i, column, float(value)) for i, value in enumerate(values) if value]
