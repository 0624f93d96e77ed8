"""``hf://org/repo@revision[/file]``: the Hugging Face Hub, through its own client, cache and offline mode.

What a registry holds (see :func:`cogen.trust.registries.holder`) comes from there under the same name.
"""

from __future__ import annotations

import os
import re
import shutil
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.cache import cached
from cogen.checkpoints.sources._fetch import Request
from cogen.errors import SourceError
from cogen.files import atomic_folder, locked

if TYPE_CHECKING:
    from cogen.trust.registries import Registry

#: What a model folder may bring. Never *.bin, *.pt (pickles) and never *.py (code).
_PATTERNS = [
    "*.safetensors",
    "*.safetensors.index.json",
    "*.json",
    "*.model",
    "*.txt",
    "*.jinja",
    "LICENSE*",
    "README.md",
]


def fetch(request: Request) -> Path:
    """A snapshot folder in the Hub's cache, or one file of it (a GGUF, say)."""
    match = re.fullmatch(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/(.+\.\w+))?", request.location)
    if not match:
        raise SourceError(
            f"{request.uri} is not hf://org/repo@revision", hint="for example hf://org/model@<40-digit commit>"
        )
    repo, revision, file = match[1], match[2] or request.revision, match[3]
    if not revision or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise SourceError(
            f"{request.uri} does not name a commit",
            hint="pin it: hf://org/repo@<40-digit commit>; branches and tags move",
        )
    if (registry := registry_of(repo)) is not None:
        from cogen.checkpoints.sources.registry import place_of, snapshot

        home = place_of(registry, repo, revision)
        if request.offline and not home.is_dir():
            raise SourceError(
                f"{repo} is not in the cache and HF_HUB_OFFLINE asks for no network",
                hint=f"unset HF_HUB_OFFLINE once to fetch it from {registry.url}",
            )
        if not home.is_dir():
            request.reporter.note(f"fetching {repo} at {revision[:8]} from {registry.url}")
        folder = snapshot(registry, repo, revision, _PATTERNS)
        return folder / file if file else folder
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    request.reporter.note(f"fetching {repo} at {revision[:8]} from the Hub")
    try:
        if file:
            return Path(hf_hub_download(repo, file, revision=revision))
        return _view(Path(snapshot_download(repo, revision=revision, allow_patterns=_PATTERNS)), repo, revision)
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise SourceError(
            f"{repo} is not in the Hub's cache and the Hub cannot be reached",
            hint="go online once, or unset HF_HUB_OFFLINE; after that it works without a network",
        ) from error
    except GatedRepoError as error:
        raise SourceError(f"{repo} is gated", hint="accept its terms on the Hub, then run `hf auth login`") from error
    except RevisionNotFoundError as error:
        raise SourceError(f"{repo} has no commit {revision}", hint="ask the publisher for the commit") from error
    except (RepositoryNotFoundError, EntryNotFoundError) as error:
        raise SourceError(
            f"the Hub has no {repo} {file or ''}".rstrip(), hint="check the spelling, or log in"
        ) from error
    except HfHubHTTPError as error:
        raise SourceError(f"the Hub refused {repo}: {error}", hint="try again later") from error
    except OSError as error:
        raise SourceError(
            f"fetching {repo} failed: {error}", hint="check the network and the free disk space"
        ) from error


def registry_of(repo: str) -> Registry | None:
    """The registry that holds ``repo``. An endpoint that the user set for huggingface_hub wins over it."""
    if os.environ.get("HF_ENDPOINT"):
        return None
    from cogen.trust.registries import holder

    return holder(repo)


def _view(snapshot: Path, repo: str, revision: str) -> Path:
    """The snapshot without what other programs fetched into it (pickles, code), which would change its digest."""
    files = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    wanted = sorted(file for file in files if any(fnmatch(file, pattern) for pattern in _PATTERNS))
    if len(wanted) == len(files):
        return snapshot
    home = cached("hf", f"{repo.replace('/', '--')}-{revision}")
    with locked(home):
        if sorted(file.relative_to(home).as_posix() for file in home.rglob("*") if file.is_file()) != wanted:
            with atomic_folder(home, replace=True) as part:
                for file in wanted:
                    (part / file).parent.mkdir(parents=True, exist_ok=True)
                    try:
                        (part / file).symlink_to((snapshot / file).resolve())
                    except OSError:  # no symbolic links here
                        shutil.copyfile(snapshot / file, part / file)
    return home
