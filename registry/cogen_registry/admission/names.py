"""Names: one spelling each, no look-alikes, and nobody else's."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name

from cogen_registry.errors import Refused

#: First parts of paths that are the service's own; no publisher is called so.
RESERVED = frozenset(
    {"api", "simple", "files", "legacy", "lfs", "xet", "experts", "compare", "publishers", "composites", "static",
     "docs", "openapi.json", "healthz", "login", "cogen", "admin", "models", "datasets", "spaces"}
)  # fmt: skip
#: Of distributions. Only plugins live here, so that a registry never shadows a package of PyPI.
PREFIX = "cogen-plugin-"
_ALIKE = str.maketrans({"0": "o", "1": "l", "i": "l", "5": "s", "2": "z", "8": "b", "9": "g", "6": "b", "v": "u"})


def project_name(name: str) -> str:
    """As PEP 503 normalises it.

    :raises Refused: 400, it is no name of a plugin.
    """
    normal = canonicalize_name(name)
    if not re.fullmatch(r"[a-z0-9-]{3,100}", normal) or not normal.startswith(PREFIX) or normal == PREFIX.rstrip("-"):
        raise Refused(
            400, f"{name!r} is not a plugin's name", hint=f"call it {PREFIX}NAME: this registry holds nothing else"
        )
    return normal


def look(name: str) -> str:
    """What names that look alike have in common: 0 and o, 1 and i and l, rn and m, and no dashes."""
    return canonicalize_name(name).removeprefix(PREFIX).replace("-", "").replace("rn", "m").translate(_ALIKE)
