"""The weights that a manifest pins: where they lie, and what their digest has to be."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.spec.model import WeightsRef
from cogen_registry.errors import Refused

if TYPE_CHECKING:
    from cogen.spec.expert import ExpertSpec

_HF = re.compile(r"([\w.-]+/[\w.-]+?)(?:@([\w./-]+?))?(?:/(.+\.\w+))?")
_PYPI = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9.+!]+)/(.+)")
_PACKAGE = re.compile(r"([a-z_][a-z0-9_]*)/(.+)")
#: What fits into the table of what was verified.
_LONGEST = 440


@dataclass(frozen=True)
class Pin:
    """Weights outside of a wheel. ``digest``: ``sha256:…`` of the file or folder."""

    source: str
    revision: str | None
    digest: str
    #: What the manifest says of them; ``None``: nothing that could be compared.
    claim: WeightsRef | None = None

    @property
    def key(self) -> str:
        """The source with its revision: names the same bytes for ever."""
        return f"{self.source}#{self.revision}" if self.revision else self.source

    @property
    def hub(self) -> tuple[str, str, str | None] | None:
        """(``ns/repo``, 40-digit commit, file) of a source ``hf://``."""
        match = _HF.fullmatch(self.source.removeprefix("hf://")) if self.source.startswith("hf://") else None
        return (match[1], match[2] or self.revision or "", match[3]) if match else None

    @property
    def wheels(self) -> list[tuple[str, str, str]] | None:
        """(distribution, version, path in it) of each part of a source ``pypi://``."""
        if not self.source.startswith("pypi://"):
            return None
        found = [_PYPI.fullmatch(part) for part in self.source.removeprefix("pypi://").split(",")]
        return [(one[1], one[2], one[3]) for one in found if one is not None]


def pins(spec: ExpertSpec) -> Iterator[Pin]:
    """All weights of an expert that are not in its wheel; those of its base are pinned weights too."""
    for part in (spec.model, spec.model.base, spec.router):
        if part is not None and not part.source.startswith("package://"):
            claim = part if isinstance(part, WeightsRef) else None
            yield Pin(part.source, getattr(part, "revision", None), part.file_digest, claim)


def in_wheel(spec: ExpertSpec) -> Iterator[tuple[str, str, str]]:
    """(package, path in it, digest) of weights in the wheel itself."""
    for part in (spec.model, spec.model.base, spec.router):
        if part is not None and part.source.startswith("package://"):
            package, path = _inside(part.source)
            yield package, path, part.file_digest


def check_sources(spec: ExpertSpec) -> None:
    """Every source is of a kind that a registry can look for, and well formed.

    :raises Refused: 400; ``file://`` above all, which would name a file of whoever installs, or of this server.
    """
    for part in (spec.model, spec.model.base, spec.tokenizer, spec.router):
        if part is None:
            continue
        source, kind = part.source, part.source.partition("://")[0]
        if len(source) > _LONGEST or re.search(r"[\x00-\x20\x7f\\]", source) or "#" in source:
            raise Refused(400, f"the source {source[:80]!r} is not well formed", hint="write it as `cogen train` does")
        if kind == "package":
            _inside(source)
        elif kind == "hf":
            hub = Pin(source, getattr(part, "revision", None), "").hub
            if hub is None or not re.fullmatch(r"[0-9a-f]{40}", hub[1]) or ".." in (hub[2] or "").split("/"):
                raise Refused(
                    400, f"the source {source} names no commit", hint="pin it: hf://org/repo@<40-digit commit>"
                )
        elif kind == "pypi":
            parts = source.removeprefix("pypi://").split(",")
            found = Pin(source, None, "").wheels or []
            paths = [path for _, _, path in found]
            if len(found) != len(parts) or any(".." in path.split("/") for path in paths):
                raise Refused(
                    400, f"the source {source} is not pypi://dist==version/path", hint="write it as `cogen train` does"
                )
        else:
            raise Refused(
                400,
                f"the source {source} can be opened by nobody else",
                hint="ship weights in the wheel (package://), in a repository (hf://) or in another wheel (pypi://)",
            )


def _inside(source: str) -> tuple[str, str]:
    match = _PACKAGE.fullmatch(source.removeprefix("package://"))
    parts = match[2].rstrip("/").split("/") if match else [""]
    if match is None or any(part in ("", ".", "..") for part in parts):
        raise Refused(400, f"the source {source} is not package://module/path", hint="name a file of the wheel")
    return match[1], "/".join(parts)
