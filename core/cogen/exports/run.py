"""``cogen export``, from a folder to a folder: check, convert, compare, measure, describe; staged and swapped whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import UsageError
from cogen.exports import compressed, gguf, llama, onnx
from cogen.exports.card import RECORD, write_card
from cogen.exports.cost import CostReport, check_same, measure_cost, suites_for
from cogen.exports.engine import opened
from cogen.exports.formats import ExportFormat
from cogen.exports.source import ExportSource, open_source
from cogen.exports.tools import weight_bytes
from cogen.files import atomic_folder
from cogen.merging.output_folder import check_output_folder, one_writer, other_recipe
from cogen.merging.own_files import keep_own_files
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.host import Host

#: A change in bits per byte above which a note says so: what FP8 is held to.
WORTH_A_NOTE = 0.005


@dataclass(frozen=True)
class Exported:
    """What an export gave.

    :param bytes: of its files with weights; ``before``: of the composite's weights.
    :param details: tool, file and the like, as in ``export.json``.
    :param cost: None at the level none.
    """

    folder: Path
    format: ExportFormat
    bytes: int
    before: int
    details: dict[str, Any]
    cost: CostReport | None
    notes: tuple[str, ...] = field(default=())


def export(
    model: Path,
    format: ExportFormat,
    output: Path,
    *,
    host: Host,
    level: str = "quick",
    replace: bool = False,
    reporter: Reporter = SILENT,
) -> Exported:
    """Write ``output`` whole, or leave what was there.

    :raises CompatibilityError: the model has no form in this format.
    :raises MissingExtraError: a tool is not installed.
    :raises ExportError: a tool failed, or what it wrote is another function.
    :raises UsageError: ``output`` holds something else.
    """
    source = open_source(model)
    _check(source, format)
    _check_output(model, output, format, replace)
    suites, missing = suites_for(host, source) if level != "none" else ([], [])
    with one_writer(output), atomic_folder(output, replace=True) as folder:
        details = _write(source, format, folder, reporter)
        notes = _compare(source, format, folder, reporter)
        cost = None
        if level != "none":
            run = _runner(source, format, folder, details)
            if run is None:
                notes.append(_NOT_RUN)
            else:
                from cogen.checkpoints.load import load_tokenizer

                tokenizer = load_tokenizer(source.folder)
                cost = measure_cost(source, tokenizer, suites, missing, run, level, reporter)
        found = Exported(output, format, weight_bytes(folder), source.bytes, details, cost)
        write_card(found, source, folder)
        keep_own_files(output, folder, reporter)
    return Exported(output, format, found.bytes, found.before, details, cost, (*notes, *_remarks(found)))


_NOT_RUN = f'nothing here can run a GGUF, so it was not measured: pip install "cogen-core[{llama.EXTRA}]"'


def _check(source: ExportSource, format: ExportFormat) -> None:
    if format.kind == "gguf":
        gguf.check_tools(format)
        gguf.check_fits(source)
    elif format.kind == "onnx":
        onnx.check_fits(source)
        onnx.check_tools()
    else:
        compressed.check_fits(source, format.kind)
        compressed.check_tools(format.kind)


def _check_output(model: Path, output: Path, format: ExportFormat, replace: bool) -> None:
    """Only exports are replaced: by the same export, and with ``replace`` by another one.

    :raises UsageError: the folder is the model itself, or holds something else.
    """
    from cogen.checkpoints.json_files import read_object

    check_output_folder(output)
    if not output.is_dir() or not any(output.iterdir()):
        return
    if not (output / RECORD).is_file() or output.resolve() == model.resolve():
        raise UsageError(f"{output} holds a composite", hint="an export has a folder of its own: give another with -o")
    if replace:
        return
    try:
        former = read_object(output / RECORD).get("format")
    except (OSError, ValueError):
        former = "something else"
    if former != str(format):
        raise other_recipe(output, f"an export to {former}")


def _write(source: ExportSource, format: ExportFormat, folder: Path, reporter: Reporter) -> dict[str, Any]:
    if format.kind == "gguf":
        return gguf.write_gguf(source, format, folder, reporter)
    if format.kind == "onnx":
        return onnx.write_onnx(source, folder, reporter)
    return compressed.write_compressed(source, str(format), folder, reporter)


def _compare(source: ExportSource, format: ExportFormat, folder: Path, reporter: Reporter) -> list[str]:
    """Before anything is quantized, a conversion must be the same function.

    :raises ExportError: it is another one.
    """
    if format.kind in ("fp8", "int8"):
        return []
    from cogen.checkpoints.load import load_tokenizer

    plain = folder / gguf.PLAIN_FILE
    if format.kind == "gguf" and not llama.has_binding():
        plain.unlink(missing_ok=True)
        return []  # _NOT_RUN is said where it is measured
    reporter.describe("comparing with the composite")
    config = _config(source)
    if format.kind == "onnx":
        graph = opened(lambda: onnx.OnnxModel(folder / onnx.FILE, config))
        check_same(source, load_tokenizer(source.folder), graph, "the ONNX graph")
        return []
    file = plain if plain.is_file() else next(folder.glob("*.gguf"))
    loaded = opened(lambda: llama.LlamaModel(file, config))
    check_same(source, load_tokenizer(source.folder), loaded, "the GGUF in llama.cpp")
    plain.unlink(missing_ok=True)
    return []


def _runner(
    source: ExportSource, format: ExportFormat, folder: Path, details: dict[str, Any]
) -> tuple[Callable[[], Any], str] | None:
    """Loads the export in its engine, and the digest that a cached figure is kept under; None: no engine is here."""
    from cogen.checkpoints.digests import file_digest
    from cogen.exports.tools import version
    from cogen.spec.expert import canonical_digest

    if format.kind == "gguf":
        if not llama.has_binding():
            return None
        file, engine = folder / details["file"], version("cyllama")
        return (lambda: llama.LlamaModel(file, _config(source))), canonical_digest([file_digest(file), engine])
    if format.kind == "onnx":
        graph = folder / onnx.FILE
        digests = [file_digest(graph), file_digest(folder / f"{onnx.FILE}.data")]
        return (lambda: onnx.OnnxModel(graph, _config(source))), canonical_digest([*digests, version("onnxruntime")])
    digest = canonical_digest([compressed.digest(folder), version("compressed-tensors")])
    return (lambda: compressed.load(folder)), digest


def _config(source: ExportSource) -> Any:
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(source.folder, trust_remote_code=False, local_files_only=True)


def _remarks(found: Exported) -> list[str]:
    notes = []
    if found.cost is not None and found.cost.change is not None and found.cost.change > WORTH_A_NOTE:
        notes.append(f"{found.format} costs {100 * found.cost.change:.2f} % more bits per byte")
    if found.cost is not None and found.cost.missing:
        notes.append(f"not measured: {', '.join(found.cost.missing)}")
    if found.format.kind == "gguf" and not found.details.get("template"):
        notes.append("the Modelfile has no TEMPLATE: ollama uses what it knows of the GGUF's own chat template")
    return notes
