"""`cogen new NAME --from WEIGHTS`: what was computed, and what is left to say."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cogen.cli.output import out
from cogen.cli.progress import CommandReporter


def new_from(name: str, folder: Path, source: str, **options: Any) -> None:
    """Write the plugin and print its facts, its open fields and the next commands."""
    from cogen.api.plugins import new_from as create

    with CommandReporter("reading") as reporter:
        made = create(name, source, folder, reporter=reporter, **options)
    model = made.expert.model
    where = {"package": "in the package", "apart": "uploaded by `cogen publish`", "pinned": model.source}
    facts = {
        "architecture": model.architecture,
        "relation": model.relation,
        "parameters": f"{model.parameters:,}",
        "dtype": model.dtype,
        "context length": f"{model.context_length:,}",
        "base": model.base.name if model.base is not None else "none",
        "tokenizer": f"{made.expert.tokenizer.kind}, {made.expert.tokenizer.vocab_size:,} entries",
        "weights": f"{made.bytes:,} bytes, {where[made.weights]}",
    }
    out.table([{"fact": fact, "value": value} for fact, value in facts.items()], title=f"{name}, as computed")
    manifest = next(folder.glob("src/*/expert.toml"))
    for note in made.notes:
        out.text(f"note: {note}")
    out.success(f"created {folder}; {len(made.todo)} fields of {manifest} say TODO: {', '.join(made.todo)}")
    steps = [f"edit {manifest}", f"cogen check {folder}", f"cogen publish {folder}"]
    out.text("next:")
    for step in steps:
        out.text(f"  {step}")
    result = {"expert": name, "folder": str(folder), "next": steps, "todo": list(made.todo), "weights": made.weights}
    out.result(result | {"notes": list(made.notes), "model": model.model_dump(mode="json", exclude_none=True)})
