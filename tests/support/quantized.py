"""Tiny quantized models as the libraries write them: FP8 of transformers, compressed-tensors, and packed codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tiny import llama, save_model

#: Linear weights of the tiny Llama.
LINEAR = tuple(
    f"model.layers.{layer}.{part}.weight"
    for layer in (0, 1)
    for part in (
        *(f"self_attn.{name}_proj" for name in "qkvo"),
        *(f"mlp.{name}_proj" for name in ("gate", "up", "down")),
    )
)


def rewrite(folder: Path, tensors: dict[str, Any], settings: dict[str, Any] | None, **config: Any) -> Path:
    """Put other tensors and a ``quantization_config`` into a model folder."""
    from safetensors.torch import save_file

    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    path = folder / "config.json"
    own = json.loads(path.read_text()) | config
    path.write_text(json.dumps(own if settings is None else own | {"quantization_config": settings}))
    return folder


def state(seed: int = 7) -> dict[str, Any]:
    """The tiny Llama's tensors in bfloat16, as a file holds them."""
    found = llama(seed, "bfloat16").state_dict()
    return {name: tensor.clone() for name, tensor in found.items() if name != "lm_head.weight"}


def scaled(weight: Any, block: tuple[int, int], kind: str = "float8_e4m3fn") -> tuple[Any, Any]:
    """(codes, float32 scales by block) of a matrix; blocks at the edges may be smaller."""
    import torch

    rows, columns = weight.shape
    down, across = -(-rows // block[0]), -(-columns // block[1])
    scales = torch.empty(down, across)
    codes = torch.empty(rows, columns, dtype=getattr(torch, kind))
    most = 127.0 if kind == "int8" else float(torch.finfo(getattr(torch, kind)).max)
    for i in range(down):
        for j in range(across):
            part = slice(i * block[0], (i + 1) * block[0]), slice(j * block[1], (j + 1) * block[1])
            own = weight[part].float()
            scales[i, j] = own.abs().max() / most
            found = own / scales[i, j]
            codes[part] = (found.round() if kind == "int8" else found).to(codes.dtype)
    return codes, scales


def save_fp8(folder: Path, seed: int = 7, *, block: tuple[int, int] | None = (16, 16), **config: Any) -> Path:
    """As transformers' FineGrainedFP8Config writes it; without ``block`` one scale a tensor."""
    save_model(folder, seed, "bfloat16")
    tensors = state(seed)
    for name in LINEAR:
        weight = tensors[name]
        tensors[name], scales = scaled(weight, block or tuple(weight.shape))
        tensors[f"{name}_scale_inv"] = scales if block else scales.reshape(())
        if not block:
            import torch

            tensors[f"{name.removesuffix('weight')}activation_scale"] = torch.tensor(0.5)
    settings = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": list(block or ()) or None}
    return rewrite(folder, tensors, settings, **config)


def compressed(strategy: str, kind: str = "float", **weights: Any) -> dict[str, Any]:
    """``quantization_config`` of compressed-tensors, eight bits."""
    own = {"num_bits": 8, "type": kind, "strategy": strategy, "symmetric": True, "dynamic": False} | weights
    return {
        "quant_method": "compressed-tensors",
        "format": f"{kind}-quantized",
        "quantization_status": "compressed",
        "ignore": ["lm_head"],
        "config_groups": {"group_0": {"targets": ["Linear"], "weights": own, "input_activations": None}},
    }


def save_compressed(folder: Path, strategy: str = "channel", kind: str = "float", seed: int = 7) -> Path:
    """As compressed-tensors writes it, with scales in bfloat16."""
    import torch

    save_model(folder, seed, "bfloat16")
    tensors = state(seed)
    code = "float8_e4m3fn" if kind == "float" else "int8"
    extra: dict[str, Any] = {}
    for name in LINEAR:
        weight = tensors[name]
        block = {"tensor": tuple(weight.shape), "channel": (1, weight.shape[1]), "group": (1, 8), "block": (16, 16)}
        codes, scales = scaled(weight, block[strategy], code)
        tensors[name] = codes
        tensors[f"{name}_scale"] = scales.to(torch.bfloat16).reshape((1,) if strategy == "tensor" else scales.shape)
        tensors[f"{name.removesuffix('weight')}input_scale"] = torch.tensor([0.5])
    if strategy == "group":
        extra = {"group_size": 8}
    if strategy == "block":
        extra = {"block_structure": [16, 16]}
    return rewrite(folder, tensors, compressed(strategy, kind, **extra))


def packed(folder: Path, names: tuple[str, ...], settings: dict[str, Any] | None) -> Path:
    """A model whose first linear layer is packed codes."""
    import torch

    save_model(folder, dtype="bfloat16")
    tensors = state()
    del tensors[LINEAR[0]]
    module = LINEAR[0].removesuffix(".weight")
    for name in names:
        tensors[f"{module}.{name}"] = torch.zeros(4, 32, dtype=torch.int32)
    return rewrite(folder, tensors, settings)


#: Kinds that are refused: names of a layer's tensors, ``quantization_config``, and what the message says.
PACKED: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    "gptq": (("qweight", "qzeros", "g_idx"), {"quant_method": "gptq", "bits": 4}, r"\(GPTQ, 4 bits\)"),
    "awq": (("qweight", "qzeros"), {"quant_method": "awq", "bits": 4}, r"\(AWQ, 4 bits\)"),
    "bitsandbytes": (("weight", "weight.absmax"), {"load_in_4bit": True}, r"\(bitsandbytes, 4 bits\)"),
    "bitsandbytes 8": (("weight", "SCB"), {"quant_method": "bitsandbytes", "load_in_8bit": True}, "bytes, 8 bits"),
    "packed": (
        ("weight_packed", "weight_shape"),
        compressed("group", "int", num_bits=4, group_size=8) | {"format": "pack-quantized"},
        "4 bits",
    ),
    "nvfp4": (
        ("weight_packed", "weight_global_scale"),
        compressed("tensor_group", "float", num_bits=4) | {"format": "nvfp4-pack-quantized"},
        "4 bits",
    ),
    "modelopt": (("weight_scale", "input_scale"), {"quant_method": "modelopt"}, "modelopt"),
    "mxfp4": (("gate_up_proj_blocks",), {"quant_method": "mxfp4"}, "MXFP4"),
    "of tomorrow": (("qweight",), {"quant_method": "hqq2"}, "hqq2"),
    "rotated": ((), compressed("channel") | {"transform_config": {"config_groups": {"a": 1}}}, "rotated"),
    "sparse": ((), compressed("channel") | {"sparsity_config": {"format": "sparse-24-bitmask"}}, "sparse"),
    "fp4 experts": ((), {"quant_method": "fp8", "expert_dtype": "fp4"}, "four bits"),
}
