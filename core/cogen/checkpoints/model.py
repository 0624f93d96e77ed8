"""``Checkpoint``: one view of weights on disk, whether full, dequantized or an adapter over a base."""

from __future__ import annotations

import functools
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.adapter import LoraAdapter, read_adapter
from cogen.checkpoints.digests import weights_digest
from cogen.checkpoints.finite import all_finite
from cogen.checkpoints.gguf import converted
from cogen.checkpoints.json_files import read_object
from cogen.checkpoints.quantized import model_tensors, without_quantization
from cogen.checkpoints.safetensors_file import TensorInfo, read_bytes, read_folder, read_tensor
from cogen.checkpoints.scaled import ScaledInfo
from cogen.checkpoints.sources import Talk, fetch, reporter_of
from cogen.errors import CompatibilityError, DigestError, SourceError, UnsafeError
from cogen.reporter import SILENT, Reporter
from cogen.spec.model import ModelSpec, WeightsRef

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Checkpoint:
    """A model on disk, read a tensor at a time.

    ``folder`` holds config and tokenizer. With an ``adapter``, :meth:`read` gives base plus difference;
    such a checkpoint is never written out, it is computed when it is read.
    """

    folder: Path
    tensors: dict[str, TensorInfo]
    adapter: LoraAdapter | None = None

    @functools.cached_property
    def config(self) -> dict[str, Any]:
        """``config.json``, of a quantized model as the dequantized one has it."""
        try:
            return without_quantization(read_object(self.folder / "config.json"))
        except (OSError, ValueError) as error:
            raise SourceError(f"{self.folder} has no readable config.json", hint="a model folder needs one") from error

    @property
    def quantized(self) -> bool:
        """Are some of its tensors dequantized when they are read?"""
        return any(isinstance(info, ScaledInfo) for info in self.tensors.values())

    @property
    def tied(self) -> bool:
        """Is its output embedding its input embedding?"""
        heads = any(f".{name}".endswith((".lm_head.weight", ".embed_out.weight")) for name in self.tensors)
        return self.config.get("tie_word_embeddings") is True or not heads

    def with_adapter(self, adapter: LoraAdapter, own: str | None = None, base: str | None = None) -> Checkpoint:
        """This checkpoint with an adapter over it.

        :param own: what to call the adapter in an error (default: its folder), and ``base`` this checkpoint.
        :raises CompatibilityError: the adapter does not fit.
        """
        if self.tied:
            adapter = adapter.for_tied(self.tensors)
        adapter = adapter.oriented(self.tensors, self.config.get("model_type"))
        adapter.check_fit(
            self.tensors, self.tied, own or f"the adapter {adapter.folder.name}", base or self.folder.name
        )
        return Checkpoint(self.folder, self.tensors, adapter)

    def names(self) -> list[str]:
        """Tensor names, sorted."""
        return sorted(self.tensors)

    def changed(self, name: str) -> bool:
        """Does the adapter touch this tensor? Without an adapter always True: nothing is known."""
        return self.adapter is None or name in self.adapter.changed

    def read(self, name: str, dtype: torch.dtype | None = None) -> torch.Tensor:
        """The tensor in ``dtype`` (default: as stored). An adapter's change is computed in ``dtype``."""
        tensor = read_tensor(self.tensors[name])
        if dtype is not None:
            tensor = tensor.to(dtype)
        if self.adapter is not None and name in self.adapter.changed:
            wide = tensor if dtype is not None else tensor.to(accumulator(tensor.dtype))
            tensor = self.adapter.apply(name, wide).to(tensor.dtype)
        return tensor

    @functools.cached_property
    def weights_digest(self) -> str:
        """Lineage: digest of names, dtypes, shapes and bytes; of the adapter's own tensors if there is one."""
        return self._read_all[0]

    @property
    def not_finite(self) -> str | None:
        """The first tensor that holds NaN or infinity; of the adapter's own if there is one."""
        return self._read_all[1]

    @functools.cached_property
    def _read_all(self) -> tuple[str, str | None]:
        """(weights digest, :attr:`not_finite`): all bytes are read for both at once."""
        import torch

        own = self.tensors if self.adapter is None else read_folder(self.adapter.folder)
        wrong: list[str] = []

        def read(name: str) -> bytearray:
            data, info = read_bytes(own[name]), own[name]
            if data and not wrong and not all_finite(torch.frombuffer(data, dtype=getattr(torch, info.dtype))):
                wrong.append(name)
            return data

        digest = weights_digest(((i.name, i.dtype, i.shape) for i in own.values()), read)
        return digest, wrong[0] if wrong else None


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """float32 for bf16 and fp16 inputs, float64 for float32."""
    import torch

    return torch.float64 if dtype in (torch.float32, torch.float64) else torch.float32


def open_folder(folder: Path) -> Checkpoint:
    """A checkpoint folder that is here already; a quantized one is dequantized when it is read.

    :raises CompatibilityError: an adapter, or quantized in a way that cannot be read exactly.
    """
    if not folder.is_dir():
        raise SourceError(f"{folder} is not a model folder", hint="name a folder with config.json and *.safetensors")
    if (folder / "adapter_config.json").is_file():
        # transformers would follow its base_model_name_or_path and load something else than these tensors.
        raise CompatibilityError(
            f"{folder} is an adapter, not a whole model",
            hint="declare format 'peft' with [model.base], or remove adapter_config.json",
        )
    checkpoint = Checkpoint(folder, model_tensors(folder))
    _check_code(checkpoint)
    return checkpoint


def open_weights(
    ref: WeightsRef,
    *,
    reporter: Reporter = SILENT,
    talk: Talk | None = None,
    bases: MutableMapping[str, Checkpoint] | None = None,
) -> Checkpoint:
    """Fetch, convert if needed and open what a manifest declares.

    :param bases: opened before and added to, by what declares them: of many adapters over one base, only the first
        reads and verifies it.
    :param talk: a function for notes, in the place of a reporter.
    :raises DigestError: either digest differs from the manifest's.
    :raises UnsafeError: pickles, or a configuration that wants remote code.
    """
    reporter = reporter_of(reporter, talk)
    if ref.format == "peft":
        return _open_adapter(ref, reporter, {} if bases is None else bases)
    path = fetch(ref.source, revision=ref.revision, digest=ref.file_digest, reporter=reporter)
    if ref.format == "gguf":
        if not path.is_file():
            raise SourceError(f"{ref.source} is a folder", hint="format 'gguf' names one file")
        path = converted(path, ref.file_digest, ref.dtype, reporter)
    elif path.is_file():
        raise SourceError(
            f"{ref.source} is a single file", hint="format 'safetensors' names a model folder; end it with /"
        )
    checkpoint = open_folder(path)
    _check_weights(checkpoint, ref)
    return checkpoint


def _open_adapter(ref: WeightsRef, reporter: Reporter, bases: MutableMapping[str, Checkpoint]) -> Checkpoint:
    if not isinstance(ref, ModelSpec) or ref.base is None:
        raise CompatibilityError(f"{ref.name} is an adapter without a base", hint="declare [model.base]")
    declared = ref.base.model_dump_json()
    if declared not in bases:
        bases[declared] = open_weights(ref.base, reporter=reporter)
    base = bases[declared]
    folder = fetch(ref.source, revision=ref.revision, digest=ref.file_digest, reporter=reporter)
    checkpoint = base.with_adapter(read_adapter(folder), f"the adapter of {ref.name}", ref.base.name)
    _check_weights(checkpoint, ref)
    return checkpoint


def _check_weights(checkpoint: Checkpoint, ref: WeightsRef) -> None:
    """Every byte is read once, for the digest; NaN and infinity are looked for in passing.

    :raises DigestError: others than the manifest promises. :raises CompatibilityError: a tensor is not of numbers.
    """
    if checkpoint.weights_digest != ref.weights_digest:
        raise DigestError(
            f"the tensors of {ref.name} are not the promised ones: weights digest {checkpoint.weights_digest[:19]}… "
            f"where {ref.weights_digest[:19]}… was promised",
            hint="another version of gguf or transformers may dequantize otherwise; else ask the publisher",
        )
    if (name := checkpoint.not_finite) is not None:
        raise CompatibilityError(
            f"{name} of {ref.name} holds NaN or infinity: nothing can be computed with it",
            hint="take another version of it, or ask its publisher",
        )


def _check_code(checkpoint: Checkpoint) -> None:
    """A model type that transformers does not have would need the publisher's code: refused."""
    config = checkpoint.config
    if "auto_map" in config:
        from transformers import CONFIG_MAPPING

        if str(config.get("model_type")) not in CONFIG_MAPPING:
            raise UnsafeError(
                f"{checkpoint.folder.name} asks for remote code (auto_map in config.json)",
                hint="code that comes with weights is never run; use an architecture that transformers has",
            )
