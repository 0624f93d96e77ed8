"""Inputs of every reader, mutated by Hypothesis; each ends in a value or in a CogenError, in time and in memory.

    python -m support.fuzzing lock 10000 7          10,000 inputs of a lock with seed 7, in a process with limits

A seed file that is right is changed in one to four places: by bytes (cut, doubled, replaced by what readers stumble
over), or, where it is JSON or TOML, by values (another one at any path, a key more or less).
"""

from __future__ import annotations

import json
import resource
import signal
import struct
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from support.fuzz_targets import TARGETS, dump, parse_toml

#: Seconds of the processor for one input, and bytes beyond what the process has before the first.
SECONDS, MEMORY = 5.0, 1 << 30
#: What readers stumble over.
TOKENS = [
    b"nan",
    b"NaN",
    b"-Infinity",
    b"1e999",
    b"9" * 5000,
    b"-1",
    b"0",
    b"1e308",
    b"18446744073709551616",
    b"[" * 3000,
    b"{" * 3000,
    b'{"a":' * 500,
    b"a." * 2000,
    b"]",
    b"}",
    b'"',
    b"'",
    b"'''",
    b",",
    b":",
    b"=",
    b"\\ud800",
    b"\\u0000",
    "\u2028".encode(),
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b"\x00",
    b"\x1b[31m",
    "\u202e".encode(),
    b"null",
    b"true",
    b"{}",
    b"[]",
    b"\n",
    b"\r",
    b"#",
    b"&a [*a, *a]",
    b"!!python/object:os.system",
    b"{{ text.replace('a', 'aaaaaaaaaaaaaaaa') }}",
    b"(([a-z0-9_.]+)+)+!",
    b"../../etc/passwd",
    b"a" * 70_000,
    *(struct.pack("<Q", value) for value in (0, 1, 255, 1 << 31, 1 << 32, 1 << 40, 1 << 62, (1 << 64) - 1)),
    *(struct.pack("<I", value) for value in (0, 7, 8, 9, 30, 255, 1 << 31)),
]
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(1 << 70), 1 << 70),
        st.floats(),
        st.text(max_size=20),
        st.sampled_from(
            ["", "\ud800", "\u2028", "../x", "file:///etc/passwd", "(" * 50, "(a+)+!", "x" * 400, 10**400, 1e308]
        ),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)


# ---- changes --------------------------------------------------------------------------------------------------------


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes], form: str) -> bytes:
    """One of the files with one to four changes."""
    content = draw(st.sampled_from(seeds))
    if form != "bytes" and draw(st.booleans()):
        document = json.loads(content) if form == "json" else parse_toml(content)
        for _ in range(draw(st.integers(1, 4))):
            document = _change_value(draw, document)
        content = dump(document, form)
        if draw(st.booleans()):
            return content
    for _ in range(draw(st.integers(1, 4))):
        content = _change_bytes(draw, content)
    return content


def _change_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    start = draw(st.integers(0, len(content)))
    length = draw(st.sampled_from([0, 0, 1, 1, 2, 4, 8, 50, 1000]))
    token = draw(st.one_of(st.just(b""), st.sampled_from(TOKENS), st.binary(max_size=8)))
    if draw(st.integers(0, 9)) == 0:
        token = content[start : start + length] * 2
    return content[:start] + token + content[start + length :]


def _change_value(draw: st.DrawFn, document: Any) -> Any:
    """Another value at one path of a document, or one key less."""
    paths = list(_paths(document))
    if not paths:
        return draw(VALUES)
    *way, last = draw(st.sampled_from(paths))
    holder = document
    for key in way:
        holder = holder[key]
    if draw(st.integers(0, 5)) == 0:
        del holder[last]
    elif isinstance(holder, dict) and draw(st.integers(0, 5)) == 0:
        holder[draw(st.text(max_size=8))] = draw(VALUES)
    else:
        holder[last] = draw(VALUES)
    return document


def _paths(value: Any, before: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*before, key)
        yield from _paths(inner, (*before, key))


# ---- running --------------------------------------------------------------------------------------------------------


class Hang(BaseException):
    """An input took more than its seconds of the processor."""


@contextmanager
def in_time() -> Iterator[None]:
    """:raises Hang: after :data:`SECONDS` of the processor, also where every exception inside becomes a line."""
    hangs: list[Hang] = []

    def stop(*_: object) -> None:
        hangs.append(Hang(f"more than {SECONDS} s"))
        raise hangs[0]

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
        if hangs:
            raise hangs[0]


def fuzz(name: str, count: int, number: int | None = None) -> dict[str, int]:
    """Read ``count`` inputs; how many were read and how many refused. Raises whatever else a reader raises.

    :param number: a seed; without one every run has the same inputs.
    """
    from cogen.errors import CogenError

    target, seen = TARGETS[name], {"read": 0, "refused": 0}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "in").mkdir()
        path = folder / "in" / target.file

        @settings(
            max_examples=count,
            deadline=None,
            derandomize=number is None,
            database=None,
            suppress_health_check=list(HealthCheck),
            report_multiple_bugs=False,
        )
        @given(changed(target.seeds(folder), target.form))
        def run(content: bytes) -> None:
            path.write_bytes(content)
            message = None
            try:
                with in_time():
                    target.read(path)
            except CogenError as error:
                message = error.message
            seen["read" if message is None else "refused"] += 1
            assert message is None or ("\n" not in message and len(message) < 2000), message

        (run if number is None else seed(number)(run))()
    return seen


def limit_memory() -> None:
    """:data:`MEMORY` beyond what the process has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    fuzz(sys.argv[1], 1)  # what it imports is no input's
    limit_memory()
    found = fuzz(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    sys.stdout.write(json.dumps({**found, "peak_mb": peak}) + "\n")
