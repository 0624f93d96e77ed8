"""Any bytes: a reader gives a value or says what is wrong, in one line with a hint, and never anything else."""

from __future__ import annotations

import marshal
import tempfile
import tomllib
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.version import Version
from support.wheels import build

from cogen.host.code import does_nothing
from cogen.host.manifest import read_manifest
from cogen.untrusted.toml_text import check_toml
from cogen.wheels import Limits, WheelError, compiled, read_wheel
from cogen.wheels.metadata import check_wheel_file, read_metadata
from cogen.wheels.points import read_points
from cogen.wheels.record import read_record

NAME = "cogen_plugin_power-1.0-py3-none-any.whl"
INFO = "cogen_plugin_power-1.0.dist-info"
BUDGET = Limits(unpacked=2_000_000, members=100, metadata=100_000)


@cache
def valid() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return build(Path(folder)).read_bytes()


@cache
def members() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder, zipfile.ZipFile(build(Path(folder))) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@contextmanager
def one_line() -> Iterator[None]:
    """What is raised is the module's error, one line and a hint."""
    try:
        yield
    except WheelError as error:
        if not error.hint or error.message.splitlines() != [error.message]:
            raise AssertionError(f"{error.message!r} and {error.hint!r} are no line and a hint") from error


def read(data: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / NAME
        path.write_bytes(data)
        with one_line():
            assert read_wheel(path, limits=BUDGET).project == "cogen-plugin-power"


@st.composite
def mutated(draw: st.DrawFn, data: bytes) -> bytes:
    """A few bytes changed, taken out, put in, doubled or cut off."""
    out = bytearray(data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(out)))
        length = draw(st.integers(0, 40))
        match draw(st.sampled_from(["change", "drop", "insert", "double", "cut"])):
            case "change":
                out[at : at + length] = draw(st.binary(min_size=length, max_size=length))
            case "drop":
                del out[at : at + length]
            case "insert":
                out[at:at] = draw(st.binary(max_size=40))
            case "double":
                out[at:at] = out[at : at + 20 * length]
            case "cut":
                del out[at:]
    return bytes(out)


@given(st.binary(max_size=3000))
@settings(max_examples=150, deadline=None)
def test_any_file(data: bytes) -> None:
    read(data)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_a_wheel_with_a_few_bytes_changed(data: st.DataObject) -> None:
    read(data.draw(mutated(valid())))


@given(st.data(), st.sampled_from(sorted(members())))
@settings(max_examples=200, deadline=None)
def test_a_wheel_one_of_whose_files_is_something_else(data: st.DataObject, name: str) -> None:
    """RECORD and check sums are right: what reads the file itself has to cope."""
    content = data.draw(mutated(members()[name]) | st.binary(max_size=500) | st.text(max_size=500).map(str.encode))
    with tempfile.TemporaryDirectory() as folder:
        path = build(Path(folder), extra={name: content})
        with one_line():
            read_wheel(path, limits=BUDGET)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_metadata_of_any_kind(data: st.DataObject) -> None:
    whole = members()[f"{INFO}/METADATA"]
    raw = data.draw(mutated(whole) | st.binary(max_size=500) | st.text(max_size=500).map(lambda text: text.encode()))
    with one_line():
        assert read_metadata(raw, "cogen-plugin-power", Version("1.0"), BUDGET).requires is not None
    with one_line():
        check_wheel_file(data.draw(mutated(members()[f"{INFO}/WHEEL"])))
    with one_line():
        assert all(value.isidentifier() for value in read_points(raw).values())
    with one_line():
        read_record(raw, INFO, [])


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_manifests_of_any_kind(data: st.DataObject) -> None:
    whole = members()["cogen_plugin_power/expert.toml"]
    toml = st.text(alphabet="ab.=[]{}\"'#\\\n, 1-:T_", max_size=200).map(str.encode)
    raw = data.draw(mutated(whole) | toml | st.binary(max_size=300))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "expert.toml"
        path.write_bytes(raw)
        reading = read_manifest(path)
    assert (reading.document is None) == (reading.state != "ok")
    assert reading.reason is None or reading.reason.splitlines() == [reading.reason]


#: Values in which marks of TOML stand that mean nothing.
_VALUES = [
    '"""a." ]\n{ "" \\""" b"""',
    "'''a.'' [[ \n '''",
    '"a.b.c\\"#."',
    "'a.\\'",
    '""""quoted""""',
    "''''x''''",
    '[1, [2, "]"]]',
    '{a = "}", b.c = 1}',
    "1979-05-27T07:32:00.5Z",
    "1.5e3  # a.b.c.d ''' \"\"\"",
]


@given(st.lists(st.sampled_from(_VALUES), max_size=8), st.integers(0, 8), st.integers(1, 40), st.booleans())
@settings(max_examples=200, deadline=None)
def test_the_parts_of_a_key_are_counted_as_toml_counts_them(
    values: list[str], place: int, parts: int, quoted: bool
) -> None:
    """Whatever strings stand around it: exactly the keys that are too long are refused."""
    key = " . ".join(f'"k.{number}"' if quoted else f"k{number}" for number in range(parts))
    lines = [f"v{number} = {value}" for number, value in enumerate(values)]
    lines.insert(min(place, len(lines)), f"{key} = 1")
    text = "\n".join(lines)
    assert len(tomllib.loads(text)) == len(values) + 1
    if parts > 16:
        with pytest.raises(ValueError, match="more than 16 parts"):
            check_toml(text)
    else:
        check_toml(text)


@given(st.binary(max_size=300) | st.text(alphabet='#" \n\\ax=\r\t', max_size=60).map(str.encode))
@settings(max_examples=500, deadline=None)
@example(b"# coding: utf-7\n#+AAo-x=1")
@example(b'"""a\n# """;x=1')
def test_what_does_nothing_compiles_to_nothing(source: bytes) -> None:
    """Python agrees: no name is read or called, nothing is bound but the docstring."""
    if not does_nothing(source):
        return
    try:
        code = compile(source, "x", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return  # it does not run at all
    assert set(code.co_names) <= {"__doc__"}
    assert all(one is None or isinstance(one, str) for one in code.co_consts)


_CODE = marshal.dumps(compile("def f(a, *b, c=(1, 2.5, 'x', None)):\n    return {1, 2} | set(b)\n", "x", "exec"))


@given(mutated(_CODE) | st.binary(max_size=200))
@settings(max_examples=500, deadline=None)
def test_any_compiled_file_is_read_without_running_it(content: bytes) -> None:
    value: Any = None
    try:
        value = compiled._read(content)
    except compiled._Unreadable:
        return
    assert isinstance(value, tuple)
