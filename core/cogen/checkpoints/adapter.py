"""A PEFT LoRA adapter as changes of its base's tensors, computed so that every machine gets the same bits.

What an adapter may hold, and what it makes of a tensor W of its base (s: the scale):

- LoRA, with patterns of rank and alpha, rank-stabilised or not: ``W + s·B·A``; on an embedding, and where a layer
  stores its weight as (in, out), ``W + s·(B·A)ᵀ``.
- DoRA (arXiv:2402.09353): ``m / ‖W + s·B·A‖ · (W + s·B·A)``, norm and magnitude m by row.
- ``lora_bias``: the bias ``b + s·b'``.
- Trained biases and ``modules_to_save``: a tensor in the place of W.
- ``trainable_token_indices``: rows in the place of some rows of W.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.adapter_config import read_config, unknown_option
from cogen.checkpoints.adapter_targets import not_targeted
from cogen.checkpoints.adapter_tensors import AdapterTensors, sort_tensors
from cogen.checkpoints.safetensors_file import TensorInfo, read_folder, read_tensor
from cogen.errors import CompatibilityError, SourceError

if TYPE_CHECKING:
    import torch

#: Options that change what an adapter does in a way that has no closed form here, with the values that do not.
_PLAIN = {
    "peft_type": "LORA",
    "use_qalora": False,
    "layer_replication": None,
    "alora_invocation_tokens": None,
    "target_parameters": None,
    "use_bdlora": None,
    "arrow_config": None,
    "kasa_config": None,
    "monteclora_config": None,
}
#: Initialisations that leave the base's weights alone; PiSSA, OLoRA, LoftQ, CorDA and LoRA-GA change them.
_PLAIN_INIT = (True, False, None, "gaussian", "orthogonal", "eva")
#: Of those, what peft can turn into plain LoRA when it saves.
_CONVERTIBLE = ("pissa", "olora", "corda", "lora_ga")
#: Names that transformers' architectures give to the output embedding, and to both.
_HEADS = ("lm_head", "embed_out")
_EMBEDDINGS = ("embed_tokens", "wte", "word_embeddings", "embed_in", "tok_embeddings", *_HEADS)
#: Model types of transformers whose linear layers are ``Conv1D``, which stores its weight as (in, out).
_CONV1D = ("gpt2", "openai-gpt", "imagegpt", "decision_transformer")


@dataclass(frozen=True)
class LoraAdapter:
    """``pairs[weight name] = (A of shape (r, in), B of shape (out, r), scale)``, and what else the adapter changes.

    :param transposed: names in ``pairs`` whose weight is stored as (in, out).
    :param embeddings: names in ``pairs`` of embeddings.
    :param magnitudes: DoRA's m, shape (out,), of names in ``pairs``.
    :param added: bias → what is added to it, and the scale.
    :param replaced: tensor → what stands in its place.
    :param rows: tensor → the rows that are replaced, ascending as trained, and what by, shape (rows, columns).
    :param copies: tensors of the base, as the file repeats them.
    :param ties: were input and output embedding trained as one tensor (``ensure_weight_tying``)?
    """

    folder: Path
    pairs: dict[str, tuple[TensorInfo, TensorInfo, float]]
    transposed: frozenset[str] = frozenset()
    embeddings: frozenset[str] = frozenset()
    magnitudes: dict[str, TensorInfo] = field(default_factory=dict)
    added: dict[str, tuple[TensorInfo, float]] = field(default_factory=dict)
    replaced: dict[str, TensorInfo] = field(default_factory=dict)
    rows: dict[str, tuple[tuple[int, ...], TensorInfo]] = field(default_factory=dict)
    copies: dict[str, TensorInfo] = field(default_factory=dict)
    ties: bool = False

    @property
    def changed(self) -> set[str]:
        """Names of the base's tensors that it changes."""
        return {*self.pairs, *self.added, *self.replaced, *self.rows}

    def is_sum(self, name: str) -> bool:
        """Is the change of this tensor ``s·B·A`` alone, whatever the base's values?"""
        return name in self.pairs and name not in self.magnitudes

    @property
    def plain(self) -> bool:
        """Is every change ``s·B·A`` of a linear layer: two factors that other tools can hold too?"""
        return self.changed == set(self.pairs) and not self.magnitudes and not self.transposed

    def tensors(self) -> dict[str, TensorInfo]:
        """Every tensor that it stores, by what it is for."""
        found: dict[str, TensorInfo] = {}
        for name, (a, b, _) in self.pairs.items():
            found |= {f"{name} A": a, f"{name} B": b}
        found |= {f"{name} magnitude": info for name, info in self.magnitudes.items()}
        found |= {f"{name} added": info for name, (info, _) in self.added.items()}
        found |= {f"{name} replaced": info for name, info in self.replaced.items()}
        return found | {f"{name} rows": info for name, (_, info) in self.rows.items()}

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape that the base's tensor must have; of one that only some rows are replaced in, (-1, columns)."""
        if name in self.pairs:
            a, b, _ = self.pairs[name]
            shape = b.shape[0], a.shape[1]
            return shape[::-1] if name in self.transposed else shape
        if name in self.rows:
            return -1, self.rows[name][1].shape[1]
        found: tuple[int, ...] = (self.added[name][0] if name in self.added else self.replaced[name]).shape
        return found

    def for_tied(self, tensors: dict[str, TensorInfo]) -> LoraAdapter:
        """Over a base with one tensor for both embeddings: without a saved head that is the saved embedding again."""
        heads = [name for name in self.replaced if name not in tensors and _module(name) in _HEADS]
        twins = [name for name in self.replaced if name in tensors and _module(name) in _EMBEDDINGS]
        if not self.ties or len(heads) != 1 or len(twins) != 1:
            return self
        if not _equal(self.replaced[heads[0]], self.replaced[twins[0]]):
            return self
        return replace(self, replaced={name: info for name, info in self.replaced.items() if name != heads[0]})

    def oriented(self, tensors: Mapping[str, TensorInfo], model_type: object) -> LoraAdapter:
        """Over a base of this model type: as in peft, how a layer stores its weight decides whether the change is
        transposed, whatever ``fan_in_fan_out`` says. The base's shape tells it but for square weights.

        :raises CompatibilityError: DoRA where the base stores (in, out).
        """
        found = {*self.transposed}
        for name in self.pairs.keys() - self.embeddings:
            a, b, _ = self.pairs[name]
            shape = b.shape[0], a.shape[1]
            stored = tensors[name].shape if name in tensors else None
            if stored is not None and shape[0] == shape[1]:
                wanted = model_type in _CONV1D and _module(name) not in _HEADS
            elif stored in (shape, shape[::-1]):
                wanted = stored != shape
            else:
                continue
            (found.add if wanted else found.discard)(name)
        turned = replace(self, transposed=frozenset(found))
        _check_magnitudes(self.folder, turned.transposed, self.magnitudes)
        return turned

    def check_fit(self, tensors: dict[str, TensorInfo], tied: bool, own: str, base: str) -> None:
        """:raises CompatibilityError: it changes a tensor that the base lacks or has in another shape.

        :param tied: is the base's output embedding its input embedding?
        :param own: what to call the adapter, and ``base`` the base.
        """
        for name, copy in self.copies.items():
            if name in tensors and not _equal(copy, tensors[name]):
                raise CompatibilityError(
                    f"{own} was trained on other values of {name} than {base} has",
                    hint="name the base that it was trained on, or merge it with peft and publish it as 'full'",
                )
        for name in sorted(self.changed):
            info, shape = tensors.get(name), self.shape(name)
            embedding = _module(name) in _EMBEDDINGS
            if tied and embedding and name not in self.rows and not self.ties:
                raise CompatibilityError(
                    f"{own} changes {name}, which {base} uses as input and output embedding at once",
                    hint="merge it into its base with peft and publish it as relation 'full'",
                )
            if info is not None and name in self.rows:
                indices = self.rows[name][0]
                if max(indices) < info.shape[0] and len(info.shape) == 2 and info.shape[1] == shape[1]:
                    continue
            if info is None or info.shape != shape:
                found = "lacks it" if info is None else "has " + " × ".join(map(str, info.shape))
                raise CompatibilityError(
                    f"{own} does not fit {base}: {name} is {' × '.join(map(str, shape))}, the base {found}",
                    hint="it was trained on another base"
                    + (", or its vocabulary was extended: merge it with peft" if embedding else ""),
                )

    def delta(self, name: str, dtype: torch.dtype, first: int = 0, last: int | None = None) -> torch.Tensor:
        """``scale · B·A`` of shape (out, in) in ``dtype``; only the rows [first, last) if they are given.

        Summed rank by rank with separate multiplications and additions: a matrix product may use another
        order or fused operations on another processor or thread count, and the composite's digest would change.
        For bf16 factors the products are exact in float32.
        """
        import torch

        info_a, info_b, scale = self.pairs[name]
        a, b = read_tensor(info_a).to(dtype), read_tensor(info_b).to(dtype)
        if name in self.transposed:
            a, b = b.T.contiguous(), a.T
        b = b[first:last]
        total = torch.zeros(b.shape[0], a.shape[1], dtype=dtype)
        product = torch.empty_like(total)
        columns = b.T.contiguous()
        for column, row in zip(columns, a, strict=True):
            torch.mul(column[:, None], row[None, :], out=product)
            total += product
        return total.mul_(scale)

    def apply(self, name: str, base: torch.Tensor, first: int = 0, last: int | None = None) -> torch.Tensor:
        """What the adapter makes of a tensor of its base, in the base's type and shape.

        :param base: the tensor in the accumulator's type; only its rows [first, last) if they are given.
        """
        if name in self.pairs:
            found = base + self.delta(name, base.dtype, first, last)
            return self._scaled_rows(name, found, first, last) if name in self.magnitudes else found
        if name in self.added:
            info, scale = self.added[name]
            return base + read_tensor(info).to(base.dtype)[first:last] * scale
        if name in self.replaced:
            return read_tensor(self.replaced[name]).to(base.dtype)[first:last]
        indices, info = self.rows[name]
        found, own = base.clone(), read_tensor(info).to(base.dtype)
        stop = first + len(base)
        for index, row in zip(indices, own, strict=True):
            if first <= index < stop:
                found[index - first] = row
        return found

    def _scaled_rows(self, name: str, found: torch.Tensor, first: int, last: int | None) -> torch.Tensor:
        """DoRA: each row gets its magnitude. Norms are summed column by column, for the same reason as in `delta`."""
        import torch

        squares = torch.zeros(len(found), dtype=torch.float64)
        for column in found.double().T.contiguous():
            squares += column * column
        magnitude = read_tensor(self.magnitudes[name]).reshape(-1).double()[first:last]
        factor = torch.where(squares > 0, magnitude / squares.sqrt(), torch.zeros_like(squares))
        return found * factor.to(found.dtype)[:, None]


def _module(name: str) -> str:
    """``lm_head`` of ``lm_head.weight``."""
    return name.rpartition(".")[0].rpartition(".")[2]


def _equal(one: TensorInfo, other: TensorInfo) -> bool:
    """The same values, whatever type they are stored in?"""
    import torch

    first, second = read_tensor(one), read_tensor(other)
    wide = torch.promote_types(first.dtype, second.dtype)
    return first.shape == second.shape and torch.equal(first.to(wide), second.to(wide))


def read_adapter(folder: Path) -> LoraAdapter:
    """Open an adapter folder (``adapter_config.json`` and ``adapter_model.safetensors``).

    :raises CompatibilityError: a kind of adapter that has no closed form (see the head of this module for those that
        have one).
    """
    config = read_config(folder)
    _check_kind(folder, config)
    parts = sort_tensors(config, read_folder(folder))
    _check_parts(folder, config, parts)
    return LoraAdapter(
        folder,
        parts.pairs,
        frozenset(parts.transposed),
        frozenset(parts.embeddings),
        parts.magnitudes,
        parts.added,
        parts.replaced,
        parts.rows,
        parts.copies,
        config.get("ensure_weight_tying") is True,
    )


def _check_kind(folder: Path, config: dict[str, Any]) -> None:
    odd = [option for option, plain in _PLAIN.items() if config.get(option, plain) not in (plain, None, [], {})]
    if odd:
        raise CompatibilityError(
            f"the adapter in {folder.name} uses {odd[0]}={_short(config[odd[0]])}, which is more than a change of "
            "weights that can be computed exactly",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )
    if (unknown := unknown_option(config)) is not None:
        raise CompatibilityError(
            f"the adapter in {folder.name} uses {_short(unknown)[1:-1]}={_short(config[unknown])}, which CoGen does "
            "not know: it may change what the adapter computes",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )
    start = config.get("init_lora_weights", True)
    if start not in _PLAIN_INIT:
        convertible = isinstance(start, str) and start.startswith(_CONVERTIBLE)
        raise CompatibilityError(
            f"the adapter in {folder.name} uses init_lora_weights={_short(start)}, which changed the base before "
            "training",
            hint=(
                "save it again with peft's path_initial_model_for_weight_conversion, which makes it plain LoRA; or "
                if convertible
                else ""
            )
            + "merge it into its base with peft and publish it as relation 'full'",
        )


def _short(value: object) -> str:
    """What a stranger wrote, in one line that can be read."""
    text = ascii(value)
    return text if len(text) <= 80 else text[:80] + "…"


def _check_parts(folder: Path, config: dict[str, Any], parts: AdapterTensors) -> None:
    """:raises CompatibilityError, SourceError: what the configuration promises is not there, or no formula exists."""
    if not (parts.pairs or parts.replaced or parts.added or parts.rows):
        raise SourceError(f"the adapter in {folder.name} is empty", hint="publish the adapter again")
    saved = {part for name in parts.replaced for part in name.split(".")}
    if absent := [name for name in config.get("modules_to_save") or () if name.rpartition(".")[2] not in saved]:
        raise SourceError(
            f"modules_to_save names {absent[0]}, and the adapter in {folder.name} does not hold it",
            hint="publish the adapter again",
        )
    if missing := sorted(set(parts.pairs) - set(parts.magnitudes)) if config.get("use_dora") else []:
        raise SourceError(f"DoRA's magnitude of {missing[0]} is missing", hint="publish the adapter again")
    if parts.magnitudes and not config.get("use_dora"):
        raise SourceError(
            f"the adapter in {folder.name} holds magnitudes of DoRA, and its configuration says use_dora = false",
            hint="publish the adapter again",
        )
    if (left_out := not_targeted(config, sorted(parts.pairs))) is not None:
        option, name = left_out
        raise SourceError(
            f"the adapter in {folder.name} holds factors of {name}, which its {option} leaves out: peft would not "
            "apply them",
            hint="publish the adapter again, as peft's save_pretrained writes it",
        )
    # An embedding is transposed on any base; of other layers the base says it (see LoraAdapter.oriented).
    _check_magnitudes(folder, parts.embeddings, parts.magnitudes)
    kinds = [set(parts.pairs), set(parts.added), set(parts.replaced), set(parts.rows)]
    twice = sorted(name for name in set().union(*kinds) if sum(name in kind for kind in kinds) > 1)
    if twice:
        raise CompatibilityError(
            f"the adapter in {folder.name} changes {twice[0]} in two ways at once",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )


def _check_magnitudes(folder: Path, transposed: Collection[str], magnitudes: Mapping[str, TensorInfo]) -> None:
    if both := sorted({*transposed} & {*magnitudes}):
        raise CompatibilityError(
            f"the adapter in {folder.name} is DoRA on {both[0]}, an embedding or a layer that stores (in, out)",
            hint="merge it into its base with peft and publish it as relation 'full'",
        )
