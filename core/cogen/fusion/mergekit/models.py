"""The models of a recipe, brought here and opened; headers and configurations are read, no weights."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.sources import Talk, fetch, silent
from cogen.errors import SourceError, UnsafeError
from cogen.fusion.adapters.concat import refuse_misfit
from cogen.fusion.mergekit.reference import Place, Reference

_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Model:
    """A model of a recipe. ``commit`` and ``lora_commit``: of the Hub's repository, ``None`` for folders."""

    reference: Reference
    checkpoint: Checkpoint
    commit: str | None = None
    lora_commit: str | None = None

    @property
    def title(self) -> str:
        return str(self.reference)

    @property
    def plain(self) -> bool:
        return self.checkpoint.adapter is None


class Models:
    """The models of a recipe, numbered in the order in which it names them; two names of one model are one model."""

    def __init__(self) -> None:
        self.all: list[Model] = []
        self._index: dict[Reference, int] = {}
        self._places: dict[tuple[Path, Path | None], int] = {}

    def __getitem__(self, reference: Reference) -> int:
        return self._index[reference]

    def add(self, reference: Reference, talk: Talk = silent) -> int:
        """Its number."""
        if reference not in self._index:
            folder, commit = locate(reference.model, talk)
            lora, lora_commit = locate(reference.lora, talk) if reference.lora else (None, None)
            place = folder.resolve(), lora.resolve() if lora else None
            if place not in self._places:
                self._places[place] = len(self.all)
                self.all.append(Model(reference, _opened(folder, lora), commit, lora_commit))
            self._index[reference] = self._places[place]
        return self._index[reference]


def open_models(references: Iterable[Reference], talk: Talk = silent) -> Models:
    """:raises SourceError: one is not here, and cannot be fetched.
    :raises UnsafeError: one has pickles only, or asks for remote code.
    :raises CompatibilityError: one is an adapter without its model, or an adapter does not fit.
    """
    models = Models()
    for reference in references:
        models.add(reference, talk)
    return models


def _opened(folder: Path, lora: Path | None) -> Checkpoint:
    checkpoint = open_folder(folder)
    if lora is None:
        return checkpoint
    adapter = read_adapter(lora)
    refuse_misfit(checkpoint, adapter)
    return Checkpoint(checkpoint.folder, checkpoint.tensors, adapter)


def locate(place: Place, talk: Talk = silent) -> tuple[Path, str | None]:
    """The folder of a model and, if it comes from the Hub, its commit.

    :raises SourceError: no such folder; a repository that is unknown, or neither cached nor reachable.
    """
    if place.folder.exists():
        if place.revision:
            raise SourceError(f"{place.path} is a folder and has no revision", hint=f"write {place.path}")
        return place.folder, None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", place.path):
        raise SourceError(
            f"{place.path} does not exist", hint="name a folder, relative to this one, or organisation/name on the Hub"
        )
    commit = _commit(place)
    return fetch(f"hf://{place.path}@{commit}", talk=talk), commit


def _commit(place: Place) -> str:
    """What a branch or tag points to now, or did when it was last fetched."""
    if place.revision and _COMMIT.fullmatch(place.revision):
        return place.revision
    from huggingface_hub import HfApi
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        found = HfApi().model_info(place.path, revision=place.revision)
    except GatedRepoError as error:
        raise SourceError(
            f"{place.path} is gated", hint="accept its terms on the Hub, then run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{place.path} has no revision {place.revision}", hint="check the spelling") from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"{place.path} is neither a folder here nor a model on the Hub", hint="check the spelling, or log in"
        ) from error
    except (OfflineModeIsEnabled, HfHubHTTPError, OSError) as error:
        return _cached_commit(place, error)
    except Exception as error:  # the transport's own errors; which library it is changes
        if type(error).__module__.partition(".")[0] not in ("httpx", "httpcore", "requests", "urllib3"):
            raise
        return _cached_commit(place, error)
    files = [file.rfilename for file in found.siblings or ()]
    if files and not any(file.endswith(".safetensors") for file in files):
        pickle = next((file for file in files if file.endswith((".bin", ".pt", ".pth"))), None)
        if pickle:
            raise UnsafeError(
                f"{place.path} holds {pickle}, a pickle, which can run code when it is read, and no safetensors",
                hint="ask the publisher for safetensors",
            )
    if not found.sha:
        raise SourceError(f"the Hub names no commit of {place.path}", hint="name one: model@commit")
    return found.sha


def _cached_commit(place: Place, error: Exception) -> str:
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    home = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=place.path, repo_type="model")
    note = home / "refs" / (place.revision or "main")
    found = note.read_text().strip() if note.is_file() else ""
    if not _COMMIT.fullmatch(found):
        raise SourceError(
            f"{place} is not a folder here, not in the Hub's cache, and the Hub cannot be reached",
            hint="check the spelling; else go online once, or unset HF_HUB_OFFLINE",
        ) from error
    return found
