"""Which kinds of files a plugin may install, and that each is what its name says."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from cogen.host.code import does_nothing
from cogen.wheels.errors import WheelError
from cogen.wheels.weights import ALLOWED, PLAIN_NAMES, check_weight_file, disguise, is_text

#: Text beside what weights may lie with; Python is text too, read here and never run.
_TEXTS = frozenset({".py", ".pyi", ".typed", ".toml", ".yaml", ".yml", ".csv", ".tsv", ".rst"})
#: What build tools write into dist-info. Installers add their own (INSTALLER, direct_url.json): nobody else may.
_INFO = re.compile(
    r"METADATA|WHEEL|RECORD|entry_points\.txt|top_level\.txt|sboms/[^/]+\.json"
    r"|(licenses/.+|(LICEN[CS]E|NOTICE|COPYING|AUTHORS)[\w.-]*)"
)
_CODE = frozenset({".py", ".pyc", ".pyd", ".so", ".pth", ".pyw", ".pyi"})
_HINT = "a plugin is Python, text and safetensors"
#: Folders that mean something to Python or to installers, wherever they stand.
_FOLDERS = re.compile(r"__pycache__|.*\.(dist-info|egg-info|egg|data|pth|egg-link|whl|zip)", re.IGNORECASE)


def check_place(name: str, info: str, packages: Collection[str]) -> None:
    """A path of a wheel, or of what was installed: in a package of the plugin's own, or in its dist-info.

    :param name: parts separated by ``/``; a folder ends in one.
    :param packages: those that its entry points name.
    :raises WheelError: it lies elsewhere, or in a folder that Python or installers take for something else.
    """
    top, slash, below = name.partition("/")
    if not slash or (top != info and top not in packages):
        raise WheelError(
            f"{name[:200]} lies outside of the plugin's own packages", hint=f"ship {', '.join(sorted(packages))} only"
        )
    for part in below.removesuffix("/").split("/"):
        if _FOLDERS.fullmatch(part):
            raise WheelError(f"{name[:200]} is not a path that a plugin may have: {part[:80]}", hint="leave it out")


def check_name(name: str, info: str) -> None:
    """What a file claims to be by its name.

    :raises WheelError: it is none that may be there.
    """
    path = PurePosixPath(name)
    if name.startswith(info + "/"):
        inside = name.partition("/")[2]
        if not _INFO.fullmatch(inside) or path.suffix.lower() in _CODE:
            raise WheelError(f"{name[:200]} is not a file that build tools write", hint="leave it out")
    elif path.suffix.lower() not in ALLOWED | _TEXTS and path.name not in PLAIN_NAMES:
        raise WheelError(f"{name[:200]} is not a kind of file that a plugin may ship", hint=_HINT)


def check_kind(file: Path, name: str, info: str) -> None:
    """The bytes of a file, whose name was checked.

    :raises WheelError: they are not of the kind that the name says.
    """
    path = PurePosixPath(name)
    if not name.startswith(info + "/") and (path.suffix.lower() in ALLOWED or path.name in PLAIN_NAMES):
        check_weight_file(str(file), name)
    else:
        _check_text(file, name)


def is_code(name: str, content: bytes) -> bool:
    """Would Python run anything of this file of a package?"""
    path = PurePosixPath(name)
    if path.suffix.lower() not in _CODE or path.suffix.lower() == ".pyi":
        return False
    return path.name != "__init__.py" or not does_nothing(content)


def _check_text(file: Path, name: str) -> None:
    with file.open("rb") as opened:
        what = disguise(opened.read(1 << 16))
    if what and what != "a script":
        raise WheelError(f"{name} is {what} in disguise", hint=_HINT)
    if not is_text(file):
        raise WheelError(f"{name} is not UTF-8 text", hint=_HINT)
