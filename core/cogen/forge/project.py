"""What the recipe's card settles is settled for the package too: the placeholders in its pyproject.toml and LICENSE."""

from __future__ import annotations

import json
from pathlib import Path

from cogen.files import atomic_write
from cogen.forge.recipe import Card
from cogen.scaffold import LICENSE_PLACEHOLDER, TODO, license_text


def fill_in(home: Path, card: Card) -> None:
    """Replace the placeholders that `cogen new` left in ``home``, and nothing else; a file without one stays as it is.

    :raises OSError: a file cannot be written.
    """
    project = home / "pyproject.toml"
    if project.is_file():
        found = project.read_text(encoding="utf-8")
        filled = found.replace(f'"{LICENSE_PLACEHOLDER}"', json.dumps(card.license))
        filled = filled.replace(f'name = "{TODO}"', f"name = {json.dumps(card.publisher, ensure_ascii=False)}")
        if filled != found:
            atomic_write(project, filled.encode())
            if (text := license_text(card.license)) is not None and not (home / "LICENSE").exists():
                atomic_write(home / "LICENSE", text.encode())
