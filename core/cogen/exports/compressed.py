"""FP8 and INT8 by compressed-tensors: the form that vLLM and transformers read.

Every linear layer but the output layer is quantized: weights once, with a scale for each output channel (round to
nearest, what llm-compressor does where no data is used). With ``fp8`` activations stay as they are; with ``fp8:W8A8``
and ``int8`` the engine quantizes them at run time, with a scale for each token. Embeddings and norms keep their type.
Tensors are read and written one by one.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.safetensors_file import TensorInfo
from cogen.checkpoints.safetensors_writer import SafetensorsWriter
from cogen.errors import CompatibilityError
from cogen.exports.source import ExportSource
from cogen.exports.tools import ExportError, need_module, version
from cogen.files import atomic_write
from cogen.reporter import Reporter, begin

if TYPE_CHECKING:
    import torch

#: Format → scheme of compressed-tensors, type of a stored weight.
SCHEMES = {
    "fp8": ("FP8_DYNAMIC", "float8_e4m3fn"),
    "fp8:W8A8": ("FP8_DYNAMIC", "float8_e4m3fn"),
    "int8": ("INT8", "int8"),
}
#: Whose activations are left as they are.
_WEIGHTS_ALONE = "fp8"
WEIGHTS = "model.safetensors"
EXTRA = "export-fp8"


def check_tools(kind: str) -> None:
    """:raises MissingExtraError: compressed-tensors is not installed."""
    need_module("compressed_tensors", f"export to {kind}", EXTRA)


def check_fits(source: ExportSource, kind: str) -> None:
    """:raises CompatibilityError: its layers have no quantized form in the engines."""
    if any(".experts." in name for name in source.checkpoint.tensors):
        raise CompatibilityError(
            f"a mixture of experts cannot be exported to {kind}: transformers holds its experts as one tensor, "
            "which compressed-tensors does not load",
            hint="export it to gguf, or export a merge of the same experts",
        )


def write_compressed(source: ExportSource, format: str, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """Weights, configuration and the source's other model files; returns notes for the card.

    :param format: a key of SCHEMES.

    :raises CompatibilityError: a model without linear layers that can be quantized.
    """
    from compressed_tensors.quantization import QuantizationConfig, preset_name_to_scheme

    from cogen.merging.writer import index_folder

    preset, stored = SCHEMES[format]
    scheme = preset_name_to_scheme(preset, ["Linear"])
    if format == _WEIGHTS_ALONE:
        scheme.input_activations = None
    chosen = linear_weights(source)
    shapes: dict[str, tuple[str, tuple[int, ...]]] = {}
    for name, info in source.checkpoint.tensors.items():
        if name in chosen:
            shapes[name] = stored, info.shape
            shapes[f"{name}_scale"] = info.dtype, (info.shape[0], 1)
        else:
            shapes[name] = info.dtype, info.shape
    begin(reporter, f"quantizing to {format}", source.bytes, "bytes")
    shards = _shards(source, shapes)
    for number, members in enumerate(shards, 1):
        name = WEIGHTS if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        own = {tensor: shapes[tensor] for group in members for tensor in group}
        with SafetensorsWriter(folder / name, own, {"format": "pt"}) as writer:
            for tensor, value in _quantized(source, [group[0] for group in members], chosen, scheme, reporter):
                writer.write(tensor, value)
    index_folder(folder)
    _copy_model_files(source, folder)
    ignored = sorted(set(_linears(source)) - {name.removesuffix(".weight") for name in chosen})
    settings = QuantizationConfig(
        config_groups={"group_0": scheme},
        ignore=ignored,
        format=_format(scheme).value,
        quantization_status="compressed",
    ).model_dump(mode="json")
    config = dict(source.config) | {
        "quantization_config": settings | {"version": version("compressed-tensors").split()[-1]}
    }
    atomic_write(folder / "config.json", (json.dumps(config, indent=2, ensure_ascii=False) + "\n").encode())
    return {
        "quantized_tensors": len(chosen),
        "scheme": f"{preset}, weights alone" if format == _WEIGHTS_ALONE else preset,
        "tool": version("compressed-tensors"),
    }


def linear_weights(source: ExportSource) -> dict[str, TensorInfo]:
    """The tensors that are quantized: weights of linear layers, but of the output layer.

    :raises CompatibilityError: there are none.
    """
    tensors = source.checkpoint.tensors
    found = {}
    for module in _linears(source):
        name = f"{module}.weight"
        if name in tensors and len(tensors[name].shape) == 2 and not module.endswith(_OUTPUT):
            found[name] = tensors[name]
    if not found:
        raise CompatibilityError(
            f"{source.name} has no linear layers whose weights can be quantized",
            hint="its architecture stores them in another form: export it to gguf",
        )
    return found


#: The output layer, by the names that transformers gives it.
_OUTPUT = ("lm_head", "embed_out")


def _linears(source: ExportSource) -> list[str]:
    """Names of the linear layers of the architecture; nothing is loaded."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from cogen.checkpoints.gguf import quiet_transformers

    with quiet_transformers(), torch.device("meta"):
        config = AutoConfig.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)
        kind: Any = AutoModelForCausalLM
        model = kind.from_config(config, trust_remote_code=False)
    return [name for name, module in model.named_modules() if isinstance(module, torch.nn.Linear)]


def _shards(source: ExportSource, shapes: dict[str, Any]) -> list[list[tuple[str, ...]]]:
    """Files of at most SHARD_BYTES, each a list of (tensor, its scale if it has one)."""
    from cogen.merging.writer import SHARD_BYTES

    found: list[list[tuple[str, ...]]] = [[]]
    left = SHARD_BYTES
    for name, info in sorted(source.checkpoint.tensors.items()):
        size = info.stop - info.start  # more than it takes: a quantized tensor is smaller
        if found[-1] and size > left:
            found.append([])
            left = SHARD_BYTES
        found[-1].append((name, f"{name}_scale") if f"{name}_scale" in shapes else (name,))
        left -= size
    return found


def _quantized(
    source: ExportSource, names: list[str], chosen: dict[str, TensorInfo], scheme: Any, reporter: Reporter
) -> Iterator[tuple[str, torch.Tensor]]:
    """The tensors ``names`` as they are written, each quantized one with its scale."""
    from compressed_tensors.compressors.base import BaseCompressor
    from compressed_tensors.quantization.utils import calculate_qparams

    compressor = BaseCompressor.get_value_from_registry(_format(scheme).value)
    for name in names:
        info, tensor = source.checkpoint.tensors[name], source.checkpoint.read(name)
        if name in chosen:
            scale, _ = calculate_qparams(tensor.amin(1, keepdim=True), tensor.amax(1, keepdim=True), scheme.weights)
            made = compressor.compress({"weight": tensor, "weight_scale": scale}, scheme)
            yield name, made["weight"]
            yield f"{name}_scale", made["weight_scale"]
        else:
            yield name, tensor
        reporter.advance(info.stop - info.start)


def _format(scheme: Any) -> Any:
    import torch
    from compressed_tensors.compressors.format import infer_module_format

    return infer_module_format(torch.nn.Linear, scheme)


def _copy_model_files(source: ExportSource, folder: Path) -> None:
    from cogen.merging.writer import copy_model_files

    copy_model_files(source.folder, folder)


def load(folder: Path) -> Any:
    """As transformers runs it: the weights decompressed to float32, activations rounded as the engines round them.

    :raises ExportError: transformers does not find every tensor.
    """
    import torch
    from transformers import AutoModelForCausalLM

    from cogen.checkpoints.gguf import quiet_transformers

    # compressed-tensors draws bars of its own.
    with quiet_transformers(), contextlib.redirect_stderr(io.StringIO()):
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            trust_remote_code=False,
            local_files_only=True,
            output_loading_info=True,
        )
        model, info = loaded
        if wrong := sorted({*info["missing_keys"], *info["unexpected_keys"]}):
            raise ExportError(
                f"transformers does not load the export: {wrong[0]} is missing or unknown", hint="export it to gguf"
            )
        with torch.no_grad():
            model(torch.zeros(1, 1, dtype=torch.long))  # the first call decompresses the weights
    return model.eval()


def digest(folder: Path) -> str:
    """Of the weights and their configuration."""
    from cogen.checkpoints.digests import file_digest
    from cogen.spec.expert import canonical_digest

    files = [*sorted(folder.glob("*.safetensors*")), folder / "config.json"]
    return canonical_digest([file_digest(file) for file in files])
