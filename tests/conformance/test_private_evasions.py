"""Ways in which private text could still leave, or figures tell of it, found by trying."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from support.manifests import digest, files, install, manifest
from support.private import COUNTS, expert_with, lines, private_files, private_manifest, suite

from cogen.conformance import run_checks
from cogen.conformance.package_files import check_named
from cogen.conformance.private_text import check_private
from cogen.conformance.result import Failed
from cogen.conformance.shipped import check_samples
from cogen.conformance.static import expert_checks
from cogen.errors import SourceError
from cogen.host import Expert

TEXT = lines(("一位病人 of the ward, with her name", "records"))
MEAN = np.ones(4, np.float32)


def failures(expert: Expert) -> list[tuple[str, str]]:
    return [(check.name, check.message) for check in expert_checks(expert) if check.ok is False]


def with_embedding(folder: Path, content: bytes, name: str = "mean.safetensors") -> Expert:
    samples = {"embedding": name, "digest": digest(content), "license": "CC0-1.0"}
    return expert_with(folder, private_manifest(samples=samples), private_files() | {name: content})


@pytest.mark.parametrize("name", ["mean.jsonl", "mean.safetensors"])
def test_text_called_an_embedding(tmp_path: Path, name: str) -> None:
    """What the manifest calls an embedding is looked into: numbers, and one tensor of them."""
    with pytest.raises(SourceError, match="is not a whole safetensors file"):
        check_samples(with_embedding(tmp_path, TEXT, name))


@pytest.mark.parametrize(
    "tensors",
    [
        {"text": np.frombuffer(TEXT, np.uint8)},
        {"a": MEAN, "b": MEAN},
        {"mean": np.ones((2, 4), np.float32)},
    ],
)
def test_an_embedding_is_one_tensor_of_floats(tmp_path: Path, tensors: dict[str, Any]) -> None:
    with pytest.raises(Failed, match=r"mean\.safetensors holds .*, not one tensor of floats of one axis"):
        check_samples(with_embedding(tmp_path / "wrong", save(tensors)))
    assert check_samples(with_embedding(tmp_path / "right", save({"mean": MEAN}))).endswith("bytes")


def test_text_in_the_header_of_numbers(tmp_path: Path) -> None:
    """A header may hold any text beside the tensors: of files that stand in the place of text, it holds none."""
    note = {"note": "一位病人 of the ward"}
    with pytest.raises(Failed, match=r"mean\.safetensors holds text in its header: note"):
        check_samples(with_embedding(tmp_path / "samples", save({"mean": MEAN}, note)))
    counts = save({"ids": np.array([3], np.int64), "counts": np.array([90], np.int64)}, note)
    document = private_manifest()
    document["statistics"]["token_counts"]["digest"] = digest(counts)
    expert = expert_with(tmp_path, document, private_files() | {"statistics/token_counts.safetensors": counts})
    ((name, message),) = failures(expert)
    assert (name, message) == ("statistics", "statistics/token_counts.safetensors holds text in its header: note")


@pytest.mark.parametrize("name", ["NOTICE.jsonl", "README_patients.csv", "SOURCES.jsonl", "CHANGELOG.parquet"])
def test_data_called_a_readme(tmp_path: Path, name: str) -> None:
    """A file about the package is prose; data is not, however its name begins."""
    with pytest.raises(Failed, match=f"{name} would be published, and the manifest does not name it"):
        check_named(expert_with(tmp_path, private_manifest(), private_files() | {name: TEXT}))


@pytest.mark.parametrize("name", ["LICENSE", "LICENSE.txt", "LICENSE-APACHE", "NOTICE.md", "README.zh.md", "py.typed"])
def test_files_about_the_package(tmp_path: Path, name: str) -> None:
    assert check_named(expert_with(tmp_path, private_manifest(), private_files() | {name: b"x"}))


@pytest.mark.parametrize("personal", ["present", "unknown"])
def test_files_beside_a_card_without_sources(tmp_path: Path, personal: str) -> None:
    """Sources are unknown, so none says how far its text goes; where it may be personal, no file travels unnamed."""
    document = manifest("ward")
    del document["samples"], document["suites"]
    document |= {"schema_version": 2, "data": document["data"] | {"sources": "unknown", "personal_data": personal}}
    kept = {name: data for name, data in files("ward").items() if name.startswith("weights/")}
    assert check_named(expert_with(tmp_path / "fine", document, kept))
    with pytest.raises(Failed, match=r"notes\.txt would be published"):
        check_named(expert_with(tmp_path / "more", document, kept | {"notes.txt": TEXT}))


def test_a_digest_of_private_text_without_salt(tmp_path: Path) -> None:
    """Anybody could test a guess at a single letter with it."""
    document = private_manifest()
    document["data"]["sources"][0] |= {"uri": "file://texts", "archive_digest": digest(TEXT)}
    with pytest.raises(Failed, match="source records keeps its text, and the card gives its archive_digest"):
        check_private(expert_with(tmp_path, document, {}))
    public = {"uri": "wheel://texts==1", "archive_digest": digest(TEXT)}
    document["data"]["sources"][0] |= public
    assert check_private(expert_with(tmp_path, document, {})) == "no text is shipped"


@pytest.mark.parametrize("uri", ["file:///home/w3/Müller", "file://../ward", "file://~/ward", "file://C:/ward/x"])
def test_folders_of_a_machine(tmp_path: Path, uri: str) -> None:
    """Where private text lies at home is nobody's business: names of people are in such paths."""
    document = private_manifest()
    document["data"]["sources"][0]["uri"] = uri
    with pytest.raises(Failed, match="source records names a folder of its publisher's machine"):
        check_private(expert_with(tmp_path, document, {}))


@pytest.mark.parametrize(
    ("field", "value"), [("share", 0.4), ("kept_share", 0.9), ("dropped", "too short: 3 (400 bytes)")]
)
def test_nothing_means_no_account(tmp_path: Path, field: str, value: Any) -> None:
    document = private_manifest(leaves="nothing")
    document["data"]["sources"][0] |= {field: value}
    with pytest.raises(Failed, match=f'says leaves = "nothing", and the card gives its {field}'):
        check_private(expert_with(tmp_path, document, {}))


def test_a_private_suite_of_one_text(tmp_path: Path) -> None:
    """Its figure would be that of one patient."""
    expert = expert_with(tmp_path, private_manifest(private_suites=[suite(documents=1, bytes=40)]), {})
    with pytest.raises(Failed, match="private suite ward-notes is of 1 document"):
        check_private(expert)


@pytest.mark.parametrize("which", ["base", "expert"])
def test_figures_out_of_order(tmp_path: Path, which: str) -> None:
    figure = {which: {"value": 1.9, "low": 3.0, "high": 2.0}}
    expert = expert_with(tmp_path, private_manifest(private_suites=[suite(**figure)]), {})
    with pytest.raises(Failed, match=f"{which} on private suite ward-notes: low, value and high are not in order"):
        check_private(expert)


def test_statistics_of_fewer_documents_than_the_floor(tmp_path: Path) -> None:
    document = private_manifest()
    document["statistics"]["documents"] = 9
    content = private_files() | {"statistics/token_counts.safetensors": COUNTS}
    ((name, message),) = failures(expert_with(tmp_path, document, content))
    assert (name, message) == ("statistics", "the numbers are made of 9 documents, fewer than their floor of 10")


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("Summary: TODO: one line", "description"),
        ("Author: TODO", "authors"),
        ("Author-email: ＴＯＤＯ <a@b.example>", "authors"),
        ("License: LicenseRef-TODO", "license"),
    ],
)
def test_what_pyproject_leaves_open(site: Path, line: str, name: str) -> None:
    """Its fields ship in METADATA, and a registry shows them."""
    install(site, "ward")
    (metadata,) = site.glob("*.dist-info/METADATA")
    before = metadata.read_text(encoding="utf-8")
    metadata.write_text(f"{before.rstrip()}\n{line}\n\nA TODO in the long text is the text's own.\n", encoding="utf-8")
    failed = [(check.name, check.message) for check in run_checks("ward") if check.ok is False]
    assert failed == [("files", f"{name} in pyproject.toml is still TODO")]
    metadata.write_text(f"{before.rstrip()}\n\nSummary: TODO\n", encoding="utf-8")
    assert [check.name for check in run_checks("ward") if check.ok is False] == []


@pytest.mark.parametrize("card", ["none", "removed"])
@pytest.mark.parametrize("source", ["present", "unknown"])
def test_a_card_that_says_less_than_its_source(tmp_path: Path, card: str, source: str) -> None:
    """A reader of the card looks at one line: it must not say "none" of the text of patients."""
    document = private_manifest()
    document["data"]["sources"][0]["personal_data"] = source
    document["data"]["personal_data"] = card
    with pytest.raises(Failed, match=f"personal data is {source}, and the card says {card} of all text"):
        check_private(expert_with(tmp_path, document, private_files()))
    document["data"]["personal_data"] = source
    check_private(expert_with(tmp_path, document, private_files()))
