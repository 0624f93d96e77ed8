"""Paths in a repository: safe on every system that may unpack them, and no two that are one on some."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from pathlib import PurePosixPath

from cogen_registry.admission.weights import ALLOWED, PLAIN_NAMES
from cogen_registry.weights.answers import hub_error

_HINT = "use plain relative paths, such as model-00001-of-00002.safetensors"
#: Characters that Windows or a shell of it reads as something else.
_FOREIGN = set('\\:*?"<>|')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d|conin\$|conout\$)(\..*)?", re.IGNORECASE)


def check_path(path: str) -> str:
    """The path, if it can be a file's everywhere.

    :raises Refused: 400, it leaves the folder, is absolute, hides characters, or means something else on some system.
    """
    shown = repr(path)[:200]
    if not path or len(path) > 500:
        raise hub_error(400, f"{shown} is not a path of up to 500 characters", _HINT)
    if any(unicodedata.category(one)[0] == "C" or one in _FOREIGN for one in path):
        raise hub_error(400, f"{shown} has characters that no path may have", _HINT)
    if unicodedata.normalize("NFC", path) != path:
        raise hub_error(400, f"{shown} is not in Unicode's composed form (NFC)", _HINT)
    for part in path.split("/"):
        if part in ("", ".", "..") or part != part.strip() or part.endswith(".") or len(part.encode()) > 255:
            raise hub_error(400, f"{shown} is not a relative path of plain names", _HINT)
        if part.lower() == ".git" or _DEVICES.fullmatch(part):
            raise hub_error(400, f"{shown} has a name that is reserved: {part}", _HINT)
    return path


def check_kind(path: str) -> str:
    """Before its bytes are here: whether a file of this name may lie here at all.

    :raises Refused: 400
    """
    leaf = PurePosixPath(path).name
    if PurePosixPath(leaf).suffix.lower() not in ALLOWED and leaf not in PLAIN_NAMES:
        raise hub_error(
            400, f"{path} is not a kind of file that may lie here", "publish safetensors, JSON and text; leave it out"
        )
    return path


def check_tree(paths: Iterable[str]) -> None:
    """Refuse a tree that some file system can't hold: names that differ by case alone, files that are folders too.

    :raises Refused: 400
    """
    #: (folder's number, a name in it as all systems read it) → (its own number, as it was spelled first)
    known: dict[tuple[int, str], tuple[int, str]] = {}
    files: dict[int, str] = {}
    folders: dict[int, str] = {}
    for path in set(paths):
        node, parts = 0, path.split("/")
        for number, part in enumerate(parts):
            # part by part, in time that is linear in the characters; a wide slash is one to some systems
            for name in unicodedata.normalize("NFKC", part).casefold().split("/"):
                node, spelled = known.setdefault((node, name), (len(known) + 1, part))
                if spelled != part:
                    one, other = ("/".join([*parts[:number], last]) for last in (part, spelled))
                    raise hub_error(400, f"{one} and {other} are one name on some systems", "rename one of them")
            (files if number == len(parts) - 1 else folders).setdefault(node, path)
    for node in files.keys() & folders.keys():
        hint = "rename one of them"
        raise hub_error(400, f"{files[node]} is a file, and {folders[node]} wants it to be a folder", hint)
