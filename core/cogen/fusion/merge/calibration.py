"""What goes into each linear layer of an expert on its own text: the Gram matrices that RegMean needs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.cache import cached
from cogen.checkpoints.load import load_expert, own_loaders
from cogen.checkpoints.safetensors_file import TensorInfo, read_header
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.devices import mark
from cogen.evals import model_digest
from cogen.files import atomic_folder
from cogen.fusion.merge.inputs import Inputs, calibration_of, tokenizer_of
from cogen.merging.method import Method
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    import torch

#: Tokens of one forward pass.
WINDOW = 512


def calibrate(
    inputs: Inputs, method: Method, tokenizer_digest: str, reporter: Reporter = SILENT
) -> dict[str, dict[str, TensorInfo]] | None:
    """What the method has to know of the experts' layers; cached by an expert's weights and texts.

    :param tokenizer_digest: of the base's tokenizer.
    :returns: expert's id → tensor name → where the Gram matrix of its inputs lies; None: the method needs none.
    """
    if not method.calibrated:
        return None
    host = inputs.host
    found: dict[str, dict[str, TensorInfo]] = {}
    loaders = own_loaders(host)
    for id, checkpoint in inputs.experts.items():
        expert = host.expert(id)
        texts = calibration_of(inputs, id, tokenizer_digest, reporter)
        tokenizer, digest = tokenizer_of(inputs, id, tokenizer_digest)
        key = canonical_digest(
            ["grams", model_digest(checkpoint, loaders), digest, texts, WINDOW, *mark(deciding=True)]
        )
        folder = cached("grams", key.removeprefix("sha256:")[:32])
        if not folder.is_dir():
            reporter.describe(f"inputs of {id}")
            model = load_expert(host, expert.spec, checkpoint, "float32", deciding=True)
            with atomic_folder(folder) as part:
                write_grams(model, tokenizer, texts, part)
        found[id] = read_grams(folder)
    return found


def write_grams(model: Any, tokenizer: Any, texts: Sequence[str], folder: Path) -> None:
    """``XᵀX / tokens`` in float32 of every linear layer's inputs; layers with the same input share one matrix.

    The mean over tokens, so that an expert with longer samples has no larger weight.
    """
    import torch

    sums: dict[str, torch.Tensor] = {}
    alias: dict[str, str] = {}
    tokens = 0
    seen: dict[int, tuple[str, Any]] = {}

    def watch(name: str) -> Any:
        def hook(module: Any, args: tuple[Any, ...]) -> None:
            x = args[0]
            # The tensor is kept, so that its address cannot be another's within this pass.
            owner = seen.setdefault(id(x), (name, x))[0]
            alias.setdefault(name, owner)
            if alias[name] != name:
                return
            flat = x.detach().reshape(-1, x.shape[-1]).to(torch.float32)
            product = flat.T @ flat
            sums[name] = sums[name] + product if name in sums else product

        return hook

    layers = {name: m for name, m in model.named_modules() if isinstance(m, torch.nn.Linear)}
    handles = [module.register_forward_pre_hook(watch(name)) for name, module in layers.items()]
    try:
        with torch.no_grad():
            for text in texts:
                ids = tokenizer(text, add_special_tokens=False)["input_ids"]
                tokens += len(ids)
                for start in range(0, len(ids), WINDOW):
                    seen.clear()
                    model(input_ids=torch.tensor([ids[start : start + WINDOW]], device=model.device), use_cache=False)
    finally:
        for handle in handles:
            handle.remove()
    write_safetensors(folder / "grams.safetensors", {name: total / tokens for name, total in sums.items()})
    names = {f"{name}.weight": owner for name, owner in alias.items()}
    (folder / "layers.json").write_text(json.dumps(names, indent=1, sort_keys=True))


def read_grams(folder: Path) -> dict[str, TensorInfo]:
    """Tensor name → where its Gram matrix lies."""
    header = read_header(folder / "grams.safetensors")
    names: Mapping[str, str] = json.loads((folder / "layers.json").read_text())
    return {name: header[owner] for name, owner in names.items()}
