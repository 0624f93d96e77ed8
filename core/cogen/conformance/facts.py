"""What the manifest says of its weights, compared with the weights themselves; nothing is loaded."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from cogen.checkpoints.facts import facts_of, first_mismatch
from cogen.checkpoints.finite import first_not_finite
from cogen.conformance.result import Failed
from cogen.host import Expert
from cogen.spec.model import WeightsRef


def weights_here(expert: Expert) -> Iterator[tuple[str, WeightsRef, Path]]:
    """(what it is, what the manifest says, folder) of the weights that lie in the expert's distribution: those of the
    expert, and those of a base that is shipped beside it."""
    for what, ref in (("the weights", expert.spec.model), ("the base's weights", expert.spec.model.base)):
        if ref is None or not ref.source.startswith("package://"):
            continue
        package, _, inside = ref.source.removeprefix("package://").partition("/")
        folder = expert.root.parent / package / inside if package != expert.root.name else expert.root / inside
        if folder.exists():
            yield what, ref, folder


def check_facts(expert: Expert) -> str:
    """Format, relation, parameters, dtype, architecture, context length and weights digest are those of the weights.

    :raises Failed: names the first that is not, or a tensor with NaN or infinity in it.
    """
    seen = []
    for what, ref, folder in weights_here(expert):
        if (wrong := first_mismatch(ref, folder)) is not None:
            raise Failed(f"{what}: {wrong.message}", wrong.hint.replace("NAME", expert.id))
        if ref.format != "gguf" and (tensor := first_not_finite(facts_of(folder).tensors)) is not None:
            raise Failed(f"{what}: {tensor} holds NaN or infinity: nobody can use them", "train again")
        seen.append(what)
    if not seen:
        return "the weights are not in the package: they are compared when they are opened"
    model = expert.spec.model
    return f"{' and '.join(seen)} are as described: {model.relation}, {model.parameters:,} parameters, {model.dtype}"
