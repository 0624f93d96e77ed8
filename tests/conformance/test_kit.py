"""``class TestMyExpert(ExpertConformance)``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from support.manifests import install

import cogen
from cogen.conformance import ExpertConformance, run_checks

KIT = [name for name in vars(ExpertConformance) if name.startswith("test_")]


def results(kit: type[ExpertConformance]) -> dict[str, str]:
    """Test → "passed", or how it ended and why."""
    found = {}
    for name in KIT:
        try:
            getattr(kit(), name)()
        except pytest.skip.Exception as reason:
            found[name] = f"skipped: {reason.msg}"
        except pytest.fail.Exception as reason:
            found[name] = f"failed: {reason.msg}"
        else:
            found[name] = "passed"
    return found


def test_every_check_has_a_test(whole: Callable[..., Path]) -> None:
    """Of an expert with everything, no check of `cogen check` is left out, and each passes by the kit too."""
    whole()

    class Kit(ExpertConformance):
        expert, level = "power", "full"

    found = results(Kit)
    assert {name for name, end in found.items() if end != "passed"} == {
        "test_audit",
        "test_router",
        "test_router_rows",
        "test_statistics",
        "test_training_text",
    }
    assert [check.name for check in Kit._seen] == [check.name for check in run_checks("power", "full")]
    asked: list[str] = []

    class Spy(Kit):
        def _holds(self, name: str, level: Any = "static") -> None:
            asked.append(name)

        def _hold(self, prefix: str, level: Any = "static") -> None:
            asked.append(prefix)

    results(Spy)
    for check in Kit._seen:
        assert any(check.name == name or (name.endswith(" ") and check.name.startswith(name)) for name in asked)


def test_deeper_levels_are_skipped(site: Path) -> None:
    """Static is the default: no weights are opened, and the reason says what would run them."""
    install(site, "power")

    class Kit(ExpertConformance):
        expert = "power"

    found = results(Kit)
    assert found["test_digests"] == found["test_suites"] == "passed"
    assert found["test_weights"] == 'skipped: the level is "static": level = "smoke" runs this'
    assert found["test_claims"] == 'skipped: the level is "static": level = "full" runs this'
    assert found["test_router"] == "skipped: this expert has no router"
    assert not any(end.startswith("failed") for end in found.values())


def test_what_is_wrong_fails_in_its_own_test(site: Path) -> None:
    """With message and hint, and the others pass."""
    root = install(site, "power", init="print('hello')")
    (root / "weights" / "pytorch_model.bin").write_bytes(b"x")

    class Kit(ExpertConformance):
        expert, level = "power", "smoke"

    found = results(Kit)
    assert {name for name, end in found.items() if end.startswith("failed")} == {
        "test_import",
        "test_digests",
        "test_no_pickles",
    }
    assert found["test_import"].endswith("prints: hello\nhint: remove the print, or the warning")
    assert found["test_overlap"] == "passed"
    assert "because of what is wrong above" in found["test_weights"]


def test_a_manifest_that_is_not_valid(site: Path) -> None:
    """One failure; what could not be looked at says why."""
    install(site, "power", title=None)

    class Kit(ExpertConformance):
        expert = "power"

    found = results(Kit)
    assert found["test_manifest"].startswith("failed: manifest: ")
    assert found["test_digests"].startswith("skipped: manifest: ")
    assert [name for name, end in found.items() if end.startswith("failed")] == ["test_manifest"]


def test_mistakes_in_the_class(site: Path) -> None:
    """No expert, one that is not installed, no such level, no such texts: each says so in a line."""
    install(site, "power")

    class Nameless(ExpertConformance):
        pass

    class Unknown(ExpertConformance):
        expert = "nobody"

    class Deep(ExpertConformance):
        expert = "power"
        level: ClassVar[Any] = "deep"

    class Textless(ExpertConformance):
        expert, texts = "power", "nowhere"

    for kit, message in (
        (Nameless, 'Nameless does not say which expert it is about: expert = "…"'),
        (Unknown, "no plugin 'nobody' is installed"),
        (Deep, "there is no level 'deep'"),
        (Textless, "nowhere is not there"),
    ):
        with pytest.raises(pytest.fail.Exception, match=message):
            kit().test_manifest()


def test_a_class_goes_no_further_than_asked(whole: Callable[..., Path]) -> None:
    """`pytest -k digests` opens no weights, even at the level full."""
    whole()

    class Kit(ExpertConformance):
        expert, level = "power", "full"

    Kit().test_digests()
    assert [check.name for check in Kit._seen][-1] == "digests"
    Kit().test_suites()
    assert "weights" not in {check.name for check in Kit._seen}


def test_training_texts(site: Path, tmp_path: Path) -> None:
    """Where they are said to be, they are read."""
    install(site, "power")
    (tmp_path / "text.txt").write_text("other words")

    class Kit(ExpertConformance):
        expert, texts = "power", tmp_path / "text.txt"

    assert results(Kit)["test_training_text"] == "passed"


def test_by_pytest(site: Path, tmp_path: Path) -> None:
    """A publisher's file, in a process of its own: a test a check, and one taken out."""
    install(site, "power")
    (tmp_path / "test_expert.py").write_text(
        "from cogen.conformance import ExpertConformance\n\n\n"
        "class TestPower(ExpertConformance):\n    expert = 'power'\n    test_samples = None\n"
    )
    core = Path(cogen.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(core)])}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)],
        capture_output=True,
        text=True,
        env=env,
        cwd=tmp_path,
        check=False,
    )
    assert run.returncode == 0, run.stdout
    assert "13 passed, 10 skipped" in run.stdout
