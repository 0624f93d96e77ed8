"""The contract as a class of pytest's: what `cogen check` prints, a test each.

    from cogen.conformance import ExpertConformance

    class TestPower(ExpertConformance):
        expert = "power"

Tests of deeper levels are skipped until ``level`` asks for them, and so are checks of what an expert does not have. A
check that cannot hold for an expert is taken out by ``test_samples = None``, in sight of all who read its tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar, get_args

import pytest

from cogen.conformance.result import Check
from cogen.conformance.run import Level, run_checks
from cogen.errors import CogenError


class ExpertConformance:
    """Inherit, and say which expert.

    Checks run once for a class, in the order of `cogen check`, and only as far as the chosen tests need: `pytest -k
    digests` opens no weights.
    """

    #: Id of the expert, or name of its plugin's entry point. It must be installed: ``pip install -e .``.
    expert: ClassVar[str]
    #: How deep to look: "static", "smoke" or "full".
    level: ClassVar[Level] = "static"
    #: The training text, for :meth:`test_training_text`: a recipe, a folder or a file.
    texts: ClassVar[str | Path | None] = None

    #: Distributions that it may require beside cogen-core, where its registry and its users allow them.
    allow: ClassVar[tuple[str, ...]] = ()

    _seen: ClassVar[list[Check]]
    _coming: ClassVar[Iterator[Check]]

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls._seen = []
        cls._coming = iter(())
        if hasattr(cls, "expert"):
            texts = None if cls.texts is None else Path(cls.texts)
            cls._coming = run_checks(cls.expert, cls.level, texts=texts, allow=cls.allow)

    def test_manifest(self) -> None:
        """`expert.toml` is there and valid, the id is the entry point's name, the host speaks its API."""
        self._holds("manifest")

    def test_dependencies(self) -> None:
        """The distribution depends on cogen-core, in a range that the installed one is in, and on nothing else."""
        self._holds("dependencies")

    def test_files(self) -> None:
        """Its name, entry points, packages and files are its own: no commands, nothing that runs at the start."""
        self._holds("files")

    def test_import(self) -> None:
        """Importing the package loads nothing heavy, prints nothing, connects to nothing; its hooks are hooks."""
        self._holds("import")

    def test_digests(self) -> None:
        """Every file that the manifest pins is the one that it promises."""
        self._holds("digests")

    def test_no_pickles(self) -> None:
        """No file can hold code that runs when it is read."""
        self._holds("no pickles")

    def test_unfinished(self) -> None:
        """No field of the manifest holds the template's TODO."""
        self._holds("unfinished")

    def test_private_text(self) -> None:
        """Every shipped text is of a source whose card lets it leave; text with personal data never is."""
        self._holds("private text")

    def test_named_files(self) -> None:
        """The package holds no text and no numbers that the manifest does not name."""
        self._holds("named files")

    def test_licenses(self) -> None:
        """Shipped texts may be passed on by anybody."""
        self._holds("licenses")

    def test_data_card(self) -> None:
        """Nothing is left empty, and what the card counts adds up."""
        self._holds("data card")

    def test_samples(self) -> None:
        """Samples are small."""
        self._holds("samples")

    def test_statistics(self) -> None:
        """Numbers in place of text are what their kind is, and count no rare token."""
        self._holds("statistics")

    def test_router(self) -> None:
        """An anchored expert ships its router rows."""
        self._holds("router")

    def test_suites(self) -> None:
        """Suites are data alone, complete, and no document stands in two parts."""
        self._hold("suite ")

    def test_overlap(self) -> None:
        """No held-out text stands in the samples."""
        self._holds("overlap")

    def test_training_text(self) -> None:
        """No held-out document stands in the training text, and their overlap is what the card says."""
        if self.texts is None:
            pytest.skip("say where the training text is: texts = …")
        self._holds("training text")

    def test_weights(self) -> None:
        """The weights can be fetched; digests, shapes and the number of parameters are as promised."""
        self._holds("weights", "smoke")

    def test_tokenizer(self) -> None:
        """The tokenizer is the one that the manifest pins."""
        self._holds("tokenizer", "smoke")

    def test_round_trip(self) -> None:
        """The suites' texts come back from their tokens."""
        self._holds("round trip", "smoke")

    def test_router_rows(self) -> None:
        """Router rows fit the base."""
        self._holds("router rows", "smoke")

    def test_suites_run(self) -> None:
        """The model can be measured on each suite."""
        self._hold("run ", "smoke")

    def test_audit(self) -> None:
        """An expert of private text has a privacy audit in its card, and it found no leak."""
        self._holds("audit", "full")

    def test_claims(self) -> None:
        """What the publisher claims is what is measured."""
        self._hold("claim ", "full")

    def _holds(self, name: str, level: Level = "static") -> None:
        """One check; without it the test is skipped, and the reason is what came instead."""
        self._asked(level)
        for check in self._checks():
            if check.name == name:
                self._judge([check])
                return
        self._missing(name)

    def _hold(self, prefix: str, level: Level = "static") -> None:
        """All checks whose name begins so."""
        self._asked(level)
        found: list[Check] = []
        for check in self._checks():
            if check.name.startswith(prefix):
                found.append(check)
            elif found:  # they stand together
                break
        if not found:
            self._missing(f"{prefix}…")
        self._judge(found)

    def _asked(self, level: Level) -> None:
        levels = get_args(Level)
        if self.level not in levels:
            pytest.fail(f"there is no level {self.level!r}: say one of {', '.join(levels)}", pytrace=False)
        if levels.index(level) > levels.index(self.level):
            pytest.skip(f'the level is "{self.level}": level = "{level}" runs this')

    def _checks(self) -> Iterator[Check]:
        """Those that have run, then the others, each run when it is asked for."""
        cls = type(self)
        if not hasattr(cls, "expert"):
            pytest.fail(f'{cls.__name__} does not say which expert it is about: expert = "…"', pytrace=False)
        yield from tuple(cls._seen)
        while True:
            try:
                check = next(cls._coming, None)
            except CogenError as error:
                pytest.fail(_line(error.message, error.hint), pytrace=False)
            if check is None:
                return
            cls._seen.append(check)
            yield check

    def _missing(self, name: str) -> None:
        """A failed check may have ended the run before this one; what failed has a test of its own."""
        reasons = [check for check in type(self)._seen if check.ok is not True]
        pytest.skip(f"{reasons[0].name}: {reasons[0].message}" if reasons else f"this expert has no {name.strip(' …')}")

    def _judge(self, checks: list[Check]) -> None:
        if failed := [check for check in checks if check.ok is False]:
            pytest.fail("\n".join(_line(f"{c.name}: {c.message}", c.hint) for c in failed), pytrace=False)
        if waiting := [check for check in checks if check.ok is None]:
            pytest.skip(f"{waiting[0].name}: {waiting[0].message}")


def _line(message: str, hint: str | None) -> str:
    return f"{message}\nhint: {hint}" if hint else message
