"""`cogen export`: a composite in the form of another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cogen.choices import LEVELS
from cogen.cli.arguments import choice, starting
from cogen.cli.options import Output
from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter

if TYPE_CHECKING:
    from cogen.exports.run import Exported


def _formats() -> tuple[str, ...]:
    from cogen.exports.formats import FORMATS

    return FORMATS


To = Annotated[
    str,
    typer.Option(
        "--to",
        metavar="gguf[:TYPE]|fp8[:W8A8]|int8|onnx",
        help="gguf: for llama.cpp and ollama, in the weights' own type or quantized to TYPE, such as Q8_0 or Q4_K_M. "
        "fp8: 8-bit weights, for vLLM and transformers; fp8:W8A8 and int8: activations, too. onnx: for ONNX Runtime.",
        autocompletion=starting(_formats),
    ),
]
Level = Annotated[
    str, choice("level", LEVELS, "--level", help="How its cost in bits per byte is measured: quick, full, or none.")
]


def command(
    model: Annotated[Path, typer.Argument(metavar="COMPOSITE", help="A model folder.")],
    to: To,
    output: Output = None,
    level: Level = "quick",
    replace: Annotated[bool, typer.Option("--replace", help="Replace an export to another format, too.")] = False,
) -> None:
    """Export a composite for other engines, and measure what it costs.

    The folder gets the weights in the new form, everything that the engine needs beside them, and a model card with the
    bits per byte before and after. Default folder: COMPOSITE-FORMAT.
    """
    from cogen.api.exports import export

    with CommandReporter("exporting") as reporter:
        found = export(model, to, output, level=level, replace=replace, reporter=reporter)
    _show(found)
    cost = found.cost
    out.result(
        {
            "folder": str(found.folder),
            "format": str(found.format),
            "bytes": found.bytes,
            "bytes_before": found.before,
            "details": found.details,
            "level": level,
            "change": None if cost is None else cost.change,
            "change_low": None if cost is None else cost.low,
            "change_high": None if cost is None else cost.high,
            "documents": 0 if cost is None else cost.documents,
            "suites": [] if cost is None else [vars(row) for row in cost.rows],
            "not_measured": [] if cost is None else list(cost.missing),
            "notes": list(found.notes),
        }
    )


def _show(found: Exported) -> None:
    share = found.bytes / found.before if found.before else 1.0
    size = f"{found.bytes / 1e6:,.1f} MB, {share:.0%} of the composite's {found.before / 1e6:,.1f} MB"
    out.success(f"wrote {found.folder}: {found.format}, {size}")
    if found.cost is not None:
        rows = [
            {
                "suite": row.suite,
                "metric": row.metric.replace("_", " "),
                "before": f"{row.before:.4f}",
                "after": f"{row.after:.4f}",
                "change": f"{100 * row.change:+.2f} %",
            }
            for row in found.cost.rows
        ]
        numbers = [Column(name, justify="right") for name in ("before", "after", "change")]
        out.table(rows, ["suite", "metric", *numbers], title=f"cost, test split, level {found.cost.level}")
        if found.cost.sentence:
            out.text(found.cost.sentence)
    for note in found.notes:
        out.warn(note)
    if found.format.kind == "onnx":  # no engine of `cogen serve` reads it
        out.text(f"run it with ONNX Runtime: onnxruntime_genai.Model({str(found.folder)!r})")
    else:
        out.text(f"serve it: cogen serve {found.folder}")
