"""What may leave: the rule of sources, on everything that a package can hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save
from support.manifests import digest, files, install, make_expert, manifest
from support.private import (
    COUNTS,
    expert_with,
    lines,
    pinned,
    private_files,
    private_manifest,
    suite,
    with_sources,
)

from cogen.conformance import run_checks
from cogen.conformance.package_files import check_named
from cogen.conformance.private_text import check_private, check_unfinished, shipped_with_personal_data
from cogen.conformance.result import Failed
from cogen.conformance.static import expert_checks
from cogen.host import Expert


def with_samples(folder: Path, *sources: dict[str, Any], source: str | None, **card: Any) -> Expert:
    """An expert of version 2 that ships one sample, of ``source``."""
    text = lines(("一位病人 of the ward", source))
    document = with_sources(manifest("ward"), *sources)
    document["data"] |= card
    document |= {"schema_version": 2, "suites": [], "samples": pinned("samples.jsonl", text)}
    kept = {name: data for name, data in files("ward").items() if name.startswith("weights/")}
    return expert_with(folder, document, kept | {"samples.jsonl": text})


def with_suite(folder: Path, leaves: str, source: str | None = "web", **changes: Any) -> Expert:
    """An expert of version 2 with a suite of text of ``source``."""
    content = files("ward") | {
        f"suites/{split}.jsonl": lines(*((f"{split} document {n} of its own words {n * 7}", source) for n in range(k)))
        for split, k in (("dev", 10), ("test", 30))
    }
    document = with_sources(manifest("ward"), {"name": "web", "leaves": leaves} | changes)
    document |= {"samples": None}
    for split, k in (("dev", 10), ("test", 30)):
        document["suites"][0][split] = pinned(f"suites/{split}.jsonl", content[f"suites/{split}.jsonl"], k)
    del document["samples"], content["samples.jsonl"]
    return expert_with(folder, document, content)


@pytest.mark.parametrize("leaves", ["nothing", "figures"])
def test_an_expert_without_text_keeps_the_contract(tmp_path: Path, leaves: str) -> None:
    """Personal data, no sample, no suite: every check of its files passes."""
    document = private_manifest(leaves=leaves)
    content = (
        private_files() if leaves == "figures" else {n: d for n, d in private_files().items() if "counts" not in n}
    )
    checks = {check.name: check for check in expert_checks(expert_with(tmp_path, document, content))}
    assert [check for check in checks.values() if not check.ok] == []
    assert checks["private text"].message == "no text is shipped"
    assert ("statistics" in checks) == (leaves == "figures")


def test_installed_without_text(site: Path) -> None:
    """The same through `cogen check`, which finds statistics among the files that the manifest promises."""
    package = install(site, "ward", toml=None)
    import tomlkit

    for name in ("samples.jsonl", "suites/dev.jsonl", "suites/test.jsonl", "suites/heldout.yaml"):
        (package / name).unlink()
    (package / "statistics").mkdir()
    (package / "statistics" / "token_counts.safetensors").write_bytes(COUNTS)
    (package / "expert.toml").write_text(tomlkit.dumps(private_manifest()))
    assert [check for check in run_checks("ward") if check.ok is False] == []
    (package / "statistics" / "token_counts.safetensors").unlink()
    (first, *_) = [check for check in run_checks("ward") if check.ok is False]
    assert "statistics/token_counts.safetensors" in first.message


@pytest.mark.parametrize("personal", ["present", "unknown"])
@pytest.mark.parametrize("own", [True, False])
def test_text_with_personal_data_is_never_shipped(tmp_path: Path, personal: str, own: bool) -> None:
    """Its own word, or the card's where it has none; the license does not matter, nor what the source allows."""
    source: dict[str, Any] = {"name": "records", "leaves": "heldout"} | ({"personal_data": personal} if own else {})
    expert = with_samples(tmp_path, source, source="records", personal_data="none" if own else personal)
    with pytest.raises(Failed, match=f'source records says leaves = "heldout", and its personal data is {personal}'):
        check_private(expert)


@pytest.mark.parametrize("personal", ["present", "unknown"])
def test_the_old_road_is_closed(tmp_path: Path, personal: str) -> None:
    """A manifest of version 1 under CC0-1.0 with `heldout = true`: once, 104 of 120 patients went out like this."""
    data = manifest("ward")["data"] | {"personal_data": personal}
    expert = make_expert(tmp_path, "ward", data=data)
    with pytest.raises(Failed, match=f"the personal data of source Invented words is {personal}, and such text is"):
        check_private(expert)
    (warning,) = shipped_with_personal_data(expert.spec)
    assert warning == f"it ships samples and suites, and the personal data of source Invented words is {personal}"


@pytest.mark.parametrize("personal", ["none", "removed"])
def test_old_manifests_pass(tmp_path: Path, personal: str) -> None:
    """Version 1 knows no `leaves`, and its lines may name any source or none."""
    expert = make_expert(tmp_path, "power", data=manifest("power")["data"] | {"personal_data": personal})
    assert check_private(expert) == "shipped: 45 documents of a source that is not named"
    assert list(shipped_with_personal_data(expert.spec)) == []
    other = lines(("some text", "starter"))
    (expert.root / "samples.jsonl").write_bytes(other)
    assert "45" not in check_private(expert)


@pytest.mark.parametrize(
    ("leaves", "passes"), [(None, False), ("nothing", False), ("figures", False), ("samples", True), ("heldout", True)]
)
def test_samples_need_leave(tmp_path: Path, leaves: str | None, passes: bool) -> None:
    """Where one source says how far its text may go, one that does not say it keeps it."""
    other = {"name": "web", "leaves": "heldout"} | ({"share": "unknown"} if leaves == "nothing" else {})
    nothing = dict.fromkeys(("documents", "bytes", "tokens", "share"), "unknown") if leaves == "nothing" else {}
    source = {"name": "records"} | ({"leaves": leaves} if leaves else {}) | nothing
    expert = with_samples(tmp_path, other, source, source="records")
    if passes:
        assert check_private(expert) == "shipped: 1 documents of records"
    else:
        with pytest.raises(Failed, match=r"document 1 of samples\.jsonl: source records says leaves = ") as refused:
            check_private(expert)
        assert "private suite" in str(refused.value.hint)


def test_a_source_that_is_held_out_only(tmp_path: Path) -> None:
    """Its text is in suites, and named so; never a sample, and no training token is counted of it."""
    web = {"name": "web", "leaves": "heldout"}
    only = {"name": "exams", "leaves": "heldout", "use": "suite", "documents": 0, "bytes": 0, "tokens": 0, "share": 0}
    with pytest.raises(Failed, match=r'source exams says use = "suite", and its text is no sample') as refused:
        check_private(with_samples(tmp_path / "a", web, only, source="exams"))
    assert "take the document out" in str(refused.value.hint)
    assert check_private(with_samples(tmp_path / "b", web, only, source="web")) == "shipped: 1 documents of web"
    with pytest.raises(Failed, match=r'source exams says use = "suite", and the card counts 7 training tokens'):
        check_private(with_samples(tmp_path / "c", web, only | {"tokens": 7}, source="web"))
    shown = check_private(with_suite(tmp_path / "d", "heldout", use="suite", tokens=0))
    assert shown == "shipped: 40 documents of web (held out only)"


def test_held_out_text_needs_more(tmp_path: Path) -> None:
    """`samples` lets training text go, and no suite."""
    assert check_private(with_suite(tmp_path / "a", "heldout")) == "shipped: 40 documents of web"
    with pytest.raises(Failed, match=r'dev\.jsonl: source web says leaves = "samples", and text in suites needs "held'):
        check_private(with_suite(tmp_path / "b", "samples"))


def test_a_source_that_the_card_does_not_list(tmp_path: Path) -> None:
    """A line's `source` is a name of the card; one without a name may be of any source."""
    public, private = {"name": "web", "leaves": "samples"}, {"name": "records", "leaves": "figures"}
    with pytest.raises(Failed, match="is of source 'elsewhere', which the data card does not list") as refused:
        check_private(with_samples(tmp_path / "a", public, private, source="elsewhere"))
    assert "web, records" in str(refused.value.hint)
    with pytest.raises(Failed, match='of no source that the card lists: source records says leaves = "figures"'):
        check_private(with_samples(tmp_path / "b", public, private, source=None))
    assert check_private(with_samples(tmp_path / "c", public, source=None))
    assert check_private(with_samples(tmp_path / "d", public, private, source="web"))


def test_a_license_that_lets_nobody_redistribute(tmp_path: Path) -> None:
    """The license of the source counts, not the one that the manifest claims for the file."""
    source = {"name": "book", "leaves": "samples", "license": "LicenseRef-Proprietary"}
    with pytest.raises(Failed, match="source book is under LicenseRef-Proprietary"):
        check_private(with_samples(tmp_path, source, source="book"))


@pytest.mark.parametrize("field", ["documents", "bytes", "tokens"])
def test_nothing_means_no_count(tmp_path: Path, field: str) -> None:
    document = private_manifest(leaves="nothing")
    document["data"]["sources"][0][field] = 120
    with pytest.raises(Failed, match=f'source records says leaves = "nothing", and the card gives its {field}'):
        check_private(expert_with(tmp_path, document, {}))


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"private_suites": [suite()]}, "a private suite"),
        ({"statistics": private_manifest()["statistics"]}, "statistics"),
        ({"samples": {"embedding": "mean.safetensors", "digest": digest(b""), "license": "CC0-1.0"}}, "an embedding"),
    ],
)
def test_nothing_means_no_figure(tmp_path: Path, changes: dict[str, Any], what: str) -> None:
    """What is made of text needs the leave of its source, too."""
    with pytest.raises(Failed, match=f"and the manifest holds {what}"):
        check_private(expert_with(tmp_path, private_manifest(leaves="nothing", **changes), private_files()))


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ({"summary": "TODO: one line that says what this expert knows"}, "summary"),
        ({"title": "Wards (TODO)"}, "title"),
        ({"license": "LicenseRef-TODO"}, "license"),
    ],
)
def test_unfinished_fields_are_named(tmp_path: Path, field: dict[str, str], name: str) -> None:
    with pytest.raises(Failed, match=f"{name} is still TODO"):
        check_unfinished(make_expert(tmp_path, "ward", **field))


def test_all_unfinished_fields_are_named_at_once(tmp_path: Path) -> None:
    """A project of `cogen new --from` has no recipe: the hint names the file that holds them."""
    with pytest.raises(Failed) as caught:
        check_unfinished(make_expert(tmp_path, "ward", summary="TODO", license="LicenseRef-TODO", publisher="TODO"))
    assert str(caught.value) == "summary, publisher, license are still TODO"
    assert "in expert.toml where there is no recipe" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["private/private.yaml", "private/test.jsonl", "private/salt", "deep/private/x.txt"])
def test_a_private_suite_in_the_package(tmp_path: Path, name: str) -> None:
    """Whatever the card says, old or new."""
    expert = make_expert(tmp_path, "ward")
    path = expert.root / name
    path.parent.mkdir(parents=True)
    path.write_text("secret")
    with pytest.raises(Failed, match=f"{name} is of a private suite, and lies in the package"):
        check_named(expert)


@pytest.mark.parametrize("name", ["train.jsonl", "texts/patient-001.txt", "notes.csv", "states.safetensors", "a.md"])
def test_files_that_nobody_named(tmp_path: Path, name: str) -> None:
    """A card that says how far text may go accounts for every file; an old one may have data for its code."""
    content = private_files() | {name: b"x"}
    with pytest.raises(Failed, match=f"{name} would be published, and the manifest does not name it"):
        check_named(expert_with(tmp_path / "new", private_manifest(), content))
    old = expert_with(tmp_path / "old", manifest("ward"), files("ward") | {name: b"x"})
    assert check_named(old) == "1 beside those that the manifest names"
    assert check_named(expert_with(tmp_path / "fine", private_manifest(), private_files() | {"README.md": b"x"}))


def counts(ids: list[int], values: list[int], kind: Any = np.int64) -> bytes:
    return save({"ids": np.array(ids, kind), "counts": np.array(values, kind)})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (counts([3, 17], [90, 9]), "counts a token 9 times, and its floor is 10 documents"),
        (counts([17, 3], [90, 90]), "`ids` is not ascending"),
        (counts([3, 49152], [90, 90]), "not of a vocabulary of 49,152"),
        (counts([3], [90, 90]), "int64 of one axis and one length"),
        (counts([3], [90], np.int32), "int64 of one axis and one length"),
        (save({"ids": np.array([3]), "counts": np.array([90]), "text": np.array([1])}), "holds counts, ids, text"),
        (save({"mean": np.zeros(3, np.float32)}), "holds mean, not counts and ids"),
    ],
)
def test_numbers_in_place_of_text(tmp_path: Path, content: bytes, message: str) -> None:
    """Nothing but what the kind says, and no rare token: names are among them."""
    document = private_manifest()
    document["statistics"]["token_counts"]["digest"] = digest(content)
    expert = expert_with(tmp_path, document, private_files() | {"statistics/token_counts.safetensors": content})
    (failed,) = [check for check in expert_checks(expert) if check.ok is False]
    assert failed.name == "statistics"
    assert message in failed.message


def test_a_changed_statistics_file(tmp_path: Path) -> None:
    """It is pinned like everything else."""
    other = private_files() | {"statistics/token_counts.safetensors": counts([3], [90])}
    failed = [check.name for check in expert_checks(expert_with(tmp_path, private_manifest(), other)) if not check.ok]
    assert failed == ["digests"]
