"""What strangers send to the readers of the service itself: it is read, or refused in one line, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import xet

from cogen_registry.admission.locks import read
from cogen_registry.admission.readmes import front, problem
from cogen_registry.bodies import check_json
from cogen_registry.errors import Refused
from cogen_registry.experts.models import NewEvaluation
from cogen_registry.packages.form import UploadForm
from cogen_registry.settings import Limits
from cogen_registry.weights import commits
from cogen_registry.weights.paths import check_path, check_tree
from cogen_registry.weights.xet_format import chunk_table, files_of, unpacked

FUZZ = settings(max_examples=200, deadline=None)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


def reads(call: Callable[[], object], *more: type[Exception]) -> None:
    """It does, or it refuses with a status of the client's, a line and a hint."""
    refused: Refused | None = None
    try:
        call()
    except Refused as error:
        refused = error
    except more:
        pass
    if refused is not None:
        assert 400 <= refused.status < 500
        assert refused.message
        assert refused.hint
        assert not any(ord(one) < 32 or 0xD800 <= ord(one) < 0xE000 for one in refused.message + refused.hint)
        for value in refused.headers.values():
            assert value.encode("latin-1").strip() == value.encode("latin-1")


@FUZZ
@given(body=st.binary(max_size=300), boundary=st.text("abB-'=\" ;", min_size=0, max_size=20), cut=st.integers(1, 40))
def test_forms(body: bytes, boundary: str, cut: int) -> None:
    staged: Any = SimpleNamespace(write=lambda data: None, size=0)

    def read_form() -> None:
        made = UploadForm(f"multipart/form-data; boundary={boundary}", staged, 1000, 1000)
        whole = b"--" + boundary.encode() + b"\r\nContent-Disposition: form-data; name=" + body
        for start in range(0, len(whole), cut):
            made.feed(whole[start : start + cut])
        made.close()

    reads(read_form)


@FUZZ
@given(records=st.binary(max_size=500), kind=st.sampled_from([b"", b"HFRepoMetaData"]), version=st.integers(0, 3))
def test_shards(records: bytes, kind: bytes, version: int) -> None:
    head = kind.ljust(32, b"\0") + version.to_bytes(8, "little") + b"\0" * 8
    reads(lambda: list(files_of(head + records)))


@FUZZ
@given(noise=st.binary(max_size=200), scheme=st.integers(0, 3), size=st.integers(1, 1000))
def test_xorbs(tmp_path_factory: pytest.TempPathFactory, noise: bytes, scheme: int, size: int) -> None:
    path = tmp_path_factory.mktemp("xorb") / "xorb"
    path.write_bytes(xet.chunk(b"x" * size, 1) + noise)

    def table() -> None:
        with path.open("rb") as file:
            chunk_table(file)

    reads(table)
    reads(lambda: unpacked(noise, scheme, size))


@FUZZ
@given(key=st.sampled_from([*commits.LINES, "other"]), value=JSON, path=st.text(st.characters(codec=None)))
def test_lines_of_commits(key: str, value: Any, path: str) -> None:
    service: Any = SimpleNamespace(settings=SimpleNamespace(limits=Limits()))  # type: ignore[call-arg]
    for output in ({"key": key, "value": value}, {"key": key, "value": {"path": path, "oid": "0" * 64}}, value):
        if isinstance(output, dict) and key == "file":
            continue  # becomes a blob: that needs a store
        reads(lambda output=output: commits._take(service, commits.Draft(), json.dumps(output).encode()))  # type: ignore[misc]


@FUZZ
@given(raw=st.binary(max_size=200))
def test_lines_of_commits_that_are_not_json(raw: bytes) -> None:
    service: Any = SimpleNamespace(settings=SimpleNamespace(limits=Limits()))  # type: ignore[call-arg]
    reads(lambda: commits._take(service, commits.Draft(), raw))


@FUZZ
@given(paths=st.lists(st.text("aA/é\u0301／.\0", min_size=1, max_size=8), max_size=5))
def test_trees(paths: list[str]) -> None:
    good = []
    for path in paths:
        with suppress(Refused):
            good.append(check_path(path))
        reads(lambda path=path: check_path(path))  # type: ignore[misc]
    reads(lambda: check_tree(good))


@FUZZ
@given(value=JSON)
def test_locks(tmp_path_factory: pytest.TempPathFactory, value: Any) -> None:
    path = tmp_path_factory.mktemp("lock") / "cogen.lock"
    for output in (value, {"version": 1, "plan": value}, {"version": value}):
        path.write_text(json.dumps(output))
        reads(lambda: read(path))


@FUZZ
@given(value=JSON)
def test_evaluations(value: Any) -> None:
    output = {
        "suite": value,
        "metric": "acc",
        "part": "dev",
        "value": value,
        "documents": 1,
        "harness": "h",
        "evidence": {"per_document": value, "context": value},
    }
    reads(lambda: check_json(json.dumps(output).encode()))
    reads(lambda: NewEvaluation.model_validate(output), ValueError)


@FUZZ
@given(text=st.text("-:!&*<>[]{}|%@`'\"\n a1.\u2028#,?") | st.text())
def test_metadata_of_readmes(text: str) -> None:
    found = front(f"---\n{text}\n---\n")
    output = problem(found) if found is not None else None
    assert output is None or "\n" not in output


@FUZZ
@given(data=st.binary(max_size=300) | JSON.map(lambda value: json.dumps(value).encode()))
def test_bodies(data: bytes) -> None:
    reads(lambda: check_json(data))
