"""Samples and suites of others mean the same to `cogen check`, to a registry's admission and to a fusion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from support import wheels
from support.manifests import digest, documents, files, make_expert, manifest

from cogen.conformance.static import expert_checks
from cogen.errors import CogenError
from cogen.evals import read_rows, suites_of
from cogen.fusion.samples import sample_texts
from cogen.host import Expert
from cogen_registry.admission.wheel import check_wheel
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

GOOD = json.dumps({"text": "An ordinary sample of some words"}).encode()
#: Name → (content of a JSON Lines file, what is wrong with it, or None).
CASES: dict[str, tuple[bytes, str | None]] = {
    "U+2028 in a text": ('{"text": "one line\u2028another line of text"}'.encode(), None),
    "U+0085 in a text": ('{"text": "one line\x85another line of text"}'.encode(), None),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, None),
    "lines of Windows": (GOOD + b"\r\n\r\n", None),
    "no field text": (b'{"txt": "a"}', "line 1 has no text in the field 'text'"),
    "a text that is none": (b'{"text": ["a"]}', "line 1 has no text in the field 'text'"),
    "not an object": (b'["a"]', "line 1: it is not a JSON object"),
    "half a surrogate pair": (b'{"text": "x\\ud800"}', "line 1: a text with half a surrogate pair"),
    "5,000 digits": (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "line 1: a number of 5,000 digits"),
    "NaN": (b'{"text": "x", "n": NaN}', "line 1: NaN is not JSON"),
    "deep": (b'{"text": "x", "n": ' + b"[" * 5000 + b"]" * 5000 + b"}", "line 1: it is nested more than 64 deep"),
    "UTF-16": ('{"text": "x"}'.encode("utf-16"), "is not UTF-8"),
    "cut off": (GOOD + b'\n{"text": ', "line 2: it is not JSON"),
    "nothing": (b"\n", "holds no text"),
}
#: What a suite's own template decides.
SAMPLES_ALONE = ("no field text", "a text that is none", "nothing")


def verdicts(folder: Path, path: str, content: bytes, **changes: Any) -> tuple[list[str | None], Expert]:
    """What `cogen check` and admission say of an expert with one file changed; ``None``: nothing. And the expert."""
    expert = make_expert(folder, **changes)
    (expert.root / path).write_bytes(content)
    failed = [check.message for check in expert_checks(expert) if check.ok is False]
    inside = wheels.package_files("power")
    inside[path] = content
    document = tomlkit.parse(inside["expert.toml"].decode()).unwrap() | changes
    inside["expert.toml"] = tomlkit.dumps(document).encode()
    (folder / "scratch").mkdir()
    try:
        wheel = wheels.build(folder, "power", content=inside)
        check_wheel(wheel, wheel.name, Limits(), folder / "scratch")
        refused = None
    except Refused as error:
        refused = error.message
    return [failed[0] if failed else None, refused], expert


@pytest.mark.parametrize(("content", "problem"), CASES.values(), ids=list(CASES))
def test_samples(tmp_path: Path, content: bytes, problem: str | None) -> None:
    """All three take them, or all three name file and line."""
    samples = {"path": "samples.jsonl", "digest": digest(content), "license": "CC0-1.0"}
    verdict, expert = verdicts(tmp_path, "samples.jsonl", content, samples=samples)
    try:
        texts = sample_texts(expert)
        verdict.append(None)
    except CogenError as error:
        texts = []
        verdict.append(error.message)
    if problem is None:
        assert verdict == [None, None, None]
        assert len(texts) == 1
        return
    for one in verdict:
        assert one is not None
        assert "samples.jsonl" in one
        assert problem in one


@pytest.mark.parametrize(
    ("content", "problem"), [CASES[name] for name in CASES if name not in SAMPLES_ALONE], ids=lambda one: None
)
def test_suites(tmp_path: Path, content: bytes, problem: str | None) -> None:
    """The same file as the held-out text of a suite."""
    rest = files("power")["suites/test.jsonl"].splitlines(keepends=True)[1:]
    content = content + b"\n" + b"".join(rest)
    suite = manifest()["suites"][0]
    suite["test"] |= {"digest": digest(content), "documents": 30}
    verdict, expert = verdicts(tmp_path, "suites/test.jsonl", content, suites=[suite])
    (bound,) = suites_of(expert)
    try:
        rows = read_rows(bound, "test")
        verdict.append(None)
    except CogenError as error:
        rows = []
        verdict.append(error.message)
    if problem is None:
        assert verdict == [None, None, None]
        assert len(rows) == 30
        assert rows[1].target == documents("powertest", 30)[1]
        return
    assert all("suites/test.jsonl" in (one or "") and problem in (one or "") for one in verdict)
