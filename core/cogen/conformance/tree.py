"""A plugin's source tree that is not installed: `cogen check FOLDER` looks at it where it lies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cogen.errors import SpecError, UsageError
from cogen.host import Expert, Host
from cogen.host.manifest import MANIFEST, read_manifest, referenced_files
from cogen.untrusted.toml_text import read_toml


@dataclass(frozen=True)
class Tree:
    """``package``: the folder that holds expert.toml; ``name`` and ``version`` as pyproject.toml has them."""

    folder: Path
    package: Path
    name: str
    version: str

    @property
    def manifest(self) -> Path:
        return self.package / MANIFEST

    def expert(self) -> Expert:
        """:raises SpecError: the manifest is not valid, or promises files that are not there."""
        reading = read_manifest(self.manifest)
        if reading.document is None:
            raise SpecError(reading.reason or "the manifest cannot be read", hint=reading.hint)
        for file in referenced_files(reading.document, self.package.name):
            if not (self.package / file).exists():
                raise SpecError(f"{file} is missing", hint="put it back, or take it out of expert.toml")
        return Expert(reading.document, self.name, self.version, self.package)


def tree_of(text: str) -> Tree | None:
    """The source tree that a path names, or ``cogen-plugin-ID`` here for an id; ``None``: neither.

    :raises UsageError: a folder that is no plugin.
    """
    path = Path(text)
    if not path.is_dir():
        path = Path(f"cogen-plugin-{text.removeprefix('cogen-plugin-')}")
        if path.name != str(path) or not (path / "pyproject.toml").is_file():
            return None
    return read_tree(path)


def read_tree(folder: Path) -> Tree:
    """:raises UsageError: it holds no expert, or more than one."""
    folder = folder.resolve()
    found = sorted([*folder.glob(f"*/{MANIFEST}"), *folder.glob(f"src/*/{MANIFEST}")])
    if len(found) != 1:
        raise UsageError(
            f"{folder} holds {len(found) or 'no'} {MANIFEST}",
            hint="name the folder of a plugin with one expert, or the id of an installed one",
        )
    try:
        project = read_toml(folder / "pyproject.toml")["project"]
        name, version = str(project["name"]), str(project.get("version", "0"))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{folder} holds no readable pyproject.toml", hint="see `cogen new`") from error
    return Tree(folder, found[0].parent, name, version)


def manifest_of(text: str) -> Path:
    """``expert.toml`` of a source tree, or of an expert that is installed from one.

    :raises UsageError: nothing of the name is here, or it was installed from a wheel, whose files are not to be edited.
    """
    installed = next((plugin for plugin in Host.discover().plugins if plugin.name == text), None)
    if installed is None or Path(text).is_dir():
        if (tree := tree_of(text)) is not None:
            return tree.manifest
        raise UsageError(f"no plugin {text!r} is here", hint="name the folder of its source tree, or install it first")
    if installed.root is None or "site-packages" in installed.root.parts:
        raise UsageError(
            f"{text} is installed from a wheel, whose files are not to be edited",
            hint="name the folder of its source tree",
        )
    return installed.root / MANIFEST


@contextmanager
def importable(tree: Tree) -> Iterator[None]:
    """``package://`` sources of the tree are found inside the block, without importing anything."""
    place = str(tree.package.parent)
    sys.path.insert(0, place)
    try:
        yield
    finally:
        sys.path.remove(place)
