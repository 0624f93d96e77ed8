"""Every parser and every step that meets an upload: its worst case takes time in proportion to its size, or is refused.

Nothing here is timed by a clock: the worst cases are so large that a step that is quadratic would not end, and the
seconds of the processor for the whole test are limited.
"""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cogen.conformance.overlap import compare_texts, normal, texts
from cogen.conformance.result import Failed
from cogen.conformance.shipped import is_permissive
from cogen_registry.admission.looks import look
from cogen_registry.admission.names import project_name
from cogen_registry.bodies import check_json
from cogen_registry.errors import Refused
from cogen_registry.experts.models import NewEvaluation
from cogen_registry.packages.form import UploadForm
from cogen_registry.packages.index import negotiate
from cogen_registry.search.full_text import words_of
from cogen_registry.search.sizes import size_range
from cogen_registry.settings import MB
from cogen_registry.versions import version_of
from cogen_registry.weights.paths import check_path, check_tree
from cogen_registry.weights.xet_format import chunk_table, files_of

N = 1 << 20


class TooLong(Exception):
    """The budget is used up."""


@contextmanager
def budget(seconds: int) -> Iterator[None]:
    """Seconds of the processor, so that a busy machine fails no test."""

    def over(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGPROF, over)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def form(boundary: bytes, body: bytes) -> None:
    staged: Any = SimpleNamespace(write=lambda data: None, size=0)
    made = UploadForm(f"multipart/form-data; boundary={boundary.decode()}", staged, 2 * MB, MB)
    for start in range(0, len(body), 65_536):
        made.feed(body[start : start + 65_536])
    made.close()


def xorb(data: bytes, folder: Path) -> None:
    (folder / "xorb").write_bytes(data)
    with (folder / "xorb").open("rb") as file:
        chunk_table(file)


#: What is reachable over HTTP in the service's own process → a call with its worst case.
WORST: dict[str, Callable[[Path], object]] = {
    "JSON, a string that never ends": lambda _: check_json(b'"' + b'\\"' * N),
    "JSON, backslashes": lambda _: check_json(b'"' + b"\\" * N),
    "JSON, quotes": lambda _: check_json(b'"' * N),
    "JSON, depth": lambda _: check_json(b"[" * N),
    "JSON, surrogates": lambda _: check_json(b'["' + b"\\ud83d\\ude00" * (N // 12) + b'"]'),
    "JSON, a long number": lambda _: check_json(b"1" * 4 * N),
    "a form of boundaries": lambda _: form(b"B", b"\r\n--B" * (N // 5)),
    "a form of almost boundaries": lambda _: form(b"B" * 60, (b"\r\n--" + b"B" * 59) * (N // 63)),
    "a form of dashes": lambda _: form(b"-" * 70, b"-" * N),
    "a form with a long boundary": lambda _: form(b"b" * 60_000, b"--" + b"b" * 60_000 + b"\r\n\r\nx" * 1000),
    "a form of line breaks": lambda _: form(b"B", b"--B\r\n" + b"\r\n" * (N // 2)),
    "a form of header lines": lambda _: form(b"B", b"--B\r\n" + b"a: b\r\n" * (N // 6)),
    "a form of one long header": lambda _: form(b"B", b"--B\r\nContent-Disposition: " + b'a="\\' * (N // 4)),
    "a content type": lambda _: UploadForm("multipart/form-data" + '; a="\\"' * 8000, None, 1, 1),  # type: ignore[arg-type]
    "a version": lambda _: version_of("1." * 30_000),
    "a version of digits": lambda _: version_of("1" * 60_000),
    "a version of spaces": lambda _: version_of(" " * 60_000 + "x"),
    "a project's name": lambda _: project_name("cogen-plugin-" + "a-" * 30_000 + "!"),
    "a project's dashes": lambda _: project_name("-" * 60_000),
    "look-alikes": lambda _: look("rnvv" * 15_000),
    "a size": lambda _: size_range("1" * 60_000 + "x"),
    "a size of spaces": lambda _: size_range("1" + " " * 60_000 + "x"),
    "a query": lambda _: words_of("ß\u0345" * 30_000),
    "Accept": lambda _: negotiate(",".join(f"a/b;q=0.{n}" for n in range(8000))),
    "Accept of semicolons": lambda _: negotiate("text/html" + ";" * 60_000),
    "a path": lambda _: check_path("a/" * 30_000),
    "a path of marks": lambda _: check_path("a" + "\u0300\u0316" * 240),
    "a tree": lambda _: check_tree(["/".join(["d"] * 240) + f"/{n}" for n in range(2000)]),
    "a xorb of tiny chunks": lambda folder: xorb((b"\0\1\0\0\0\1\0\0" + b"x") * (N // 9), folder),
    "a shard of empty files": lambda _: list(files_of(shard(b"\0" * 48 * (N // 48)))),
    "a shard of a huge count": lambda _: list(files_of(shard((b"\0" * 32 + b"\0\0\0\xc0" + b"\xff" * 12) * 1000))),
    "an expression of licenses": lambda _: is_permissive(" OR ".join(["MIT"] * 50_000)),
    "an expression of brackets": lambda _: is_permissive("(" * N + "MIT"),
    "an expression of WITH": lambda _: is_permissive("MIT" + " WITH" * (N // 5)),
    "a text in Unicode": lambda _: normal("\ufdfa" * 100_000 + "a" + "\u0300" * 100_000),
    "evidence of mistakes": lambda _: evidence([["x", -1]] * 300_000),
    "evidence of fields": lambda _: evidence([[1, 1]], {f"k{n}": [] for n in range(200_000)}),
    "unknown fields": lambda _: NewEvaluation.model_validate({f"k{n}": 1 for n in range(20_000)}),
}


def shard(records: bytes) -> bytes:
    return b"HFRepoMetaData".ljust(32, b"\0") + (2).to_bytes(8, "little") + b"\0" * 8 + records


def evidence(figures: list[Any], context: dict[str, Any] | None = None) -> None:
    NewEvaluation.model_validate(
        {
            "suite": "a",
            "metric": "acc",
            "part": "dev",
            "value": 1,
            "documents": 1,
            "harness": "h",
            "evidence": {"per_document": figures, "context": context or {}},
        }
    )


@pytest.mark.parametrize("name", WORST)
def test_the_worst_case(name: str, tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with budget(4), suppress(Refused, ValueError):  # pydantic's and packaging's are ValueErrors
        WORST[name](tmp_path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000


def expert(folder: Path, samples: list[str], suite: list[str]) -> Any:
    for name, lines in (("samples.jsonl", samples), ("test.jsonl", suite), ("dev.jsonl", [])):
        (folder / name).write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    parts = {name: SimpleNamespace(path=f"{name}.jsonl") for name in ("dev", "test")}
    spec = SimpleNamespace(samples=SimpleNamespace(path="samples.jsonl"), suites=[SimpleNamespace(**parts)])
    return SimpleNamespace(spec=spec, root=folder)


def test_texts_of_a_suite_beside_samples(tmp_path: Path) -> None:
    """A hundred thousand documents beside a megabyte of samples, where each begins like the samples."""
    samples = [" ".join(f"w{n % 5000}" for n in range(150_000))]
    suite = [f"w{n % 5000} w{(n + 1) % 5000} x{n}" for n in range(100_000)]
    with budget(20):
        assert "in common" in compare_texts(expert(tmp_path, samples, suite))


def simple(samples: list[str], suite: list[str]) -> str | None:
    """What :func:`compare_texts` has to say, in the plainest way."""
    whole = [f" {normal(one)} " for one in samples if normal(one)]
    for text in map(normal, suite):
        if text and any(f" {text} " in one for one in whole):
            return "stands in the samples"
        words = text.split()
        runs = [" ".join(words[i : i + 13]) for i in range(len(words) - 12)]
        if any(f" {run} " in one for run in runs for one in whole):
            return "shares 13 words"
    return None


WORDS = st.lists(st.sampled_from(["a", "b", "A!", "c d", "é"]), min_size=1, max_size=18).map(" ".join)


@settings(max_examples=150, deadline=None)
@given(samples=st.lists(WORDS, min_size=1, max_size=4), suite=st.lists(WORDS, max_size=4))
def test_the_comparison_is_what_it_was(
    tmp_path_factory: pytest.TempPathFactory, samples: list[str], suite: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("overlap")
    try:
        compare_texts(expert(folder, samples, suite))
        found = None
    except Failed as failed:
        found = str(failed)
    wanted = simple(samples, suite)
    assert (found is None) == (wanted is None)
    assert wanted is None or wanted in str(found)
    assert list(texts(folder / "test.jsonl")) == suite
