"""`cogen adapter concat | merge | extract`: what is said, what is written, and that mistakes leave nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.tiny import FFN, save_adapter, save_model

from cogen.checkpoints.adapter import read_adapter
from cogen.cli.adapter import _name, _weighted
from cogen.cli.main import main
from cogen.errors import UsageError
from cogen.merging.lora.write import new_folder


def run(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    """The JSON of `cogen adapter …`, which must end with ``code``."""
    capsys.readouterr()
    assert main(["adapter", *map(str, arguments), "--json"]) == code
    return json.loads(capsys.readouterr().out)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A base and two adapters of it."""
    save_model(tmp_path / "base")
    save_adapter(tmp_path / "one", 1, rank=4, alpha=8, base_model_name_or_path="base")
    save_adapter(tmp_path / "two", 2, rank=2, alpha=3, base_model_name_or_path="base")
    return tmp_path


def test_from_adapters_to_a_model_and_back(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Concatenated, merged, extracted: the difference at the end is the one at the beginning."""
    reported = run(capsys, "concat", f"{home}/one=0.5", home / "two", "-o", home / "both")
    assert reported == {
        "folder": str(home / "both"),
        "weights": [0.5, 1.0],
        "dtype": "float32",
        "ranks": dict.fromkeys(sorted(FFN), 6),
    }
    reported = run(capsys, "merge", home / "base", home / "both", "-o", home / "model")
    assert reported["changed"] == sorted(f"{module}.weight" for module in FFN)
    assert reported["tensors"] == len(load_file(home / "base" / "model.safetensors"))
    reported = run(capsys, "extract", home / "model", home / "base", "-o", home / "again", "--rank", "6")
    assert [(m["module"], m["rank"]) for m in reported["modules"]] == [(module, 6) for module in sorted(FFN)]
    assert reported["kept"] > 1 - 1e-12
    assert reported["dropped"] == []
    both, again = read_adapter(home / "both"), read_adapter(home / "again")
    for name in both.pairs:
        torch.testing.assert_close(again.delta(name, torch.float64), both.delta(name, torch.float64), rtol=0, atol=2e-6)


def test_merging_two_is_merging_their_concatenation(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights reach the merge; sources are as good as paths."""
    run(capsys, "concat", f"{home}/one=0.5", f"{home}/two=-2", "-o", home / "both")
    run(capsys, "merge", home / "base", home / "both", "-o", home / "a")
    uri = f"file://{home}"
    reported = run(capsys, "merge", f"{uri}/base", f"{uri}/one=0.5", f"{uri}/two=-2", "-o", home / "b")
    assert reported["weights"] == [0.5, -2.0]
    one, other = (load_file(home / name / "model.safetensors") for name in "ab")
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-6, atol=1e-6)


def test_what_people_read(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the kept energy by module and the whole; what is dropped is warned of."""
    run(capsys, "merge", home / "base", home / "two", "-o", home / "model")
    tensors = load_file(home / "model" / "model.safetensors")
    tensors["model.norm.weight"] = tensors["model.norm.weight"] * 2
    save_file(tensors, home / "model" / "model.safetensors")
    arguments = ["adapter", "extract", str(home / "model"), str(home / "base"), "-o", str(home / "out")]
    assert main([*arguments, "--energy", "0.999999"]) == 1
    output = capsys.readouterr().err
    assert output.startswith("error: a plain LoRA cannot represent the differences of model.norm.weight")
    assert "--skip-others" in output
    assert not (home / "out").exists()
    assert main([*arguments, "--energy", "0.999999", "--skip-others"]) == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[1].split() == ["module", "shape", "rank", "kept"]
    assert output.out.splitlines()[2].split() == [sorted(FFN)[0], "32", "×", "64", "2", "100.00%"]
    assert output.out.splitlines()[-1] == "kept, all modules: 100.00%"
    assert "warning: ignored the differences of 1 tensors: model.norm.weight" in output.err
    config = json.loads((home / "out" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["task_type"]) == (str(home / "base"), "CAUSAL_LM")


MISTAKES: dict[str, tuple[list[str], int, str]] = {
    "no such folder": (["concat", "{home}/nobody"], 1, "nobody does not exist"),
    "no adapter": (["concat", "{home}/base"], 1, "base is not a PEFT adapter"),
    "an adapter as base": (["merge", "{home}/one", "{home}/one"], 1, "one is an adapter, not a whole model"),
    "another base": (["merge", "{home}/narrow", "{home}/one"], 1, "one does not fit narrow"),
    "another base named": (["concat", "{home}/one", "{home}/two", "--base", "{home}/narrow"], 1, "does not fit narrow"),
    "bases that differ": (["concat", "{home}/one", "{home}/else"], 1, "different bases: base (one) and other (else)"),
    "no weight at all": (["concat", "{home}/one=0"], 3, "every weight is 0"),
    "infinite weight": (["merge", "{home}/base", "{home}/one=inf"], 3, "the weight of one is inf"),
    "neither rank nor energy": (["extract", "{home}/base", "{home}/base"], 3, "either a rank or an energy"),
    "both": (["extract", "{home}/base", "{home}/base", "--rank", "2", "--energy", "0.5"], 3, "either a rank"),
    "nothing differs": (["extract", "{home}/base", "{home}/base", "--rank", "2"], 1, "equal those of base"),
    "an unknown scheme": (["extract", "ftp://x", "{home}/base", "--rank", "2"], 3, "no source is known for ftp://"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """An exit code, one line and a hint; no folder, not even a hidden one."""
    save_model(home / "narrow", intermediate_size=48)
    save_adapter(home / "else", 3, base_model_name_or_path="other")
    arguments, code, text = MISTAKES[name]
    before = {path.name for path in home.iterdir()}
    reported = run(capsys, *(a.replace("{home}", str(home)) for a in arguments), "-o", home / "out", code=code)
    assert text in reported["error"]
    assert reported["hint"]
    assert {path.name for path in home.iterdir()} - {"cache"} == before


def test_nothing_of_the_user_is_replaced(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder that holds something, or a file: refused before any work; an empty folder is filled."""
    for verb in (["concat"], ["merge", home / "base"]):
        assert "exists already" in run(capsys, *verb, home / "one", "-o", home / "two", code=3)["error"]
        assert (
            "exists already"
            in run(capsys, *verb, home / "one", "-o", home / "one" / "adapter_config.json", code=3)["error"]
        )
    assert read_adapter(home / "two").pairs
    (home / "empty").mkdir()
    run(capsys, "concat", home / "one", "-o", home / "empty")
    assert read_adapter(home / "empty").pairs.keys() == read_adapter(home / "one").pairs.keys()


def test_what_appears_meanwhile_is_kept(tmp_path: Path) -> None:
    """Somebody else writes to the same place while we work: theirs stays, ours is dropped."""

    def work() -> None:
        with new_folder(tmp_path / "out") as part:
            (part / "ours").write_text("")
            (tmp_path / "out").mkdir()
            (tmp_path / "out" / "theirs").write_text("")

    with pytest.raises(UsageError, match="exists already"):
        work()
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "theirs"]


@pytest.mark.parametrize("step", ["cogen.merging.lora.extract.factorize", "cogen.merging.lora.write.json.dumps"])
def test_an_interruption_leaves_nothing(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """Ctrl-C in the middle of a decomposition or of writing."""
    run(capsys, "merge", home / "base", home / "two", "-o", home / "model")
    before = {path.name for path in home.iterdir()}

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(step, interrupted)
        code = main(["adapter", "extract", f"{home}/model", f"{home}/base", "-o", f"{home}/out", "--rank", "2"])
    assert code == 130
    assert {path.name for path in home.iterdir()} == before


def test_differently_named_bases_with_consent(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--base says that they are one model, is looked into, and becomes the name."""
    save_adapter(home / "else", 3, base_model_name_or_path="other")
    run(capsys, "concat", home / "one", home / "else", "--base", home / "base", "-o", home / "out")
    config = json.loads((home / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(home / "base")


@pytest.mark.parametrize(
    ("item", "parsed"),
    [
        ("a", ("a", 1.0)),
        ("a=2", ("a", 2.0)),
        ("a=-0.5", ("a", -0.5)),
        ("x=1/a", ("x=1/a", 1.0)),
        ("x=1/a=3e-1", ("x=1/a", 0.3)),
        ("=2", ("=2", 1.0)),
        ("hf://o/r@c=2", ("hf://o/r@c", 2.0)),
    ],
)
def test_weights_of_the_command_line(item: str, parsed: tuple[str, float]) -> None:
    """The last = before a number; a path may hold one itself."""
    assert _weighted(item) == parsed


def test_names_of_bases() -> None:
    """A repository of the Hub goes by its name there, whatever the commit."""
    assert [_name(where) for where in ("hf://org/repo@abc", "folder/x@y", "pypi://a==1/b")] == [
        "org/repo",
        "folder/x@y",
        "pypi://a==1/b",
    ]


@pytest.mark.parametrize(
    ("dtype", "change", "named"),
    [
        ("float32", {"lora_alpha": float("nan")}, "lora_alpha = nan"),
        ("float32", {"lora_alpha": float("inf")}, "lora_alpha = inf"),
        ("float32", {"lora_alpha": True}, "lora_alpha"),
        ("bfloat16", {"lora_alpha": 1e38}, "lora_alpha"),
        ("float16", {"lora_alpha": 1e6}, "float16"),
    ],
)
def test_an_adapter_that_makes_no_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], dtype: str, change: dict[str, Any], named: str
) -> None:
    """A configuration that is none is named; a difference beyond the type of the base, by its tensor; nothing stays."""
    save_model(tmp_path / "base", dtype=dtype)
    save_adapter(tmp_path / "one", 1, **change)
    before = {path.name for path in tmp_path.iterdir()}
    reported = run(capsys, "merge", tmp_path / "base", tmp_path / "one", "-o", tmp_path / "out", code=1)
    assert named in reported["error"]
    assert reported["hint"]
    if dtype == "float16":
        assert any(f"{module}.weight would hold NaN or infinity" in reported["error"] for module in FFN)
    assert {path.name for path in tmp_path.iterdir()} - {"cache"} == before


def test_a_weight_that_makes_no_numbers(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The adapter is fine, and 1e308 times it is not."""
    text = run(capsys, "merge", home / "base", f"{home}/one=1e308", "-o", home / "out", code=1)["error"]
    assert "would hold NaN or infinity" in text
    assert not (home / "out").exists()
