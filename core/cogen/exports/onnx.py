"""ONNX by onnxruntime-genai's model builder: float32 with a key-value cache, for ONNX Runtime on the CPU."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import CompatibilityError
from cogen.exports.engine import EngineModel
from cogen.exports.source import ExportSource, plain_view
from cogen.exports.tools import ExportError, need_module, run_tool, version
from cogen.reporter import Reporter, begin

if TYPE_CHECKING:
    import torch

EXTRA = "export-onnx"
FILE = "model.onnx"
_HINT = "the builder does not know every architecture: export it to gguf"


def check_tools() -> None:
    """:raises MissingExtraError: the builder or ONNX Runtime is not installed."""
    for module in ("onnxruntime_genai", "onnxruntime", "onnx_ir", "onnx"):
        need_module(module, "export to onnx", EXTRA)


def check_fits(source: ExportSource) -> None:
    """:raises CompatibilityError: a mixture, which the builder does not build."""
    if any(".experts." in name for name in source.checkpoint.tensors):
        raise CompatibilityError(
            "a mixture of experts cannot be exported to onnx: onnxruntime-genai builds none of these architectures",
            hint="export it to gguf, or export a merge of the same experts",
        )


def write_onnx(source: ExportSource, folder: Path, reporter: Reporter) -> dict[str, Any]:
    """``model.onnx``, its data, ``genai_config.json`` and the tokenizer; returns notes for the card.

    :raises ExportError: the builder cannot build it.
    """
    begin(reporter, "building the ONNX graph", None)
    module = "onnxruntime_genai.models.builder"
    with plain_view(source) as model, tempfile.TemporaryDirectory(prefix="cogen-onnx-") as scratch:
        command = [sys.executable, "-m", module, "-i", str(model), "-o", str(folder)]
        command += ["-p", "fp32", "-e", "cpu", "-c", scratch]
        run_tool(command, "onnxruntime-genai's builder", env={"HF_HUB_OFFLINE": "1"}, hint=_HINT)
    if not (folder / FILE).is_file():
        raise ExportError("onnxruntime-genai's builder wrote nothing", hint=_HINT)
    return {"file": FILE, "type": "float32", "tool": version("onnxruntime-genai")}


class OnnxModel(EngineModel):
    """A graph of the builder, run by ONNX Runtime on the CPU.

    :param config: of the model that it was made of.
    """

    def __init__(self, file: Path, config: Any) -> None:
        import onnxruntime
        import torch

        super().__init__(config)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self._past = [i.name for i in self._session.get_inputs() if i.name.startswith("past_key_values.")]

    def logits(self, ids: torch.Tensor) -> torch.Tensor:
        import numpy
        import torch

        tokens = ids.numpy()[None, :].astype(numpy.int64)
        inputs: dict[str, Any] = {"input_ids": tokens, "attention_mask": numpy.ones_like(tokens)}
        heads = self.config.num_key_value_heads
        width = getattr(self.config, "head_dim", None) or self.config.hidden_size // self.config.num_attention_heads
        for past in self._past:  # shape (batch, heads, tokens before, width)
            inputs[past] = numpy.zeros((1, heads, 0, width), dtype=numpy.float32)
        return torch.from_numpy(self._session.run(["logits"], inputs)[0][0])
