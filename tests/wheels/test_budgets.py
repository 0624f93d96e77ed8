"""What is cheap to send and dear to read is refused before it is read: the worst case of each reader."""

from __future__ import annotations

import itertools
import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from packaging.version import Version
from support.manifests import manifest
from support.wheels import build, package_files, raw

from cogen.host.manifest import read_manifest
from cogen.untrusted.toml_text import check_numbers, check_toml
from cogen.wheels import Limits, WheelError, read_wheel
from cogen.wheels.archive import open_archive
from cogen.wheels.metadata import read_metadata
from cogen.wheels.weights import check_weight_file

CODE, INFO = "cogen_plugin_power", "cogen_plugin_power-1.0.dist-info"


def check_refused(path: Path, message: str, too_large: bool | None = None) -> None:
    with pytest.raises(WheelError, match=message) as refused:
        read_wheel(path)
    assert refused.value.hint
    assert too_large is None or refused.value.too_large is too_large


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (".".join("a" * 2500) + " = 1", "more than 16 parts"),
        ("[" + ".".join("a" * 2500) + "]", "more than 16 parts"),
        ("a = {" + ".".join("b" * 2500) + " = 1}", "more than 16 parts"),
        ('""."".' * 1000 + "a = 1", "more than 16 parts"),
        ("a = " + "[" * 5000, "more than 32 deep"),
        ("a = " + "{a=" * 5000, "more than 32 deep"),
        ("a = " + "9" * 5000, "more than 200 characters"),
        ("a = 0x" + "f" * 5000, "more than 200 characters"),
        ("a" * 5000 + " = 1", "more than 200 characters"),
    ],
)
def test_manifests_that_would_take_minutes(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_toml(text)
    path = tmp_path / "expert.toml"
    path.write_text(text)
    reading = read_manifest(path)
    assert reading.document is None
    assert message in str(reading.reason)
    content = package_files("power") | {"expert.toml": text.encode()}
    check_refused(build(tmp_path, content=content), message)


def test_integers_that_no_database_holds(tmp_path: Path) -> None:
    check_numbers({"a": [{"b": 2**63 - 1}, True, -(2**63)]})
    with pytest.raises(ValueError, match="beyond 64 bits"):
        check_numbers({"a": [{"b": 2**63}]})
    model = manifest("power")["model"] | {"parameters": 2**63}
    text = tomlkit.dumps(manifest("power", model=model))
    (tmp_path / "expert.toml").write_text(text)
    assert "beyond 64 bits" in str(read_manifest(tmp_path / "expert.toml").reason)


def test_files_that_are_too_large_for_what_they_are(tmp_path: Path) -> None:
    long = b"# " + b"x" * 300_000
    check_refused(build(tmp_path, content=package_files("power") | {"expert.toml": long}), "at most 262,144", True)
    check_refused(build(tmp_path, points="#" + "x" * 70_000), "entry_points.txt has 70,001 bytes", True)
    check_refused(build(tmp_path, wheel="x" * 20_000), "WHEEL has 20,000 bytes", True)
    check_refused(build(tmp_path, metadata="x" * 3_000_000), "METADATA has 3,000,000 bytes", True)
    check_refused(build(tmp_path, record="x" * 4_000_000), "RECORD has 4,000,000 bytes", True)
    zeros: dict[str, bytes | None] = {f"{CODE}/zeros.txt": bytes(30_000_000)}
    check_refused(build(tmp_path, extra=zeros), "times its size, at most 200", True)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ("".join(f"X-{number}:\n" for number in range(3000)), "3,004 fields"),
        (" x\n" * 30_000, "more than fits"),
        ("X:\n \n" + "".join(f"X-{number}:\r" for number in range(3000)), "3,005 fields"),
        ("Content-Type: multipart/mixed; boundary=a\n", "has parts"),
        ("MIME-Version: 1.0\n", "has parts"),
        ("Requires-Dist: x; " + "(" * 900 + "\n", "brackets in brackets"),
        ("Requires-Dist: x" + ",>1" * 500 + "\n", "at most 1,000"),
        ("Description-Content-Type: " + "a;" * 1000 + "\n", "at most 200"),
        ("Description-Content-Type: a\n" + " a;\n" * 1000, "at most 200"),
        ("Requires-Python: " + "(" * 100 + "\n", "brackets in brackets"),
    ],
)
def test_metadata_that_would_take_minutes(head: str, message: str) -> None:
    text = f"Metadata-Version: 2.4\nName: cogen-plugin-power\nVersion: 1.0\n{head}Requires-Dist: cogen-core\n"
    with pytest.raises(WheelError, match=message):
        read_metadata(text.encode(), "cogen-plugin-power", Version("1.0"), Limits())


def test_archives_whose_directory_is_dear_to_read(tmp_path: Path) -> None:
    """Extra fields of 64 KB in steps of four bytes; paths of hundreds of folders."""
    info = zipfile.ZipInfo("a/b")
    info.extra = struct.pack("<2H", 0x9999, 0) * 16_000
    with pytest.raises(WheelError, match="long extra field"):
        open_archive(raw(tmp_path, "x.whl", [(info, b"x")]), Limits())
    with pytest.raises(WheelError, match="too deep"):
        open_archive(raw(tmp_path, "x.whl", [("a/" * 100 + "b", b"x")]), Limits())
    with pytest.raises(WheelError, match="long name"):
        open_archive(raw(tmp_path, "x.whl", [("a/" + "b" * 60_000, b"x")]), Limits())
    info = zipfile.ZipInfo("a/b")
    info.comment = b"x" * 60_000
    with pytest.raises(WheelError, match="a comment"):
        open_archive(raw(tmp_path, "x.whl", [(info, b"x")]), Limits())


def test_a_few_bytes_that_name_the_same_file_a_thousand_times(tmp_path: Path) -> None:
    suite = manifest("power")["suites"][0]
    many = [suite | {"id": f"s{number:03}"} for number in range(65)]
    check_refused(build(tmp_path, suites=many), "has 65 suites, at most 64", True)
    content = package_files("power", suites=many[:60])
    line = json.dumps({"text": "word " * 1000}).encode() + b"\n"
    content["suites/test.jsonl"] = b"".join(line.replace(b"word", b"%04d" % n) for n in range(300))
    check_refused(build(tmp_path, content=content), "bytes of text, at most 67,108,864", True)
    for changes, message in (
        ({"domains": [f"d{n}" for n in range(101)]}, "101 domains, at most 100"),
        ({"languages": ["en"] * 101}, "101 languages, at most 100"),
    ):
        check_refused(build(tmp_path, **changes), message, True)
    content = package_files("power", suites=many[:60])
    content["suites/heldout.yaml"] += b"# " + b"x" * 5_000
    check_refused(build(tmp_path, content=content), "bytes, at most 262,144", True)
    points = "[cogen]\n" + "".join(f"e{number} = {CODE}__{number}\n" for number in range(65))
    check_refused(build(tmp_path, points=points), "has 65 experts, at most 64", True)


def test_json_of_millions_of_values(tmp_path: Path) -> None:
    for name, content in (
        ("x.json", b"[" + b"[]," * 4_000_001 + b"1]"),
        ("x.safetensors", struct.pack("<Q", 4_100_000) + b"{" + b"," * 4_099_999),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(WheelError, match="more than 4,000,000 values") as refused:
            check_weight_file(str(path), name)
        assert refused.value.too_large
    for number, content in enumerate((b"[" * 100_000, b"1" * 5000, b'{"a":' * 50_000)):
        path = tmp_path / f"{number}.json"
        path.write_bytes(content)
        with pytest.raises(WheelError, match="is not JSON"):
            check_weight_file(str(path), path.name)


def test_what_looks_like_a_pickle_is_looked_at_for_so_long_and_no_longer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pickletools

    steps = itertools.count()
    real = pickletools.genops

    def counted(data: Any) -> Any:
        for one in real(data):
            next(steps)
            yield one

    monkeypatch.setattr(pickletools, "genops", counted)
    path = tmp_path / "x.txt"
    path.write_bytes(b"(" * 60_000)
    check_weight_file(str(path), "x.txt")
    assert next(steps) <= 4096


def test_many_short_documents_against_many_samples(tmp_path: Path) -> None:
    """The samples are searched once, not once for each document."""
    from cogen.conformance import overlap
    from cogen.host import Expert
    from cogen.spec.expert import ExpertSpec

    content = package_files("power")
    for name, data in content.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "samples.jsonl").write_text("".join(json.dumps({"text": f"s{n} t{n} u{n}"}) + "\n" for n in range(900)))
    (tmp_path / "suites" / "test.jsonl").write_text(
        "".join(json.dumps({"text": f"a{n} b{n}"}) + "\n" for n in range(50_000))
    )
    expert = Expert(ExpertSpec.model_validate(manifest("power")), "cogen-plugin-power", "1.0", tmp_path)
    assert "no document" in overlap.compare_texts(expert)
    with (tmp_path / "suites" / "test.jsonl").open("a") as file:
        file.write(json.dumps({"text": "T7, u7!"}) + "\n")
    with pytest.raises(Exception, match=r"document 50001 of suites/test\.jsonl stands in the samples"):
        overlap.compare_texts(expert)


@pytest.mark.parametrize("text", ["[" * 7_000, "a: [" + "1," * 7_000 + "]", "a: " + "1:" * 7_000 + "1", "{" * 7_000])
def test_task_files_that_would_take_seconds(tmp_path: Path, text: str) -> None:
    from cogen.errors import UnsafeError
    from cogen.evals.safe_yaml import read_yaml

    (tmp_path / "x.yaml").write_text(text)
    with pytest.raises(UnsafeError, match="more than 6,000 values"):
        read_yaml(tmp_path / "x.yaml")
