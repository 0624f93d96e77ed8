"""``cogen.audit``: what an expert's weights reveal of its training text."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.api.checks import as_host, as_path, check_number, check_reporter
from cogen.api.options import PathLike
from cogen.errors import UsageError
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.forge.recipe import AuditRecipe, TrainRecipe
    from cogen.host import Host
    from cogen.spec.data import Audit


@dataclass(frozen=True)
class AuditedExpert:
    """The audit of an expert, and whether its manifest, ``manifest``, holds it now."""

    expert: str
    audit: Audit
    manifest: Path
    saved: bool


def audit(
    expert: PathLike,
    *,
    save: bool = False,
    prefixes: int | None = None,
    documents: int | None = None,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> AuditedExpert:
    """Measure canaries, verbatim extraction and membership of an expert whose training text is on this machine.

    :param expert: its recipe.toml, the folder with it, or the id of an expert installed from that folder.
    :param save: write the audit into the card, ``expert.toml``.
    :param prefixes: passages of training text to continue; ``documents``: those of the membership test, on each side;
        default: the recipe's ``[audit]``.
    :raises UsageError: there is no such recipe. :raises TrainError: it is not the one that the expert was trained by.
    """
    require("fuse", "cogen.audit()")
    from cogen.forge.audited import audit_recipe

    check_reporter(reporter)
    for name, value in (("prefixes", prefixes), ("documents", documents)):
        if value is not None:
            check_number(name, value, 0, whole=True)
    sizes = functools.partial(_sizes, prefixes=prefixes, documents=documents)
    manifest, spec, found = audit_recipe(_recipe(expert, host), sizes, save, reporter)
    return AuditedExpert(spec.id, found, manifest, save)


def _sizes(recipe: TrainRecipe, *, prefixes: int | None, documents: int | None) -> AuditRecipe:
    from cogen.forge.recipe import AuditRecipe

    changed = {name: value for name, value in (("prefixes", prefixes), ("documents", documents)) if value is not None}
    return (recipe.audit or AuditRecipe(canaries=0)).model_copy(update=changed)


def _recipe(expert: PathLike, host: Host | None) -> Path:
    """The recipe of a file, folder or installed expert."""
    path = as_path("expert", expert)
    if path.is_dir() and (path / "recipe.toml").is_file():
        return path / "recipe.toml"
    if path.is_file() or path.suffix == ".toml":
        return path
    found = next((plugin.expert for plugin in as_host(host).plugins if plugin.name == str(expert)), None)
    if found is None:
        raise UsageError(
            f"{str(expert)!r} is neither a recipe nor an installed expert",
            hint="name its recipe.toml: an audit needs the training text",
        )
    for folder in list(found.root.resolve().parents)[:3]:
        if (folder / "recipe.toml").is_file():
            return folder / "recipe.toml"
    raise UsageError(
        f"the recipe of {expert} is not beside its plugin, and an audit needs the training text",
        hint="its publisher runs `cogen audit recipe.toml` where it was trained",
    )
