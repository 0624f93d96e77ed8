"""`cogen audit`: an expert that was trained before, in its plugin's folder, measured again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.errors import SpecError, TrainError
from cogen.files import atomic_write
from cogen.forge.audit import audit_expert, with_audit
from cogen.forge.build import PreparedTraining, prepare
from cogen.forge.consent import may_be_counted
from cogen.forge.package import to_toml
from cogen.forge.recipe import AuditRecipe, TrainRecipe, read_recipe
from cogen.host.manifest import read_manifest
from cogen.reporter import SILENT, Reporter
from cogen.spec.data import Audit
from cogen.spec.expert import ExpertSpec


def audit_recipe(
    path: Path, sizes: Callable[[TrainRecipe], AuditRecipe], save: bool, reporter: Reporter = SILENT
) -> tuple[Path, ExpertSpec, Audit]:
    """The manifest's path, the manifest and the audit of the expert that this recipe trained.

    :param sizes: gives the audit's settings for the recipe.
    :param save: the manifest, on disk too, gets the audit.
    :raises TrainError: nothing was trained by it yet, or recipe, texts or weights have changed since.
    :raises SpecError: the recipe or the manifest cannot be read.
    """
    recipe = read_recipe(path)
    folder = path.resolve().parent / recipe.plugin
    manifest = folder / "expert.toml"
    spec = _manifest(manifest, recipe)
    training = spec.data.training
    if training == "unknown" or training.recipe_digest != recipe.digest:
        differs = f"{recipe.id} was trained by another recipe than {path.name} is now"
        if save:
            raise TrainError(differs, hint="restore the recipe that it was trained by, or train again")
        reporter.note(f"{differs}: the figures hold as far as its texts are the same")
    if file_digest(folder / "weights") != spec.model.file_digest:
        raise TrainError(
            f"the weights in {folder / 'weights'} are not those of the manifest", hint="train again, or restore them"
        )
    prepared = prepare(path, reporter, new_canaries=False)
    split = spec.data.split
    counted = len(may_be_counted(recipe, prepared.corpus))
    if split != "unknown" and split.train_documents != counted:
        raise TrainError(
            f"{recipe.id} was trained on {split.train_documents:,} documents, the recipe gives {counted:,} now",
            hint="the texts have changed since: restore them, or train again",
        )
    trained = training != "unknown" and training.hyperparameters.get("canaries") == prepared.canaries.statement
    audit = audit_expert(prepared, _checkpoint(prepared, folder / "weights"), sizes(recipe), reporter, trained)
    if save:
        spec = with_audit(spec, audit)
        atomic_write(manifest, to_toml(spec).encode())
    return manifest, spec, audit


def _manifest(file: Path, recipe: TrainRecipe) -> ExpertSpec:
    if not file.is_file():
        raise TrainError(f"{recipe.id} has not been trained yet", hint="run `cogen train` with this recipe first")
    reading = read_manifest(file)
    if reading.document is None:
        raise SpecError(f"{file.name}: {reading.reason}", hint=reading.hint)
    return ExpertSpec.model_validate(reading.document)


def _checkpoint(prepared: PreparedTraining, weights: Path) -> Checkpoint:
    if prepared.recipe.training.mode == "full":
        return open_folder(weights)
    return Checkpoint(prepared.base.folder, prepared.base.tensors, read_adapter(weights))
