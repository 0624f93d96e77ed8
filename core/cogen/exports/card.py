"""What an export says of itself: ``README.md``, a model card in the Hub's format, and ``export.json`` for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.artifacts.card import CARD_NAME, planned_result
from cogen.checkpoints.digests import files_of
from cogen.exports.formats import ExportFormat
from cogen.exports.source import ExportSource
from cogen.files import atomic_write
from cogen.markdown import plain as md
from cogen.markdown import table, word

if TYPE_CHECKING:
    from cogen.exports.run import Exported

RECORD = "export.json"
RECORD_VERSION = 1
_LIBRARIES = {"gguf": "gguf", "fp8": "transformers", "int8": "transformers", "onnx": "onnxruntime-genai"}
_USE = {
    "gguf": "```sh\ncogen serve .                   # an OpenAI-compatible endpoint, by llama.cpp\n"
    "ollama create {name} -f Modelfile && ollama run {name}\nllama-cli -m {file}\n```",
    "fp8": "```sh\ncogen serve .                   # an OpenAI-compatible endpoint\nvllm serve .{where}\n```\n\n"
    "transformers loads it with `AutoModelForCausalLM.from_pretrained` where compressed-tensors is installed.",
    "onnx": '```python\nimport onnxruntime_genai\nmodel = onnxruntime_genai.Model(".")\n```',
}
_USE["int8"] = _USE["fp8"]


def write_card(exported: Exported, source: ExportSource, folder: Path) -> None:
    """Card and record into ``folder``."""
    files = sorted({RECORD, CARD_NAME, *(path.relative_to(folder).as_posix() for path in files_of(folder))})
    content = record(exported, source) | {"files": files}
    atomic_write(folder / RECORD, (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode())
    front = metadata(exported, source).to_yaml()
    atomic_write(folder / CARD_NAME, f"---\n{front}\n---\n\n{_body(exported, source)}".encode())


def record(exported: Exported, source: ExportSource) -> dict[str, Any]:
    """``export.json``: format, tool, what it was made of, sizes and cost."""
    cost = exported.cost
    return {
        "version": RECORD_VERSION,
        "format": str(exported.format),
        "source": {"name": source.name, "weights_digest": source.checkpoint.weights_digest, "bytes": exported.before},
        "bytes": exported.bytes,
        "details": exported.details,
        "level": "none" if cost is None else cost.level,
        "cost": None
        if cost is None
        else {
            "change": cost.change,
            "low": cost.low,
            "high": cost.high,
            "documents": cost.documents,
            "suites": [vars(row) for row in cost.rows],
            "not_measured": list(cost.missing),
        },
    }


def metadata(exported: Exported, source: ExportSource) -> Any:
    """A :class:`huggingface_hub.ModelCardData`: the composite's own, as a quantized model of the same bases."""
    from huggingface_hub import ModelCardData

    own = _own_metadata(source)
    kept: dict[str, Any] = {
        name: own[name]
        for name in ("language", "license", "license_name", "license_link", "base_model", "pipeline_tag")
        if own.get(name)
    }
    tags = [tag for tag in own.get("tags") or [] if tag != "cogen"]
    extra: dict[str, Any] = (
        {"base_model_relation": "quantized" if exported.format.quantized else "finetune"}
        if kept.get("base_model")
        else {}
    )
    titles = {f"{s.owner}/{s.id}": s for s in source.lock.plan.suites} if source.lock is not None else {}
    results = [planned_result(r, titles.get(r.column)) for r in (exported.cost.results if exported.cost else ())]
    return ModelCardData(
        library_name=_LIBRARIES[exported.format.kind],
        tags=["cogen", *tags, exported.format.kind],
        model_name=f"{source.name} ({exported.format})" if results else None,
        eval_results=results or None,
        **kept,
        **extra,
    )


def _own_metadata(source: ExportSource) -> dict[str, Any]:
    """Front matter of the source's card; nothing where it has none that can be read."""
    import yaml
    from huggingface_hub import ModelCard

    path = source.folder / CARD_NAME
    try:
        found: dict[str, Any] = (
            ModelCard.load(path, ignore_metadata_errors=True).data.to_dict() if path.is_file() else {}
        )
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found


def _body(exported: Exported, source: ExportSource) -> str:
    format: ExportFormat = exported.format
    details = exported.details
    share = exported.bytes / exported.before if exported.before else 1.0
    use = _USE[format.kind].format(
        name=word(source.name).strip("`'"),
        file=details.get("file", ""),
        # It has no kernels for FP8 weights with activations in 16 bits on CPUs.
        where="                    # on a GPU" if str(format) == "fp8" else "",
    )
    parts = [
        f"# {md(source.name)}, {format}",
        f"The model {md(source.name)} as {format}, made by `cogen export` with {md(str(details['tool']))}: "
        f"{exported.bytes / 1e6:,.1f} MB where it has {exported.before / 1e6:,.1f} MB ({share:.0%}). The weights that "
        f"it was made of are `{source.checkpoint.weights_digest}`.",
        f"## Use it\n\n{use}",
        f"## What it costs\n\n{_cost(exported)}",
    ]
    return "\n\n".join(parts) + "\n"


def _cost(exported: Exported) -> str:
    cost = exported.cost
    if cost is None:
        return "Not measured (`--level none`)."
    rows = [
        [
            row.suite,
            row.metric.replace("_", " "),
            f"{row.before:.4f}",
            f"{row.after:.4f}",
            f"{100 * row.change:+.2f} %",
            "" if row.low is None or row.high is None else f"{100 * row.low:+.2f} to {100 * row.high:+.2f} %",
            str(row.n),
        ]
        for row in cost.rows
    ]
    heads = ["suite", "metric", "before", "after", "change", "95 % interval", "documents"]
    text = [
        table(heads, rows),
        f"Test split, level {cost.level}, the same documents before and after, logits in float32; bits per byte: lower "
        "is better. The export ran in the engine that it is for" + (f"; {cost.sentence}." if cost.sentence else "."),
    ]
    if cost.missing:
        text.append(f"Not measured: {', '.join(map(md, cost.missing))}.")
    return "\n\n".join(text)
