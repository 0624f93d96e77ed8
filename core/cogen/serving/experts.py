"""The experts of a route as model folders that an engine loads by name."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.cache import cached
from cogen.checkpoints.digests import check_file, file_digest
from cogen.checkpoints.json_files import read_object
from cogen.checkpoints.load import applied, own_loaders
from cogen.checkpoints.model import Checkpoint, open_weights
from cogen.checkpoints.safetensors_writer import SafetensorsWriter
from cogen.checkpoints.side_files import check_side_files, side_files
from cogen.errors import CompatibilityError, DigestError
from cogen.evals import model_digest
from cogen.evals.matrix import BASE
from cogen.files import atomic_write, made_once
from cogen.fusion.route.manifest import RouteManifest, check_unmoved
from cogen.merging.writer import copy_model_files
from cogen.reporter import Reporter
from cogen.spec.expert import canonical_digest

if TYPE_CHECKING:
    from cogen.host import Host


_WEIGHTS = "model.safetensors"
#: What was written beside an adapter's and its base's weights; a hidden file is none of the model's.
_NOTE = ".served.json"


@contextlib.contextmanager
def expert_folders(host: Host, manifest: RouteManifest, reporter: Reporter) -> Iterator[Path]:
    """A temporary folder with one link to a model folder for each expert, by its id, and ``base`` for the fallback.

    An adapter is added to its base once, into the cache: engines that load models by name read no adapters.

    :raises CompatibilityError: a plugin loads its model with code of its own.
    """
    if loaders := own_loaders(host):
        raise CompatibilityError(
            f"{loaders[0]} loads models with code of its own, which no engine runs",
            hint="talk to the route with `cogen chat`",
        )
    checkpoints = {
        id: open_weights(expert.spec.model, reporter=reporter) for id, expert in check_unmoved(host, manifest).items()
    }
    if manifest.fallback is not None:
        checkpoints[BASE] = open_weights(manifest.fallback, reporter=reporter)
    with tempfile.TemporaryDirectory(prefix="cogen-route-") as name:
        place = Path(name)
        for id, checkpoint in checkpoints.items():
            (place / id).symlink_to(model_folder(checkpoint, id, reporter).resolve(), target_is_directory=True)
        yield place


def model_folder(checkpoint: Checkpoint, name: str, reporter: Reporter) -> Path:
    """The checkpoint's folder; of an adapter, one in the cache with its weights added to the base's."""
    if checkpoint.adapter is None:
        return checkpoint.folder

    def make(folder: Path) -> None:
        reporter.note(f"adding the adapter of {name} to its base, once")
        shapes = {tensor: (info.dtype, info.shape) for tensor, info in checkpoint.tensors.items()}
        with SafetensorsWriter(folder / _WEIGHTS, shapes, {"format": "pt"}) as writer:
            for tensor in checkpoint.names():
                value = applied(checkpoint, tensor) if checkpoint.changed(tensor) else checkpoint.read(tensor)
                writer.write(tensor, value)
        copy_model_files(checkpoint.folder, folder)

        note = {"files": side_files(folder), "weights": file_digest(folder / _WEIGHTS)}
        atomic_write(folder / _NOTE, json.dumps(note).encode())

    # Tokenizer and chat template lie in the folder as well, and model_digest does not speak of them.
    key = canonical_digest([model_digest(checkpoint), side_files(checkpoint.folder)]).removeprefix("sha256:")[:24]
    found = made_once(cached("served", key), make)
    _check_made(found, name)
    return found


def _check_made(folder: Path, name: str) -> None:
    """:raises DigestError: a file of it is not the one that was written."""
    what = f"the model of {name} in the cache"
    try:
        note = read_object(folder / _NOTE)
        files, weights = dict(note["files"]), str(note["weights"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise DigestError(f"{what} is damaged ({folder})", hint="remove that folder, and it is made again") from error
    check_side_files(folder, files, what)
    check_file(folder / _WEIGHTS, weights, what)
