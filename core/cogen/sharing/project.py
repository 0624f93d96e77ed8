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

from packaging.utils import canonicalize_name
from packaging.version import Version

from cogen.errors import SpecError
from cogen.untrusted.toml_text import check_toml

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

NAME = "cogen.toml"
#: Fields of an entry: those that every one has, and those that may be left out.
_NEEDED, _MORE = ("version", "sha256", "publisher", "registry"), ("key", "root", "code")
#: Bytes of the file, and characters of one field: it comes with a project that somebody else may have written.
_LARGEST, _LONGEST = 1 << 20, 2000
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
            version, sha256, publisher, registry = (_word(entry[one]) for one in _NEEDED)
            key, root, code = (None if (value := entry.get(one)) is None else _word(value) for one in _MORE)
            Version(version)
            # in any spelling of the name: a pin that was written by hand counts, too
            found[str(canonicalize_name(str(name)))] = Recorded(
                version,
                sha256,
                publisher,
                key,
                registry,
                root,
                code,
                _strings(entry.get("allow")),
                _strings(entry.get("beside")),
            )
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            raise SpecError(
                f"{path}: [experts.{str(name)[:80]}] is not an entry that `cogen add` wrote",
                hint=f"delete it and run `cogen add {name}`",
            ) from error
    return found


def record(path: Path, project: str, entry: Recorded) -> None:
    """Write or replace one entry; the file is made when it is missing."""
    import tomlkit

    document = _load(path)
    _table(document, path)
    experts = document.setdefault("experts", tomlkit.table(is_super_table=True))
    for other in [one for one in experts if one != project and canonicalize_name(str(one)) == project]:
        experts.pop(other)
    table = experts.setdefault(project, tomlkit.table())
    for name, value in vars(entry).items():
        if value is None or value == ():
            table.pop(name, None)
        else:
            table[name] = list(value) if isinstance(value, tuple) else value
    _write(path, document)


def _word(value: Any) -> str:
    """:raises TypeError: it is not text. :raises ValueError: it is none of one line."""
    if not isinstance(value, str):
        raise TypeError
    if not value.isprintable() or len(value) > _LONGEST:
        raise ValueError
    return str(value)


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
        if path.exists() and not path.is_file():
            raise OSError("it is not a file")
        with path.open("rb") as file:
            data = file.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise OSError(f"it has more than {_LARGEST:,} bytes")
        text = data.decode()
        check_toml(text)  # what would take this one minutes
        return tomlkit.parse(text)
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError, TOMLKitError, ValueError, RecursionError) as error:
        raise SpecError(
            f"{path} cannot be read: {error}", hint="fix it, or name another file with --project"
        ) from error


def _table(document: TOMLDocument, path: Path) -> Any:
    table = document.get("experts", {})
    if not hasattr(table, "items"):
        raise SpecError(f"{path}: `experts` is not a table", hint="name another file with --project")
    return table


def _write(path: Path, document: TOMLDocument) -> None:
    import tomlkit

    from cogen.files import atomic_write

    atomic_write(path, tomlkit.dumps(document).encode())
