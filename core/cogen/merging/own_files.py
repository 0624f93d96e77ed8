"""Files that a user put beside a composite: a new run into the same folder keeps them."""

from __future__ import annotations

import filecmp
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

from cogen.reporter import SILENT, Reporter

#: What CoGen writes into a composite's folder, whatever its lock lists.
_WRITTEN = frozenset(
    (
        *("cogen.lock", "merge.json", "route.json", "matrix.json", "README.md", "report.html", "please-measure.md"),
        *("config.json", "generation_config.json", "chat_template.jinja", "preprocessor_config.json"),
        *("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json"),
        *("vocab.json", "merges.txt", "tokenizer.model", "router.safetensors", "centroids.safetensors"),
    )
)
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors|[\w.-]+\.safetensors\.index\.json")


def keep_own_files(old: Path, new: Path, reporter: Reporter = SILENT) -> list[str]:
    """Give ``new`` the files and folders of ``old`` that CoGen did not write; their names, sorted.

    They are linked, not copied, where the file system can. One whose name the new composite uses itself is kept as
    ``NAME.kept``.

    :param old: the composite that is about to be replaced; nothing happens if it is not there.
    :param reporter: says what was kept.
    :raises OSError: one cannot be read or linked.
    """
    if not old.is_dir():
        return []
    listed = _listed(old)
    if listed is None:
        return []
    kept = []
    for path in sorted(old.iterdir()):
        name = path.name
        if name in _WRITTEN or name in listed or _WEIGHTS.fullmatch(name) or _same(path, new / name):
            continue
        while os.path.lexists(new / name):
            name += ".kept"
        if path.is_symlink():
            (new / name).symlink_to(path.readlink())
        elif path.is_dir():
            shutil.copytree(path, new / name, symlinks=True, copy_function=_link)
        else:
            _link(path, new / name)
        kept.append(name)
    if kept:
        reporter.note(f"kept in {old}, as it was not written by CoGen: {', '.join(kept)}")
    return kept


def _same(one: Path, other: Path) -> bool:
    """Whether both are there and hold the same."""
    if one.is_dir() and other.is_dir():
        inside = [{path.relative_to(top) for path in top.rglob("*")} for top in (one, other)]
        return inside[0] == inside[1] and all(_same(one / path, other / path) for path in inside[0])
    return one.is_file() and other.is_file() and filecmp.cmp(one, other, shallow=False)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links, or one that other users' files cannot be linked in
        shutil.copy2(source, target)


def _listed(folder: Path) -> frozenset[str] | None:
    """First parts of the names that the folder's lock or record lists: what CoGen wrote when it wrote that.

    ``None``: an export of before it listed its files, whose own cannot be told from the user's.
    """
    for name in ("cogen.lock", "export.json"):
        try:
            value: Any = json.loads((folder / name).read_bytes())
            return frozenset(str(file).split("/")[0] for file in value["files"])
        except (OSError, ValueError, LookupError, TypeError):
            continue
    return None if (folder / "export.json").is_file() else frozenset()
