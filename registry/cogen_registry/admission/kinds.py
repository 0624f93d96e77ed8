"""Which kinds of files a plugin may install, and that each is what its name says."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from cogen_registry.admission.weights import ALLOWED, PLAIN_NAMES, check_weight_file, disguise, is_text
from cogen_registry.errors import Refused

#: Text beside what weights may lie with; Python is text too, read here and never run.
_TEXTS = frozenset({".py", ".pyi", ".typed", ".toml", ".yaml", ".yml", ".csv", ".tsv", ".rst"})
#: What build tools write into dist-info. Installers add their own (INSTALLER, direct_url.json): nobody else may.
_INFO = re.compile(
    r"METADATA|WHEEL|RECORD|entry_points\.txt|top_level\.txt|sboms/[^/]+\.json"
    r"|(licenses/.+|(LICEN[CS]E|NOTICE|COPYING|AUTHORS)[\w.-]*)"
)
_HINT = "a plugin is Python, text and safetensors"


def check_kind(file: Path, name: str) -> None:
    """A file of a package.

    :raises Refused: 400
    """
    path = PurePosixPath(name)
    if path.suffix.lower() in ALLOWED or path.name in PLAIN_NAMES:
        check_weight_file(str(file), name)
    elif path.suffix.lower() in _TEXTS:
        _check_text(file, name)
    else:
        raise Refused(400, f"{name} is not a kind of file that a plugin may ship", hint=_HINT)


def check_kind_of_info(file: Path, name: str) -> None:
    """A file of the wheel's dist-info folder.

    :raises Refused: 400
    """
    if not _INFO.fullmatch(name.partition("/")[2]):
        raise Refused(400, f"{name} is not a file that build tools write", hint="leave it out")
    _check_text(file, name)


def _check_text(file: Path, name: str) -> None:
    with file.open("rb") as opened:
        what = disguise(opened.read(1 << 16))
    if what and what != "a script":
        raise Refused(400, f"{name} is {what} in disguise", hint=_HINT)
    if not is_text(file):
        raise Refused(400, f"{name} is not UTF-8 text", hint=_HINT)
