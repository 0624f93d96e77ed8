"""What training settles in the files around a package: license, publisher, and that it was trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

from cogen.files import atomic_write

#: What a field says that its publisher has to decide; see :mod:`cogen.spec.unfinished`.
TODO = "TODO"
#: The same for the license in pyproject.toml, where build tools take nothing but an SPDX expression.
LICENSE_PLACEHOLDER = "LicenseRef-TODO"

#: What the README of `cogen new` says until training has run, and what it says then: a wheel ships it.
_UNTRAINED = re.compile(r"\*\*It has not been trained yet\.\*\*.*?\n\n", re.DOTALL)
_TRAINED = "`expert.toml` has its data card: what it was trained on, how, and what was measured.\n\n"


def license_text(license: str) -> str | None:
    """The text of a license for the file LICENSE, where CoGen has it: of Apache-2.0."""
    file = Path(__file__).parent / "template" / "LICENSE.in"
    return file.read_text(encoding="utf-8") if license == "Apache-2.0" else None


def fill_in(home: Path, license: str, publisher: str) -> None:
    """Replace the placeholders that `cogen new` left in ``home``, and nothing else; a file without one stays as it is.

    :raises OSError: a file cannot be written.
    """
    _say_trained(home / "README.md")
    project = home / "pyproject.toml"
    if not project.is_file():
        return
    found = project.read_text(encoding="utf-8")
    filled = found.replace(f'"{LICENSE_PLACEHOLDER}"', json.dumps(license))
    filled = filled.replace(f'name = "{TODO}"', f"name = {json.dumps(publisher, ensure_ascii=False)}")
    if filled == found:
        return
    atomic_write(project, filled.encode())
    if (text := license_text(license)) is not None and not (home / "LICENSE").exists():
        atomic_write(home / "LICENSE", text.encode())


def _say_trained(readme: Path) -> None:
    if readme.is_file():
        found = readme.read_text(encoding="utf-8")
        if (changed := _UNTRAINED.sub(_TRAINED, found, count=1)) != found:
            atomic_write(readme, changed.encode())
