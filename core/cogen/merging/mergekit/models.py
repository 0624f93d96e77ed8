"""The models of a recipe, fetched and opened; only headers and configurations are read."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cogen.checkpoints.adapter import read_adapter
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.checkpoints.sources import fetch
from cogen.errors import CompatibilityError, SourceError, UnsafeError
from cogen.merging.mergekit.reference import ModelLocation, Reference
from cogen.reporter import SILENT, Reporter

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

    def add(self, reference: Reference, reporter: Reporter = SILENT) -> int:
        """Its number."""
        if reference not in self._index:
            folder, commit = locate(reference.model, reporter)
            lora, lora_commit = None, None
            if reference.lora:
                lora, lora_commit = locate(reference.lora, reporter, "adapter_config.json")
            place = folder.resolve(), lora.resolve() if lora else None
            if place not in self._places:
                self._places[place] = len(self.all)
                self.all.append(Model(reference, _open(folder, lora), commit, lora_commit))
            self._index[reference] = self._places[place]
        return self._index[reference]


def open_models(references: Iterable[Reference], reporter: Reporter = SILENT) -> Models:
    """:raises SourceError: a model is not available locally and cannot be fetched.
    :raises UnsafeError: a model has only pickles, or requires remote code.
    :raises CompatibilityError: an adapter without its model, or one that does not fit it.
    """
    models = Models()
    for reference in references:
        models.add(reference, reporter)
    return models


def _open(folder: Path, lora: Path | None) -> Checkpoint:
    if (folder / "adapter_config.json").is_file():
        raise CompatibilityError(f"{folder.name} is an adapter, not a model", hint=f"write model+{folder.name}")
    checkpoint = open_folder(folder)
    if lora is None:
        return checkpoint
    return checkpoint.with_adapter(read_adapter(lora))


def locate(place: ModelLocation, reporter: Reporter = SILENT, file: str = "config.json") -> tuple[Path, str | None]:
    """The folder of a model and, if it comes from the Hub, its commit.

    :param file: one that the repository has in any case.
    :raises SourceError: no such folder; a repository that is unknown, or neither cached nor reachable.
    :raises UnsafeError: the repository has no safetensors.
    """
    if place.folder.exists():
        if place.revision:
            raise SourceError(f"{place.path} is a folder and has no revision", hint=f"write {place.path}")
        return place.folder, None
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", place.path):
        raise SourceError(
            f"{place.path} does not exist",
            hint="give a folder, relative to the working directory, or organization/name on the Hub",
        )
    commit = _commit(place, file)
    folder = fetch(f"hf://{place.path}@{commit}", reporter=reporter)
    if not any(folder.glob("*.safetensors")):
        raise UnsafeError(
            f"{place.path} has no safetensors weights; pickles such as pytorch_model.bin can run code and are not read",
            hint="ask the publisher for safetensors",
        )
    return folder, commit


def _commit(place: ModelLocation, file: str) -> str:
    """What a branch or tag points to now or, without a network, did when it was last fetched."""
    if place.revision and _COMMIT.fullmatch(place.revision):
        return place.revision
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        # The client notes in its cache which commit the branch was, and the cache's folder is called by the commit.
        found = Path(hf_hub_download(place.path, file, revision=place.revision)).parent.name
    except LocalEntryNotFoundError as error:
        raise SourceError(
            f"{place} is neither a local folder nor in the Hub's cache, and the Hub cannot be reached",
            hint="check the spelling, connect to the network, or unset HF_HUB_OFFLINE",
        ) from error
    except GatedRepoError as error:
        raise SourceError(
            f"{place.path} is gated", hint="accept its terms on the Hub, then run `hf auth login`"
        ) from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{place.path} has no revision {place.revision}", hint="check the spelling") from error
    except RepositoryNotFoundError as error:
        raise SourceError(
            f"{place.path} is neither a local folder nor a model on the Hub", hint="check the spelling, or log in"
        ) from error
    except EntryNotFoundError as error:
        raise SourceError(f"{place} has no {file}", hint="write a model, and an adapter after a +") from error
    except (HfHubHTTPError, OSError) as error:
        raise SourceError(f"fetching {place} failed: {error}", hint="check the network and the free disk") from error
    if not _COMMIT.fullmatch(found):
        raise SourceError(f"the Hub's cache has no commit for {place}", hint="pin one: model@commit")
    return found
