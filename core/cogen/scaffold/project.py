"""License and publisher in pyproject.toml: open until the recipe's card settles them."""

from __future__ import annotations

import json
from pathlib import Path

from cogen.files import atomic_write

#: What a field says that its publisher has to decide; see :mod:`cogen.spec.unfinished`.
TODO = "TODO"
#: The same for the license in pyproject.toml, where build tools take nothing but an SPDX expression.
LICENSE_PLACEHOLDER = "LicenseRef-TODO"


def license_text(license: str) -> str | None:
    """The text of a license for the file LICENSE, where CoGen has it: of Apache-2.0."""
    file = Path(__file__).parent / "template" / "LICENSE.in"
    return file.read_text(encoding="utf-8") if license == "Apache-2.0" else None


def fill_in(home: Path, license: str, publisher: str) -> None:
    """Replace the placeholders that `cogen new` left in ``home``, and nothing else; a file without one stays as it is.

    :raises OSError: a file cannot be written.
    """
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
