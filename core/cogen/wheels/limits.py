"""How large a wheel and its parts may be. What is cheap to send must not be dear to read."""

from __future__ import annotations

from dataclasses import dataclass

MB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """Sizes in bytes. An operator sets ``unpacked``, ``members`` and ``metadata``; nobody needs to change the others.

    ``headers``: lines before METADATA's long text; reading them takes time by their number, squared.
    ``names``: domains of an expert, languages, sources of its data (ten times as many). ``tasks``: of all task files
    of an expert, which are YAML.
    ``texts``: of all held-out parts of an expert, each counted as often as a suite names it. ``pinned``: of all
    weights in the wheel, each counted as often as an expert pins it. ``statistics``: of the numbers that an expert
    ships in the place of text.
    """

    unpacked: int = 1024 * MB
    members: int = 5_000
    metadata: int = 2 * MB
    manifest: int = 256 * 1024
    points: int = 64 * 1024
    wheel_file: int = 16 * 1024
    headers: int = 1_000
    header_bytes: int = 256 * 1024
    experts: int = 64
    suites: int = 64
    names: int = 100
    tasks: int = 256 * 1024
    texts: int = 64 * MB
    pinned: int = 4096 * MB
    statistics: int = 64 * MB
    #: Bytes that come out for each one that went in, of archives that unpack to more than ``small``.
    ratio: int = 200
    small: int = 16 * MB

    @property
    def record(self) -> int:
        """Of RECORD: a line a member."""
        return min(self.members * 700, 8 * MB)
