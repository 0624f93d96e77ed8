"""Quantized weights: which of them can be read exactly, and what is said of the others. One rule for every road.

Exact are FP8 with scales (DeepSeek's and transformers' ``fp8``) and what compressed-tensors stores in eight bits: a
code times a scale is one number (see :mod:`cogen.checkpoints.scaled`). Such a folder is read as the dequantized model,
tensor by tensor. Everything else (GPTQ, AWQ, bitsandbytes, four bits …) is refused by name: its codes are no weights,
and to put them back together is its own library's business.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cogen.checkpoints.compressed import Schemes, compressed_schemes
from cogen.checkpoints.config_sizes import check_sizes
from cogen.checkpoints.json_files import read_object
from cogen.checkpoints.safetensors_file import TensorInfo, read_folder
from cogen.checkpoints.scaled import CODES, ScaledInfo
from cogen.errors import CompatibilityError

#: Where a config.json says that its weights are quantized; the second is compressed-tensors' former name.
CONFIG_KEYS = ("quantization_config", "compression_config")
#: What people call the methods that config.json calls otherwise.
_TITLES = {
    "gptq": "GPTQ",
    "awq": "AWQ",
    "bitsandbytes": "bitsandbytes",
    "bitsandbytes_4bit": "bitsandbytes, 4 bits",
    "bitsandbytes_8bit": "bitsandbytes, 8 bits",
    "mxfp4": "MXFP4",
}
#: What quantized layers hold beside their codes, or in their place, whatever wrote them. A last part of a name.
_SIGNS = re.compile(
    r"(?:^|\.)(?:qweight|qzeros|g_idx|SCB|weight_format|absmax|quant_map|nested_absmax|nested_quant_map"
    r"|quant_state\.[\w.]+|weight_packed|weight_shape|weight_zero_point|weight_scale|weight_scale_2|weight_global_scale"
    r"|weight_g_idx|qscale_weight|\w+_scale_inv|(?:gate_up|down)_proj_(?:blocks|scales))$"
)
#: Scales of activations and of the cache of keys and values: how such a model is run, not what its weights are.
_RUNTIME = re.compile(
    r"(?:^|\.)(?:input_scale|input_zero_point|output_scale|output_zero_point|activation_scale|[qkv]_scale"
    r"|[qkv]_zero_point|kv_scale|input_global_scale)$"
)
#: Bytes beside such scales are two codes of four bits each.
_FP8 = ("float8_e4m3fn", "float8_e5m2")
_SCALES = ("float32", "float16", "bfloat16")
_INTEGERS = ("int8", "uint8", "int16", "int32", "int64", "uint16", "uint32", "uint64")
_HINT = (
    "name the model that it was quantized from, or save it in bfloat16 with the library that quantized it; FP8 with "
    "scales and compressed-tensors of 8 bits are read as they are"
)


def model_tensors(folder: Path) -> dict[str, TensorInfo]:
    """All tensors of a whole model's folder as numbers: quantized ones are dequantized when they are read.

    :raises CompatibilityError: it is quantized in a way that cannot be read exactly.
    :raises SourceError, UnsafeError: see :func:`cogen.checkpoints.safetensors_file.read_folder`; or config.json
        describes a model that these tensors cannot be.
    """
    tensors = read_folder(folder)
    try:
        config = read_object(folder / "config.json")
    except (OSError, ValueError):  # who needs it says so
        config = {}
    settings = quantization(config)
    check_sizes(folder, config, tensors)
    if settings is None:
        _check_plain(folder, tensors)
        return tensors
    method = str(settings.get("quant_method") or _by_flags(settings) or "an unnamed method").lower()
    if method == "fp8":
        found = _dequantized(folder, tensors, _fp8(folder, settings), _target(config))
    elif method == "compressed-tensors":
        found = _dequantized(folder, tensors, compressed_schemes(folder, settings), _target(config))
    else:
        title = _TITLES.get(method, ascii(method[:40])[1:-1])
        if not any(_coded(name, info) for name, info in tensors.items()):
            raise _plain_after_all(folder, title)
        raise CompatibilityError(
            f"{folder.name} is quantized ({title}{_bits(settings)}): its codes cannot be used as weights", hint=_HINT
        )
    if not any(isinstance(info, ScaledInfo) for info in found.values()):
        raise _plain_after_all(folder, method)
    return found


def quantization(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a config.json says of how its weights are quantized; ``None``: nothing."""
    nested = config.get("text_config")
    for table in (config, nested if isinstance(nested, Mapping) else {}):
        for key in CONFIG_KEYS:
            if isinstance(found := table.get(key), Mapping) and found:
                return dict(found)
    return None


def without_quantization(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json of the dequantized model; the same where nothing is quantized."""
    found = {key: value for key, value in config.items() if key not in CONFIG_KEYS}
    if isinstance(nested := found.get("text_config"), Mapping):
        found["text_config"] = {key: value for key, value in nested.items() if key not in CONFIG_KEYS}
    return found


def _by_flags(settings: Mapping[str, Any]) -> str | None:
    """bitsandbytes did not always name itself."""
    return "bitsandbytes" if settings.get("load_in_4bit") or settings.get("load_in_8bit") else None


def _bits(settings: Mapping[str, Any]) -> str:
    bits = settings.get("bits", 4 if settings.get("load_in_4bit") else 8 if settings.get("load_in_8bit") else None)
    return f", {bits} bits" if isinstance(bits, int) else ""


def _target(config: Mapping[str, Any]) -> str:
    """The type that the numbers are rounded to: the one in which the model computes."""
    nested = config.get("text_config")
    for table in (config, nested if isinstance(nested, Mapping) else {}):
        for key in ("dtype", "torch_dtype"):
            name = str(table.get(key) or "").removeprefix("torch.")
            if name in _SCALES:
                return name
    return "bfloat16"


def _coded(name: str, info: TensorInfo) -> bool:
    """Does a tensor look like a part of a quantized layer?"""
    codes = info.dtype in _INTEGERS and len(info.shape) > 1 and name.endswith(".weight")
    return codes or _SIGNS.search(name) is not None


def _check_plain(folder: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """:raises CompatibilityError: the weights are codes, and nothing says which."""
    for name, info in sorted(tensors.items()):
        if _coded(name, info):
            raise CompatibilityError(
                f"{folder.name} is quantized, as its tensor {name} shows, and its config.json does not say how",
                hint="put the quantization_config back that it was saved with, or name the model that it was made from",
            )


def _plain_after_all(folder: Path, method: str) -> CompatibilityError:
    return CompatibilityError(
        f"config.json of {folder.name} says that its weights are quantized ({method}), and they are not",
        hint="remove quantization_config from its config.json, if these are the weights that you mean",
    )


def _fp8(folder: Path, settings: Mapping[str, Any]) -> Schemes:
    """Of transformers' and DeepSeek's ``fp8``: one scale for a block of rows and columns, or for a whole tensor.

    :raises CompatibilityError: a form of it that is not known.
    """
    block = settings.get("weight_block_size")
    sizes = block if isinstance(block, list | tuple) else []
    whole = len(sizes) == 2 and all(type(size) is int and size > 0 for size in sizes)
    if block is not None and not whole:
        raise CompatibilityError(
            f"weight_block_size of {folder.name} is {ascii(block)[:40]}, not rows and columns",
            hint="write what the model was saved with: [128, 128], or null for one scale a tensor",
        )
    if settings.get("expert_dtype", "fp8") != "fp8":
        raise CompatibilityError(
            f"the experts of {folder.name} are {ascii(settings['expert_dtype'])[:40]}, packed codes of four bits",
            hint=_HINT,
        )
    blocks = ((sizes[0], sizes[1]),) if whole else ()
    return Schemes(blocks, suffix="_scale_inv", codes=_FP8, exponents=settings.get("scale_fmt") == "ue8m0")


def _dequantized(
    folder: Path, tensors: Mapping[str, TensorInfo], schemes: Schemes, dtype: str
) -> dict[str, TensorInfo]:
    """:raises CompatibilityError: a code without a scale, a scale without a code, or shapes that do not fit."""
    found: dict[str, TensorInfo] = {}
    used = {name for name in tensors if _RUNTIME.search(name)}
    for name, info in sorted(tensors.items()):
        scales = tensors.get(name + schemes.suffix)
        if scales is None or info.dtype not in schemes.codes:
            continue
        zeros = tensors.get(f"{name}_zero_point")
        found[name] = _scaled(folder, info, scales, zeros, schemes, dtype)
        used |= {name, scales.name} | ({zeros.name} if zeros is not None else set())
    for name, info in sorted(tensors.items()):
        if name in used:
            continue
        if _coded(name, info) or info.dtype in CODES:
            lacks = f"there are no codes for {name}" if _SIGNS.search(name) else f"{name} ({info.dtype}) has no scales"
            raise CompatibilityError(f"{folder.name} is quantized in an unknown way: {lacks}", hint=_HINT)
        found[name] = info
    return dict(sorted(found.items()))


def _scaled(
    folder: Path, codes: TensorInfo, scales: TensorInfo, zeros: TensorInfo | None, schemes: Schemes, dtype: str
) -> ScaledInfo:
    exponents = scales.dtype == "float8_e8m0fnu" or (schemes.exponents and scales.dtype == "uint8")
    block = schemes.block_of(codes.shape, scales.shape)
    plain = scales.dtype in _SCALES or exponents
    if block is None or not plain or (zeros is not None and not _fits(zeros, scales)):
        at = " × ".join(map(str, scales.shape)) or "a number"
        raise CompatibilityError(
            f"the scales of {codes.name} in {folder.name} do not fit it: {at} ({scales.dtype}) for "
            f"{' × '.join(map(str, codes.shape))}",
            hint="its config.json describes another quantization; save the model again",
        )
    return ScaledInfo(codes.name, dtype, codes.shape, codes.file, 0, 0, codes, scales, block, zeros, exponents)


def _fits(zeros: TensorInfo, scales: TensorInfo) -> bool:
    return zeros.shape == scales.shape and zeros.dtype in ("int8", *CODES, *_SCALES)
