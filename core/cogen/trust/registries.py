"""Which registries this user knows, and which keys of publishers were seen there: two files that only the user reads.

    config.toml         default = "https://models.example.org"          the registry that verbs use
                        index = "experts.json"                          what search reads where there is none
                        [registries."https://models.example.org"]
                        token, publisher, namespaces                    namespaces: whose weights lie there
    known-keys.json     {registry: {publisher: [fingerprint, …]}}       pinned when first seen, like SSH's known_hosts

The folder is ``COGEN_CONFIG``, or the platform's place for settings; ``COGEN_REGISTRY`` and ``COGEN_TOKEN`` win over
them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cogen.errors import UsageError
from cogen.files import config_dir
from cogen.locks import ProcessLock
from cogen.settings import settings
from cogen.trust.errors import TrustError
from cogen.trust.files import write_private
from cogen.untrusted.paths import user_path


@dataclass(frozen=True)
class Registry:
    """One registry: where it is and who we are there."""

    url: str
    token: str | None = None
    publisher: str | None = None
    namespaces: tuple[str, ...] = ()


def default_key() -> Path:
    """Where the user's own private key lies."""
    return config_dir() / "keys" / "key.pem"


def normal_url(url: str) -> str:
    """``https://host[:port][/path]`` without a slash at its end.

    :raises UsageError: it is no http(s) URL, or carries a password.
    """
    try:
        parts = urlsplit(url.strip())
        well = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        well = False
    if not well:
        raise UsageError(f"{url!r} is not the URL of a registry", hint="for example https://models.example.org")
    if parts.username or parts.query or parts.fragment:
        raise UsageError(
            "the URL of a registry holds no password and no query", hint="give the token with --token or COGEN_TOKEN"
        )
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def is_private(url: str) -> bool:
    """Is what is sent there protected: TLS, or a connection that doesn't leave this machine?"""
    parts = urlsplit(url)
    return parts.scheme == "https" or parts.hostname in ("127.0.0.1", "::1", "localhost")


def registries() -> dict[str, Registry]:
    """By URL.

    :raises UsageError: the settings can't be read.
    """
    found = {}
    for url, entry in _config().get("registries", {}).items():
        names = tuple(map(str, entry.get("namespaces", ())))
        found[url] = Registry(url, entry.get("token"), entry.get("publisher"), names)
    return found


def chosen(url: str | None = None) -> Registry | None:
    """The registry that was asked for, or that of COGEN_REGISTRY, or the default; ``None``: none is configured."""
    config = _config()
    wanted = url or settings().registry or config.get("default")
    if not wanted:
        return None
    wanted = normal_url(wanted)
    known = registries().get(wanted, Registry(wanted))
    if token := settings().token:
        return Registry(wanted, token, known.publisher, known.namespaces)
    return known


def static_index() -> str | None:
    """File or URL of the index that search reads where no registry is configured."""
    if asked := settings().index:
        return asked
    value: str | None = _config().get("index")
    if value and "://" not in value and not user_path(value).is_absolute():
        return str(config_dir() / value)  # relative to the file that names it
    return value


def remember(registry: Registry, *, default: bool = True) -> Path:
    """Store it; other settings and comments of the user stay.

    :returns: the file.
    """
    import tomlkit

    path = config_dir() / "config.toml"
    with alone():
        document = tomlkit.parse(path.read_text(encoding="utf-8") if path.exists() else "")
        if default:
            document["default"] = registry.url
        table = document.setdefault("registries", tomlkit.table(is_super_table=True))
        entry = table.setdefault(registry.url, tomlkit.table())
        values = {"token": registry.token, "publisher": registry.publisher, "namespaces": list(registry.namespaces)}
        for name, value in values.items():
            if value:
                entry[name] = value
            else:
                entry.pop(name, None)
        write_private(path, tomlkit.dumps(document))
    return path


def holder(repository: str) -> Registry | None:
    """The registry that holds the weights ``namespace/name``, by the user's settings and by what was installed."""
    from cogen.trust.receipts import receipts

    namespace = repository.partition("/")[0].lower()
    known = registries()
    for receipt in receipts():
        if receipt.registry and any(weights.repository == repository for weights in receipt.weights):
            return known.get(receipt.registry, Registry(receipt.registry))
    for registry in known.values():
        if namespace in registry.namespaces:
            return registry
    return None


def pinned(url: str, publisher: str) -> list[str]:
    """Fingerprints of the publisher's keys that were seen there before."""
    found = _known_keys().get(url, {}).get(publisher, [])
    return [str(key) for key in found]


def pin(url: str, publisher: str, key: str) -> None:
    """From now on this key of the publisher is known."""
    with alone():
        keys = _known_keys()
        listed = keys.setdefault(url, {}).setdefault(publisher, [])
        if key not in listed:
            listed.append(key)
            write_private(config_dir() / "known-keys.json", json.dumps(keys, indent=2, sort_keys=True) + "\n")


def _config() -> dict[str, Any]:
    import tomllib

    path = config_dir() / "config.toml"
    try:
        config = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise UsageError(f"{path} cannot be read: {error}", hint="fix it, or delete it and log in again") from error
    tables = config.get("registries", {})
    if not isinstance(tables, dict) or not all(isinstance(entry, dict) for entry in tables.values()):
        raise UsageError(f"{path}: [registries] is not a table of registries", hint="delete it and log in again")
    return config


def _known_keys() -> dict[str, dict[str, list[str]]]:
    path = config_dir() / "known-keys.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if not all(isinstance(keys, list) for of in value.values() for keys in of.values()):
            raise ValueError("not lists of keys")
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, AttributeError) as error:
        # Never taken for empty: every key would look like a first one.
        raise TrustError(
            f"{path} cannot be read: {error}", hint="restore it; it holds the keys that you trust"
        ) from error
    return dict(value)


@contextmanager
def alone() -> Iterator[None]:
    """One process at a time changes the settings."""
    folder = config_dir()
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise TrustError(f"{folder} cannot be made: {error.strerror}", hint="set COGEN_CONFIG to a folder") from error
    lock = ProcessLock(folder / ".lock")
    try:
        lock.acquire()
    except OSError as error:
        raise TrustError(
            f"{folder} cannot be written: {error.strerror}", hint="set COGEN_CONFIG to a folder that you may write to"
        ) from error
    try:
        yield
    finally:
        lock.release()
