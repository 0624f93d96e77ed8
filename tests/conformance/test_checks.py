"""What the conformance kit catches."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.manifests import digest, documents, install, manifest

from cogen.conformance import Check, run_checks
from cogen.conformance.overlap import grams, normal
from cogen.conformance.shipped import is_permissive
from cogen.errors import UsageError


def failed(name: str = "power") -> dict[str, str]:
    """Failed checks: name → message."""
    return {check.name: check.message for check in run_checks(name) if check.ok is False}


def test_valid_plugin_passes(site: Path) -> None:
    """Every static check passes, and each is named once."""
    install(site, "power")
    checks = list(run_checks("power"))
    assert all(check.ok for check in checks)
    assert len({check.name for check in checks}) == len(checks)
    assert {"manifest", "dependencies", "import", "digests", "licenses", "overlap", "suite heldout"} <= {
        c.name for c in checks
    }


def test_unknown_name(site: Path) -> None:
    """Only what is installed can be checked."""
    with pytest.raises(UsageError, match="'nobody'"):
        list(run_checks("nobody"))


def test_unusable_plugin_is_one_failed_check(site: Path) -> None:
    """Its reason and hint are the host's."""
    install(site, "power", plugin_api=9)
    check = next(run_checks("power"))
    assert check == Check(
        "manifest",
        False,
        "incompatible: it is written for plugin_api 9, this host speaks 1",
        "pip install --upgrade cogen-core",
    )


def test_dependency_on_the_unrelated_cogen(site: Path) -> None:
    """The distribution is cogen-core; `cogen` on PyPI is somebody else's."""
    install(site, "power")
    metadata = site / "cogen_plugin_power-1.0.dist-info" / "METADATA"
    text = metadata.read_text()
    metadata.write_text(text.replace("Requires-Dist: cogen-core", "Requires-Dist: cogen>=1"))
    assert "unrelated package" in failed()["dependencies"]
    metadata.write_text(text.replace("Requires-Dist: cogen-core\n", ""))
    assert "does not depend on cogen-core" in failed()["dependencies"]
    metadata.write_text(text.replace("Requires-Dist: cogen-core", "Requires-Dist: cogen-core\nRequires-Dist: numpy"))
    assert "it requires numpy, and a plugin requires cogen-core alone" in failed()["dependencies"]
    assert all(check.ok is not False for check in run_checks("power", allow=["NumPy"]))


def test_what_no_plugin_may_install(site: Path) -> None:
    """The rule of wheels, on what is installed: commands, files of others, look-alikes beside the package."""
    install(site, "power")
    info = site / "cogen_plugin_power-1.0.dist-info"
    points = (info / "entry_points.txt").read_text()
    (info / "entry_points.txt").write_text(points + "[console_scripts]\nls = cogen_plugin_power:main\n")
    assert "the group console_scripts" in failed()["files"]
    (info / "entry_points.txt").write_text(points)
    (info / "RECORD").write_text("transformers/__init__.py,,\n")
    assert "transformers/__init__.py lies outside" in failed()["files"]
    (info / "RECORD").unlink()
    (site / "cogen_plugin_power.py").write_text("import os")
    assert "cogen_plugin_power.py: added beside its packages" in failed()["files"]


@pytest.mark.parametrize(
    ("init", "message"),
    [
        ("import sys, types; sys.modules['torch'] = types.ModuleType('torch')", "loads torch"),
        ("print('hello')", "prints: hello"),
        ("import socket; socket.socket().close()", "uses the network"),
        ("raise SystemExit(1)", "SystemExit: 1"),
    ],
)
def test_import_has_no_side_effects(site: Path, init: str, message: str) -> None:
    """Importing the package loads nothing heavy, prints nothing, opens no socket."""
    install(site, "power", init=init)
    assert message in failed()["import"]


def test_changed_file_and_pickle(site: Path) -> None:
    """A file that is not the promised one, and a file that can hold code."""
    root = install(site, "power")
    (root / "weights" / "pytorch_model.bin").write_bytes(b"x")
    assert set(failed()) == {"digests", "no pickles"}


def samples(site: Path, *texts: str) -> None:
    """Install `power` with other samples, pinned correctly."""
    content = "".join(json.dumps({"text": text}) + "\n" for text in texts).encode()
    root = install(site, "power", samples={"path": "samples.jsonl", "digest": digest(content), "license": "CC0-1.0"})
    (root / "samples.jsonl").write_bytes(content)


def test_samples_contain_no_held_out_document(site: Path) -> None:
    """Neither whole, however it is written, nor 13 words of it."""
    samples(site, "Before. " + documents("powertest", 1)[0].upper() + "! After.")
    assert failed()["overlap"] == "document 1 of suites/test.jsonl stands in the samples"


@pytest.mark.parametrize(("words", "found"), [(12, False), (13, True)])
def test_samples_share_no_thirteen_words(site: Path, words: int, found: bool) -> None:
    """12 words in a row may be chance, 13 are a copy."""
    samples(site, " ".join(documents("powerdev", 3)[2].split()[:words]) + " and other words")
    assert ("overlap" in failed()) is found


@pytest.mark.parametrize(("characters", "found"), [(19, False), (20, True)])
def test_samples_share_no_twenty_characters_of_chinese(site: Path, characters: int, found: bool) -> None:
    """They weigh 13 words; the message shows them as they are written."""
    text = "患者因发热三天入院伴有咳嗽咳痰体温三十八度血压正常"
    lines = [json.dumps({"text": one}) for one in (f"{text}。", *documents("powerdev", 10)[1:])]
    content = ("\n".join(lines) + "\n").encode()
    suite = manifest("power")["suites"][0]
    sample = json.dumps({"text": f"另一份病历：{text[:10]}，{text[10:characters]}。"}).encode() + b"\n"
    root = install(
        site,
        "power",
        suites=[suite | {"dev": suite["dev"] | {"digest": digest(content)}}],
        samples={"path": "samples.jsonl", "digest": digest(sample), "license": "CC0-1.0"},
    )
    (root / "suites" / "dev.jsonl").write_bytes(content)
    (root / "samples.jsonl").write_bytes(sample)
    assert ("overlap" in failed()) is found
    if found:
        assert text[:20] in failed()["overlap"]


def test_samples_are_small(site: Path) -> None:
    """At most 64 KB."""
    samples(site, "x" * 65_536)
    assert "at most 65,536" in failed()["samples"]


def test_text_must_be_redistributable(site: Path) -> None:
    """Copyleft text may be trained on, it may not be shipped."""
    install(site, "power", samples=manifest("power")["samples"] | {"license": "CC-BY-SA-4.0"})
    assert "samples is under CC-BY-SA-4.0" in failed()["licenses"]


@pytest.mark.parametrize(
    ("expression", "allowed"),
    [
        ("MIT", True),
        ("LicenseRef-public-domain", True),
        ("GPL-3.0-only", False),
        ("unknown", False),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("MIT AND (Apache-2.0 OR GPL-3.0-only)", False),
        ("Apache-2.0 WITH LLVM-exception", True),
        ("CC0-1.0 AND CC-BY-4.0", True),
    ],
)
def test_license_expressions(expression: str, allowed: bool) -> None:
    """All of an AND, one of an OR; brackets are judged strictly."""
    assert is_permissive(expression) is allowed


def test_words_are_compared_not_their_spelling() -> None:
    """Case, punctuation, line breaks and compatibility characters make no other text."""
    assert normal("The  quick-brown\nFOX,\ufb01n.") == normal("the quick brown fox fin")
    assert list(grams("a b c")) == []
    assert list(grams(" ".join("abcdefghijklmn"))) == [" ".join("abcdefghijklm"), " ".join("bcdefghijklmn")]
