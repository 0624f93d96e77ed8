"""Do weights come from the base that is named? By names and shapes; whole models also by the direction of weights."""

from __future__ import annotations

from collections.abc import Iterator

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.facts import WeightFacts
from cogen.checkpoints.safetensors_file import read_tensor
from cogen.errors import CompatibilityError
from cogen.spec.model import BaseRef

#: Matrices that are compared, and elements of each.
_MATRICES, _ELEMENTS = 8, 1 << 20
#: Cosine of the angle between weights of two trainings that began apart is about 0; of a fine-tune, above 0.9.
_RELATED = 0.5
_OTHER_BASE = "name the model that it was trained from, or leave --base out to describe it as trained from scratch"


def check_adapter_fits(adapter: WeightFacts, base: WeightFacts, name: str, base_name: str) -> None:
    """What an adapter changes is in the base, in the same shape.

    :raises CompatibilityError: names the first that has not.
    """
    folder = next(iter(adapter.tensors.values())).file.parent
    found = read_adapter(folder)
    for weight in sorted(found.pairs):
        info, shape = base.tensors.get(weight), found.shape(weight)
        if info is None or info.shape != shape:
            has = "has none" if info is None else f"has shape {info.shape}"
            raise CompatibilityError(
                f"the adapter {name} changes {weight} of shape {shape}, and {base_name} {has}",
                hint="name the base that it was trained from: --base hf://org/repo, a folder or a known base",
            )
    tied = not any(weight.endswith(("lm_head.weight", "embed_out.weight")) for weight in base.tensors)
    if tied:
        found = found.for_tied(base.tensors)
    found.check_fit(base.tensors, tied, f"the adapter {name}", base_name)


def check_descends(model: WeightFacts, base: WeightFacts, name: str, ref: BaseRef) -> None:
    """A full fine-tune has the tensors of its base (rows of the vocabulary may differ), and changed them.

    :raises CompatibilityError: it has others, equals its base, or has nothing to do with it.
    """
    for tensor in sorted(model.tensors.keys() | base.tensors.keys()):
        own, theirs = model.tensors.get(tensor), base.tensors.get(tensor)
        if tensor == "lm_head.weight" and (own is None or theirs is None):
            continue  # tied on one side: the embedding stands for it
        if own is None or theirs is None or own.shape[1:] != theirs.shape[1:]:
            shapes = [str(info.shape) if info else "missing" for info in (own, theirs)]
            raise CompatibilityError(
                f"{name} is no fine-tune of {ref.name}: {tensor} is {shapes[0]} and {shapes[1]}", hint=_OTHER_BASE
            )
    cosines = list(_cosines(model, base))
    if not cosines:
        return
    if min(cosines) == 1.0 and _equal(model, base):
        raise CompatibilityError(f"{name} has the weights of its base {ref.name}", hint="name the fine-tuned model")
    if (mean := sum(cosines) / len(cosines)) < _RELATED:
        raise CompatibilityError(
            f"{name} does not descend from {ref.name}: the cosine between their weights is {mean:.2f}",
            hint=_OTHER_BASE,
        )


def _cosines(model: WeightFacts, base: WeightFacts) -> Iterator[float]:
    """Of some matrices of equal shape, evenly over the names."""
    import torch

    both = ((name, info.shape) for name, info in sorted(model.tensors.items()))
    same = [name for name, shape in both if len(shape) == 2 and _shape(base, name) == shape]
    step = max(1, len(same) // _MATRICES)
    for name in same[::step][:_MATRICES]:
        rows = max(1, _ELEMENTS // max(1, model.tensors[name].shape[1]))
        a, b = (read_tensor(facts.tensors[name])[:rows].double().flatten() for facts in (model, base))
        if torch.equal(a, b):
            yield 1.0
        elif (length := float(a.norm() * b.norm())) > 0:
            yield float(a @ b) / length


def _shape(facts: WeightFacts, name: str) -> tuple[int, ...] | None:
    return facts.tensors[name].shape if name in facts.tensors else None


def _equal(model: WeightFacts, base: WeightFacts) -> bool:
    import torch

    for name, info in model.tensors.items():
        own = read_tensor(info)
        if _shape(base, name) != info.shape or not torch.equal(own, read_tensor(base.tensors[name]).to(own.dtype)):
            return False
    return True
