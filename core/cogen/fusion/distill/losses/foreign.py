"""A plugin's loss as the training calls it: what it raises, and what it answers that is none, names the plugin."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from cogen.fusion.distill.losses.reads import Reads, SeenTokens
from cogen.fusion.distill.teachers.needs import TeacherStatistics
from cogen.host.foreign import of_plugin, plugin_error

if TYPE_CHECKING:
    import torch

    from cogen.fusion.distill.losses.loss import DistillBatch, Loss

R = TypeVar("R")
_PARTS = ("name", "needs", "rows", "reads", "total")


@dataclass(frozen=True)
class ForeignLoss:
    """A :class:`~cogen.fusion.distill.losses.loss.Loss` around one of a plugin: the same numbers, or a PluginError.

    :param target: what the plugin registered, "package.module:attribute".
    :param what: "loss mine". Workers get it pickled, so it holds no function.
    """

    target: str
    what: str
    inner: Loss

    @property
    def name(self) -> str:
        return str(self._call(lambda: self.inner.name))

    @property
    def needs(self) -> TeacherStatistics:
        return checked_needs(self.target, self.what, self._call(lambda: self.inner.needs))

    def rows(self, batch: DistillBatch) -> torch.Tensor:
        rows: Any = self._call(lambda: self.inner.rows(batch))
        if not _whole(rows) or rows.dim() != 1:
            self._wrong(f"rows() gave {_kind(rows)}, not row numbers: one dimension, int64")
        if len(rows) and (int(rows[0]) < 0 or int(rows[-1]) >= len(batch.targets) or bool((rows.diff() <= 0).any())):
            self._wrong(f"rows() gave numbers that are not ascending, or not among the {len(batch.targets)} rows")
        found: torch.Tensor = rows
        return found

    def reads(self, batch: DistillBatch, width: int) -> Reads:
        reads: Any = self._call(lambda: self.inner.reads(batch, width))
        if not isinstance(reads, Reads):
            self._wrong(f"reads() gave {_kind(reads)}, not Reads")
        columns = reads.columns
        if columns is not None:
            if not _whole(columns) or columns.dim() != 2:
                self._wrong(f"reads() gave {_kind(columns)} as columns: two dimensions, int64, are needed")
            if columns.numel() and not 0 <= int(columns.min()) <= int(columns.max()) < width:
                self._wrong(f"reads() gave columns that are not among the {width} of the vocabulary")
        if type(reads.top) is not int or not 0 <= reads.top <= width:
            self._wrong(f"reads() asks for the {str(reads.top)[:40]} largest logits of {width}")
        return reads

    def total(self, seen: SeenTokens, batch: DistillBatch) -> tuple[torch.Tensor, int]:
        import torch

        answer: Any = self._call(lambda: self.inner.total(seen, batch))
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._wrong(f"total() gave {_kind(answer)}, not the sum and how many it is a sum of")
        total, count = answer
        if not isinstance(total, torch.Tensor) or not total.is_floating_point() or total.dim():
            self._wrong(f"total() gave {_kind(total)} as the sum, not a tensor with one number")
        if not bool(total.isfinite()):
            self._wrong(f"total() gave {float(total)}")
        if not isinstance(count, int):
            self._wrong(f"total() gave {_kind(count)}, not how many the sum is of")
        return total, count

    def _call(self, function: Callable[[], R]) -> R:
        return of_plugin(self.target, function, self.what)()

    def _wrong(self, problem: str) -> NoReturn:
        raise plugin_error(self.target, f"{self.what}: {problem}")


def checked_needs(target: str, what: str, needs: object) -> TeacherStatistics:
    """What a plugin says that its loss needs of a teacher.

    :raises PluginError: it is something else.
    """
    if not isinstance(needs, TeacherStatistics):
        raise plugin_error(target, f"{what}: it needs {_kind(needs)}, not TeacherStatistics")
    if any(type(value) is not int or not 0 <= value <= 1 << 16 for value in (needs.top, needs.sparse)):
        raise plugin_error(target, f"{what}: it needs {needs.top!r} and {needs.sparse!r} logits a row"[:200])
    return needs


def checked_losses(target: str, what: str, made: object) -> list[Loss]:
    """What a plugin made as the losses of one student and one teacher.

    :raises PluginError: it is something else than a list of losses.
    """
    if not isinstance(made, list | tuple) or not made:
        raise plugin_error(target, f"{what}: make() gave {_kind(made)}, not a list of losses")
    for one in made:
        if lacking := [part for part in _PARTS if not hasattr(type(one), part) and part not in _fields(one)]:
            raise plugin_error(target, f"{what}: make() gave {_kind(one)}, which has no {lacking[0]}: it is no loss")
    return [ForeignLoss(target, what, one) for one in made]


def _fields(value: object) -> dict[str, object]:
    """Attributes of the object itself: a property of a stranger may raise, and is not asked here."""
    found: dict[str, object] = getattr(value, "__dict__", {})
    return found


def _whole(value: Any) -> bool:
    import torch

    return isinstance(value, torch.Tensor) and value.dtype == torch.int64


def _kind(value: object) -> str:
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"a tensor of {value.dtype} of shape {tuple(value.shape)}"
    return f"a {type(value).__name__}"
