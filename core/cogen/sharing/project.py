"""``cogen.toml``: which experts a project uses, exactly. Other tables and comments in it stay as they are.

[experts.cogen-plugin-power]
version = "0.1.0"
sha256 = "…"                     of the wheel
publisher = "acme"
key = "sha256:…"                 fingerprint; left out for what is not signed
registry = "https://models.example.org"
root = "sha256:…"                of the registry's first root, which its mirrors share; left out where it has none
code = "allowed"                 only where it is a plugin with code that somebody allowed, in this very file
allow = ["numpy"]                what it may require beside cogen-core
beside = ["numpy==2.1.0 sha256:…"]   what came with it
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.errors import SpecError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

NAME = "cogen.toml"
#: What ``code`` says of a plugin whose code somebody allowed.
ALLOWED = "allowed"


@dataclass(frozen=True)
class Recorded:
    """One expert's distribution in a project's file."""

    version: str
    sha256: str
    publisher: str
    key: str | None
    registry: str
    root: str | None = None
    code: str | None = None
    allow: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()


def recorded(path: Path) -> dict[str, Recorded]:
    """By project name; empty where there is no file.

    :raises SpecError: it can't be read, or an entry lacks a field.
    """
    found = {}
    for name, entry in _table(_load(path), path).items():
        try:
            key, root = entry.get("key"), entry.get("root")
            found[str(name)] = Recorded(
                str(entry["version"]), str(entry["sha256"]), str(entry["publisher"]),
                None if key is None else str(key), str(entry["registry"]), None if root is None else str(root),
                None if (code := entry.get("code")) is None else str(code),
                _strings(entry.get("allow")), _strings(entry.get("beside")),
            )  # fmt: skip
        except (KeyError, AttributeError) as error:
            raise SpecError(
                f"{path}: [experts.{name}] is not an entry that `cogen add` wrote",
                hint=f"delete it and run `cogen add {name}`",
            ) from error
    return found


def record(path: Path, project: str, entry: Recorded) -> None:
    """Write or replace one entry; the file is made when it is missing."""
    import tomlkit

    document = _load(path)
    _table(document, path)
    experts = document.setdefault("experts", tomlkit.table(is_super_table=True))
    table = experts.setdefault(project, tomlkit.table())
    for name, value in vars(entry).items():
        if value is None or value == ():
            table.pop(name, None)
        else:
            table[name] = list(value) if isinstance(value, tuple) else value
    _write(path, document)


def _strings(value: Any) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()


def unrecord(path: Path, project: str) -> bool:
    """Remove one entry; was there one?"""
    document = _load(path)
    table = _table(document, path)
    if project not in table:
        return False
    table.pop(project)
    if not table:
        document.pop("experts")
    _write(path, document)
    return True


def _load(path: Path) -> TOMLDocument:
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        return tomlkit.parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError) as error:
        raise SpecError(
            f"{path} cannot be read: {error}", hint="mend it, or name another file with --project"
        ) from error


def _table(document: TOMLDocument, path: Path) -> Any:
    table = document.get("experts", {})
    if not hasattr(table, "items"):
        raise SpecError(f"{path}: `experts` is not a table", hint="name another file with --project")
    return table


def _write(path: Path, document: TOMLDocument) -> None:
    import tomlkit

    from cogen.checkpoints.cache import atomic_write

    atomic_write(path, tomlkit.dumps(document).encode())
