"""Weights that are not in the wheel: signed, uploaded by the Hub's own client, and pinned in the manifest."""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.links import leads_out
from cogen.checkpoints.sources.hf import _PATTERNS
from cogen.errors import SpecError, UnsafeError, UsageError
from cogen.files import alive
from cogen.remote.errors import RegistryError
from cogen.sharing.publishing import parts
from cogen.sharing.weights import MANIFEST, make_manifest
from cogen.spec.expert import ExpertSpec
from cogen.trust import Signer, sign_folder
from cogen.trust.signing import SIGNATURE
from cogen.untrusted.paths import user_path


@dataclass(frozen=True)
class HubPlace:
    """Where weights go. ``endpoint`` and ``token`` are ``None`` for the Hub itself, as the user is logged in there."""

    repository: str
    endpoint: str | None = None
    token: str | None = None


@dataclass(frozen=True)
class PinnedUpload:
    """What the manifest has to say of weights that were uploaded."""

    repository: str
    revision: str
    file_digest: str


def local_weights(spec: ExpertSpec, folder: Path) -> Path | None:
    """The folder of weights on this machine that a manifest names with file://; ``None``: they are elsewhere already.

    :raises SpecError: something else that nobody but this machine has is named.
    """
    source = spec.model.source
    for what, other in (("model.base", spec.model.base), ("tokenizer", spec.tokenizer)):
        if (
            other is not None
            and other.source.startswith("file://")
            and (what == "model.base" or other.source != source)
        ):
            raise SpecError(
                f"{spec.id}: {what} is {other.source}, which nobody else has",
                hint="name a base that others can fetch, such as hf://org/repo at a commit; `cogen digest` describes it"
                if what == "model.base"
                else "put the tokenizer beside the weights, or name one that others can fetch",
            )
    if not source.startswith("file://"):
        return None
    path = user_path(unquote(source.removeprefix("file://")))
    path = path if path.is_absolute() else folder / path
    if not path.is_dir():
        raise SpecError(f"{spec.id}: {path} is not a folder of weights", hint="correct [model] source in expert.toml")
    return path


def upload(
    weights: Path,
    place: HubPlace,
    *,
    publisher: str,
    project: str,
    version: str,
    key: Signer | None,
    password: str | None,
    note: Callable[[str], None] = lambda _: None,
) -> PinnedUpload:
    """Sign the folder and make one commit that holds exactly it; large files of weights go as shards.

    Run again after an interruption, it sends only the shards that are not there yet.

    :raises RegistryError: the Hub (or the registry) refuses it or can't be reached.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", place.repository):
        raise UsageError(f"{place.repository!r} is not NAMESPACE/NAME", hint="for example acme/power")
    with _staged(weights) as stage:
        parts.split(stage, parts.PART)
        manifest = make_manifest(place.repository, publisher, project, version)
        (stage / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n", encoding="utf-8")
        digest = file_digest(stage)
        if key is not None:
            bundle = sign_folder(stage, key, password)
            (stage / SIGNATURE).write_text(json.dumps(bundle), encoding="utf-8")
        api = HfApi(endpoint=place.endpoint, token=place.token)
        where = place.endpoint or "the Hub"
        try:
            api.create_repo(place.repository, exist_ok=True)
            message = f"Weights of {project} {version}"
            if place.endpoint is not None:
                oid = parts.send(api, place.repository, stage, message, note)
            else:
                commit = api.upload_folder(
                    repo_id=place.repository, folder_path=stage, delete_patterns=["*"], commit_message=message
                )
                oid = commit.oid
        except OfflineModeIsEnabled as error:
            raise RegistryError(
                "HF_HUB_OFFLINE asks for no network: weights cannot be uploaded", hint="unset HF_HUB_OFFLINE"
            ) from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            problem = getattr(error, "server_message", None) or " ".join(str(error).split())[:300]
            raise RegistryError(
                f"{where} refused the weights {place.repository}: {problem}",
                hint="check that the namespace is yours, then run it again: what was uploaded is kept",
            ) from error
        except RuntimeError as error:  # hf-xet, whose errors have no class
            raise RegistryError(
                f"uploading {place.repository} to {where} failed: {' '.join(str(error).split())[:300]}",
                hint="try again",
            ) from error
    return PinnedUpload(place.repository, oid, digest)


def staged_files(weights: Path) -> Iterator[tuple[str, Path]]:
    """(name in the repository, file) of what is uploaded of a folder of weights.

    :raises UnsafeError: a link to a file outside of the folder that is no weights.
    """
    for path in sorted(weights.rglob("*")):
        name = path.relative_to(weights).as_posix()
        hidden = any(part.startswith((".", "__pycache__")) for part in name.split("/"))
        if not path.is_file() or hidden or name in (MANIFEST, SIGNATURE):
            continue
        if any(fnmatch(name, pattern) for pattern in _PATTERNS):
            if path.suffix not in (".safetensors", ".gguf") and leads_out(path, weights):
                raise UnsafeError(
                    f"{name} in {weights.name} is a link to a file outside of it, which would be published",
                    hint="put a copy of the file in its place, if it is meant",
                )
            yield name, path


@contextmanager
def _staged(weights: Path) -> Iterator[Path]:
    """A folder of exactly the files that a user of hf:// gets: links where the file system can, copies elsewhere."""
    for left in weights.parent.glob(".cogen-publish-*-*"):  # of a run that was killed
        pid = left.name.split("-")[2]
        if pid.isdigit() and not alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    try:
        place = tempfile.mkdtemp(prefix=f".cogen-publish-{os.getpid()}-", dir=weights.parent)
    except OSError:
        place = tempfile.mkdtemp(prefix="cogen-publish-")
    stage = Path(place)
    try:
        for name, path in staged_files(weights):
            target = stage / name
            target.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(path.resolve(), target)
            except OSError:
                shutil.copyfile(path, target)
        yield stage
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def pin(folder: Path, spec: ExpertSpec, pinned: PinnedUpload) -> Path:
    """Write where the weights are into the ``expert.toml`` below ``folder``; comments and order stay.

    :raises SpecError: it isn't found, or there are two of it.
    """
    import tomlkit

    from cogen.files import atomic_write

    found = []
    for path in sorted([*folder.glob("*/expert.toml"), *folder.glob("src/*/expert.toml")]):
        document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
        if document.get("id") == spec.id:
            found.append((path, document))
    if len(found) != 1:
        raise SpecError(
            f"{len(found)} files expert.toml below {folder} have the id {spec.id}",
            hint="keep it in PACKAGE/ or src/PACKAGE/",
        )
    path, document = found[0]
    source = f"hf://{pinned.repository}"
    if document["tokenizer"]["source"] == document["model"]["source"]:
        document["tokenizer"].update({"source": source, "revision": pinned.revision})
    document["model"].update({"source": source, "revision": pinned.revision, "file_digest": pinned.file_digest})
    atomic_write(path, tomlkit.dumps(document).encode())
    return path
