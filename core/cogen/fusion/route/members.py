"""The models of a route, of which one at a time is loaded."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.digests import tokenizer_digest
from cogen.checkpoints.load import load_expert, load_expert_tokenizer, load_model, load_tokenizer, own_loaders
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.errors import DigestError
from cogen.evals import model_digest
from cogen.evals.matrix import BASE
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.host import Expert, Host
    from cogen.spec.model import BaseRef


@dataclass(frozen=True)
class Member:
    """A model by its row's name; ``load(dtype)`` gives it in eval mode, and keeps no hold of it.

    ``parameters`` are those that a token goes through; ``digest`` is :func:`~cogen.evals.model_digest`, the key of what
    was measured of it.
    """

    id: str
    digest: str
    tokenizer: Any
    tokenizer_digest: str
    load: Callable[[str], Any]
    parameters: int = 0


def open_base(ref: BaseRef, reporter: Reporter = SILENT) -> Member:
    """The fallback; fetches it."""
    checkpoint = open_weights(ref, reporter=reporter)
    tokenizer = load_tokenizer(checkpoint.folder)
    return Member(
        BASE,
        model_digest(checkpoint),
        tokenizer,
        tokenizer_digest(tokenizer),
        lambda dtype: load_model(checkpoint, dtype),
        _size(checkpoint),
    )


def open_expert(host: Host, expert: Expert, reporter: Reporter = SILENT) -> Member:
    """
    :raises DigestError: its weights or its tokenizer are not those of its manifest.
    """
    spec = expert.spec
    checkpoint = open_weights(spec.model, reporter=reporter)
    tokenizer = load_expert_tokenizer(host, spec, checkpoint)
    digest = tokenizer_digest(tokenizer)
    if digest != spec.tokenizer.digest:
        raise DigestError(
            f"the tokenizer of {spec.id} is not the one that its manifest promises", hint=f"tell {spec.publisher}"
        )
    return Member(
        spec.id,
        model_digest(checkpoint, own_loaders(host)),
        tokenizer,
        digest,
        lambda dtype: load_expert(host, spec, checkpoint, dtype),
        _size(checkpoint),
    )


def _size(checkpoint: Checkpoint) -> int:
    """Parameters that a token goes through."""
    return sum(info.numel for info in checkpoint.tensors.values())


def open_members(
    host: Host, experts: Sequence[Expert], fallback: BaseRef | None, reporter: Reporter = SILENT
) -> dict[str, Member]:
    """The base, if there is one, then the experts by id."""
    found = {BASE: open_base(fallback, reporter)} if fallback is not None else {}
    for expert in sorted(experts, key=lambda expert: expert.id):
        found[expert.id] = open_expert(host, expert, reporter)
    return found


class OneAtATime:
    """Loads a member when it is asked for, and lets the former one go first.

    :param members: id → function that opens it; each is opened once.
    """

    def __init__(self, members: Mapping[str, Callable[[], Member]], dtype: str) -> None:
        self._members, self._dtype = members, dtype
        self._id, self._model, self._tokenizer = "", None, None

    def get(self, id: str) -> tuple[Any, Any]:
        """Model and tokenizer. The caller holds on to neither, or two models are in memory."""
        if id != self._id:
            self._id, self._model, self._tokenizer = "", None, None
            gc.collect()  # modules of torch refer to each other in circles
            member = self._members[id]()
            self._model, self._tokenizer = member.load(self._dtype), member.tokenizer
            self._id = id
        return self._model, self._tokenizer
