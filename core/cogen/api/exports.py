"""``cogen.export``: a composite in the form of another engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cogen.api.checks import as_host, as_path, as_text, check_reporter
from cogen.api.options import PathLike
from cogen.choices import LEVELS, check_choice
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.exports.run import Exported
    from cogen.host import Host


def export(
    model: PathLike,
    to: str,
    output: PathLike | None = None,
    *,
    level: str = "quick",
    replace: bool = False,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write a model folder as GGUF, FP8, INT8 or ONNX, and measure what it costs.

    :param model: a folder that :func:`cogen.fuse` or :func:`cogen.merge` wrote, or another model folder.
    :param to: ``"gguf"``, ``"gguf:Q4_K_M"`` (or another type of llama.cpp that needs no importance matrix), ``"fp8"``,
        ``"fp8:W8A8"``, ``"int8"`` or ``"onnx"``.
    :param output: folder to write; default: the model's name and the format, beside it.
    :param level: quick: bits per byte before and after on the first 1,500 tokens of each suite; full: everything; none.
    :param replace: replace an export to another format, too.
    :raises CogenError: it cannot be exported, a tool is missing or failed; nothing is left behind.
    """
    require("fuse", "cogen.export")
    from cogen.exports.formats import read_format
    from cogen.exports.run import export as run

    check_choice("level", level, LEVELS)
    check_reporter(reporter)
    format, folder = read_format(as_text("to", to)), as_path("model", model)
    target = default_output(folder, format.suffix) if output is None else as_path("output", output)
    return run(folder, format, target, host=as_host(host), level=level, replace=replace, reporter=reporter)


def default_output(model: Path, suffix: str) -> Path:
    """``composite`` and ``fp8`` → ``composite-fp8``, beside it."""
    folder = model.resolve() if model.name in ("", "..") else model
    return folder.with_name(f"{folder.name}-{suffix}")
