"""``private/``: one expert's, one training at a time, nothing lost in silence, nothing left by a killed run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.training import source, write_texts

import cogen
from cogen.errors import TrainError
from cogen.evals.private import PRIVATE_FILE, read_private, write_private, write_private_task
from cogen.files import cache_dir
from cogen.forge import package as packaging
from cogen.forge.build import prepare
from cogen.forge.private_folder import check_owner, keep, one_training, staging, sweep_cache
from cogen.reporter import Silent

SECRET = "Mrs Elsbeth Quill, born 1931, was seen for chest pain"


class Notes(Silent):
    """Keeps what is said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, text: str) -> None:
        self.lines.append(text)


def private_source(**changes: Any) -> dict[str, Any]:
    return source(heldout=False, leaves="figures", personal_data="present", **changes)


def dead() -> int:
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", "pass"])
    process.wait()
    return process.pid


def staged(folder: Path, text: str, *, statements: bool = False) -> list[Any]:
    """Private suites that a training made of ``text``."""
    found = [write_private(folder, "private", "Notes", [f"{text} dev"], [f"{text} a", f"{text} b"])]
    if statements:
        row = f'{{"context": "{text}", "choices": ["a", "b"], "answer": 0}}\n'.encode()
        found.append(write_private_task(folder / "statements", "said", "Said", "acc", "task: x", row, row))
    return found


class TestOwner:
    """Two recipes in one folder."""

    def test_another_recipe_is_refused_by_name(self, recipe: Any) -> None:
        """Before anything is trained; nothing of the first one's text is touched."""
        corpus = {"sources": [private_source()]}
        path = recipe(corpus=corpus)
        cogen.train(path)
        private = path.parent / "private"
        before = {file.name: file.read_bytes() for file in private.iterdir() if file.is_file()}
        assert before["expert"] == b"tiny\n"
        other = recipe(corpus=corpus, id="other", plugin="src/cogen_plugin_other")
        with pytest.raises(
            TrainError, match="has the private text of expert 'tiny', and this recipe trains 'other'"
        ) as e:
            cogen.train(other)
        assert "a folder of its own" in str(e.value.hint)
        assert {file.name: file.read_bytes() for file in private.iterdir() if file.is_file()} == before
        # Text that ships has no need of the folder.
        prepare(recipe(id="other", plugin="src/cogen_plugin_other"))

    def test_a_folder_of_before(self, tmp_path: Path) -> None:
        """Without a note it is whose recipe is trained first."""
        staged(tmp_path / "private", SECRET)
        check_owner(tmp_path, "one")
        keep(tmp_path, "one", [])
        with pytest.raises(TrainError, match="of expert 'one'"):
            check_owner(tmp_path, "two")


class TestOneTraining:
    """Two at once."""

    def test_the_second_is_refused(self, recipe: Any) -> None:
        """Of the same package, or of another one that would share ``private/``."""
        path = recipe(corpus={"sources": [private_source()]})
        home = path.parent
        with one_training(home, home / "src" / "cogen_plugin_other", True):
            with pytest.raises(TrainError, match="another training is writing to private/") as refused:
                cogen.train(path)
            assert "wait until it has ended" in str(refused.value.hint)
        with (
            one_training(home, home / "src" / "cogen_plugin_tiny", False),
            pytest.raises(TrainError, match="another training is writing to cogen_plugin_tiny/"),
        ):
            cogen.train(path)
        assert not (home / "src").exists()

    def test_public_packages_side_by_side(self, tmp_path: Path) -> None:
        with one_training(tmp_path, tmp_path / "one", False), one_training(tmp_path, tmp_path / "two", False):
            pass


class TestEarlier:
    """The text of figures that may have been published."""

    def test_text_of_earlier_figures_stays(self, recipe: Any) -> None:
        """By its digest, with the salt that shows on which text it was measured; and it is said each time."""
        path = recipe(corpus={"sources": [private_source()]})
        first = cogen.train(path).expert.private_suites[0]
        write_texts(path.parent / "texts", 60, "later")
        notes = Notes()
        second = cogen.train(path, reporter=notes).expert.private_suites[0]
        assert first.text_digest != second.text_digest
        private = path.parent / "private"
        kept = private / "earlier" / first.text_digest.removeprefix("sha256:")[:16]
        assert read_private(kept).digests["test"] == first.text_digest
        assert read_private(private).digests["test"] == second.text_digest
        (line,) = [line for line in notes.lines if "earlier private suite" in line]
        assert str(private / "earlier") in line
        assert "delete the others" in line

    def test_the_same_text_piles_nothing_up(self, tmp_path: Path) -> None:
        tasks = staged(tmp_path / "new", SECRET, statements=True)
        notes = Notes()
        for _ in range(2):
            keep(tmp_path, "ward", tasks, notes)
        assert notes.lines == []
        assert read_private(tmp_path / "private").digests == tasks[0].digests
        assert read_private(tmp_path / "private" / "statements").digests == tasks[1].digests
        assert (tmp_path / "private" / PRIVATE_FILE).stat().st_mode & 0o777 == 0o600

    def test_statements_that_are_no_longer_made(self, tmp_path: Path) -> None:
        """They move as well: what lies in private/ is what the manifest has."""
        tasks = staged(tmp_path / "new", SECRET, statements=True)
        keep(tmp_path, "ward", tasks)
        notes = Notes()
        keep(tmp_path, "ward", tasks[:1], notes)
        assert not (tmp_path / "private" / "statements").exists()
        kept = tmp_path / "private" / "earlier" / tasks[1].digests["test"].removeprefix("sha256:")[:16]
        assert read_private(kept).digests == tasks[1].digests
        assert "1 earlier private suite (" in notes.lines[0]
        keep(tmp_path, "ward", [], notes)
        assert not (tmp_path / "private" / PRIVATE_FILE).exists()
        assert "2 earlier private suites (" in notes.lines[1]


class TestKilled:
    """No private text in the cache, whenever a run ends."""

    def test_text_is_measured_beside_the_recipe(self, recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """So a run that is killed leaves it there, and the next one takes it away."""
        path = recipe(corpus={"sources": [private_source()]})
        seen: list[Path] = []
        real = packaging._measure

        def look(prepared: Any, expert: Any, suite: Any, tasks: Any, *rest: Any) -> Any:
            seen.extend(task.folder for task in tasks)
            return real(prepared, expert, suite, tasks, *rest)

        monkeypatch.setattr(packaging, "_measure", look)
        left = path.parent / "private" / f".staged.{dead()}.0123abcd"
        write_private(left, "private", "Notes", ["dev"], [SECRET])
        cogen.train(path)
        (folder,) = seen
        assert folder.parent == path.parent / "private"
        assert sorted(p.name for p in (path.parent / "private").iterdir() if p.name.startswith(".")) == []

    def test_what_killed_runs_left_in_the_cache(self, tmp_path: Path) -> None:
        """Of earlier versions, too; a living process keeps its own."""
        import os

        for name in (f".publish.{dead()}.abc", ".publish.k2x9", f".publish.{os.getpid()}.abc"):
            write_private(cache_dir() / name / "private", "private", "Notes", ["dev"], [SECRET])
        sweep_cache(cache_dir())
        assert [path.name for path in cache_dir().glob(".publish.*")] == [f".publish.{os.getpid()}.abc"]

    def test_an_error_leaves_nothing(self, tmp_path: Path) -> None:
        def killed() -> None:
            with staging(tmp_path, "ward") as folder:
                write_private(folder, "private", "Notes", ["dev"], [SECRET])
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            killed()
        assert not (tmp_path / "private").exists()
