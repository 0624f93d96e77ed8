"""A LoRA adapter from a fully fine-tuned model: the truncated SVD of its difference from the base."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.gguf import quiet_transformers
from cogen.checkpoints.model import Checkpoint, accumulator
from cogen.errors import CompatibilityError, UsageError
from cogen.merging.configurations import COUNTS, check_same_function
from cogen.merging.lora.svd import factorize, squared_error, squared_norm
from cogen.reporter import SILENT, Reporter
from cogen.untrusted.border import border

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class LoraModule:
    """The result for one module: ``energy`` is ``‖W - W_base‖²``, ``lost`` is ``‖W - W_base - B·A‖²``."""

    name: str
    shape: tuple[int, int]
    rank: int
    energy: float
    lost: float

    @property
    def kept(self) -> float:
        """Share of the energy that the factors hold."""
        return 1 - self.lost / self.energy


@dataclass(frozen=True)
class ExtractedAdapter:
    """Factors as :func:`~cogen.merging.lora.write.write_adapter` takes them, and what they leave out."""

    factors: dict[str, tuple[torch.Tensor, torch.Tensor]] = field(default_factory=dict)
    modules: list[LoraModule] = field(default_factory=list)
    #: Tensors that differ and are not linear weights.
    dropped: list[str] = field(default_factory=list)
    task_type: str | None = None

    @property
    def kept(self) -> float:
        """Share of the energy over all modules together."""
        return 1 - sum(m.lost for m in self.modules) / sum(m.energy for m in self.modules)


def extract(
    model: Checkpoint,
    base: Checkpoint,
    *,
    rank: int | None = None,
    energy: float | None = None,
    skip_others: bool = False,
    seed: int = 0,
    reporter: Reporter = SILENT,
) -> ExtractedAdapter:
    """The adapter over ``base`` that comes nearest to ``model``; modules that are equal are left out.

    The difference is made in the accumulator (float32 for bf16 and fp16, float64 for float32), the factors are float32.
    Memory: one tensor of each model and their difference. ``reporter`` advances by one per tensor.

    :param rank: of every module, as far as its shape allows it. Or:
    :param energy: the share of each module's squared Frobenius norm to keep, in (0, 1].
    :param skip_others: drop differences that a plain LoRA cannot hold (norms, embeddings, biases, tensors that only one
        model has) instead of refusing them.
    :raises UsageError: not exactly one of ``rank`` and ``energy``, or one out of range.
    :raises CompatibilityError: such differences, no difference at all, weights that are not finite, or configurations
        that compute something else: the adapter would run with the base's.
    """
    if (rank is None) == (energy is None):
        raise UsageError("give either a rank or an energy", hint="for example --rank 16, or --energy 0.95")
    if (rank is not None and rank < 1) or (energy is not None and not 0 < energy <= 1):
        raise UsageError("rank must be at least 1, energy in (0, 1]", hint="for example --rank 16, or --energy 0.95")
    linear = linear_weights(base) & {n for n in model.tensors if _fits(model, base, n)}
    counted = COUNTS if model.names() != base.names() else ()
    ignored = ("tie_word_embeddings", *counted)
    check_same_function(base.config, model.config, base.folder.name, model.folder.name, ignored=ignored)
    others = sorted((model.tensors.keys() | base.tensors.keys()) - linear)
    found = ExtractedAdapter(task_type=_task(base))
    # Tensors that may be refused come first: they are small, and a decomposition may take minutes.
    for name in others:
        if not (_fits(model, base, name) and _equal(model, base, name)):
            found.dropped.append(name)
        reporter.advance(1)
    if found.dropped and not skip_others:
        raise CompatibilityError(
            f"a plain LoRA cannot represent the differences of {list_names(found.dropped)}",
            hint="drop their differences with --skip-others, or publish the full model",
        )
    for name in sorted(linear):
        if not _equal(model, base, name):
            _module(found, name, _difference(model, base, name), rank, energy, seed)
        reporter.advance(1)
    if not found.factors:
        raise CompatibilityError(
            f"all linear weights of {model.folder.name} equal those of {base.folder.name}", hint="nothing to extract"
        )
    return found


def _module(
    found: ExtractedAdapter, name: str, matrix: torch.Tensor, rank: int | None, energy: float | None, seed: int
) -> None:
    import torch

    whole = squared_norm(matrix)
    a, b = factorize(matrix, rank=rank, energy=energy, name=name, seed=seed)
    a, b = a.to(torch.float32), b.to(torch.float32)
    module = name.removesuffix(".weight")
    found.factors[module] = a, b
    shape = (matrix.shape[0], matrix.shape[1])
    found.modules.append(LoraModule(module, shape, a.shape[0], whole, squared_error(matrix, a, b)))


def linear_weights(base: Checkpoint) -> set[str]:
    """Weights that peft's LoRA can adapt: those of ``nn.Linear`` modules that are not tied to an embedding.

    The model is built without memory for its weights ("meta" device), so no table of architectures is needed and the
    names are those of the modules that peft will look for.

    :raises CompatibilityError: transformers cannot build it.
    """
    import torch
    import transformers

    hint = "its config.json must name an architecture that the installed transformers has"
    with (
        border(f"transformers cannot build {base.folder.name}", hint=hint, make=CompatibilityError),
        quiet_transformers(),
        torch.device("meta"),
    ):
        config = transformers.AutoConfig.from_pretrained(base.folder, local_files_only=True, trust_remote_code=False)
        kind: Any = getattr(transformers, (config.architectures or ["AutoModelForCausalLM"])[0], None)
        model_class = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
        automatic: Any = transformers.AutoModelForCausalLM
        model = kind(config) if model_class else automatic.from_config(config)
    uses: dict[int, int] = {}
    for _, parameter in model.named_parameters(remove_duplicate=False):
        uses[id(parameter)] = uses.get(id(parameter), 0) + 1
    weights = {f"{n}.weight": m.weight for n, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    return {
        name
        for name, weight in weights.items()
        if uses[id(weight)] == 1 and name in base.tensors and base.tensors[name].shape == tuple(weight.shape)
    }


def _fits(model: Checkpoint, base: Checkpoint, name: str) -> bool:
    one, other = model.tensors.get(name), base.tensors.get(name)
    return one is not None and other is not None and one.shape == other.shape


def _equal(model: Checkpoint, base: Checkpoint, name: str) -> bool:
    """Are all values the same, whatever type they are stored in?"""
    import torch

    one, other = model.read(name), base.read(name)
    wide = torch.promote_types(one.dtype, other.dtype)
    return torch.equal(one.to(wide), other.to(wide))


def _difference(model: Checkpoint, base: Checkpoint, name: str) -> torch.Tensor:
    import torch

    kinds = [accumulator(getattr(torch, checkpoint.tensors[name].dtype)) for checkpoint in (model, base)]
    found: torch.Tensor = model.read(name, torch.float64 if torch.float64 in kinds else torch.float32)
    found -= base.read(name)
    if not found.isfinite().all():
        raise CompatibilityError(f"the values of {name} are not all finite", hint="one of the two models is damaged")
    return found


def _task(base: Checkpoint) -> str | None:
    """peft's task type, as far as the class of the model says it."""
    kinds = {"ForCausalLM": "CAUSAL_LM", "ForSequenceClassification": "SEQ_CLS", "ForTokenClassification": "TOKEN_CLS"}
    name = str((base.config.get("architectures") or [""])[0])
    return next((task for ending, task in kinds.items() if name.endswith(ending)), None)


def list_names(names: Sequence[str], most: int = 5) -> str:
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
