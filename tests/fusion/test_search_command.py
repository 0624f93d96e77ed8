"""`cogen plan` and `cogen fuse` with a search, from the command line to the folder, on tiny models."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest

from cogen.cli.main import main
from cogen.host import Host

TUNED = ["--method", "ties", "--search", "4", "--tune", "density=0.2:0.9", "--tune", "weight.e1=0:2"]


@pytest.fixture(autouse=True)
def _machine(world: Any, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = host(world.expert("e1", 1), world.expert("e2", 2))
    monkeypatch.setattr(Host, "discover", staticmethod(lambda *_, **__: machine))


def run(capsys: pytest.CaptureFixture[str], *arguments: str, code: int = 0) -> Any:
    """The JSON that a command prints."""
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def bits(folder: Path) -> str:
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def test_the_plan_says_what_will_be_tuned(capsys: pytest.CaptureFixture[str]) -> None:
    """In the text and as JSON, with what it costs."""
    plan = run(capsys, "plan", *TUNED)
    assert (plan["search"], plan["space"]) == (4, {"density": [0.2, 0.9], "weight.e1": [0.0, 2.0]})
    assert plan["cost"]["search_tokens"] == 4 * sum(suite["dev_tokens"] for suite in plan["suites"])
    assert main(["plan", *TUNED]) == 0
    text = capsys.readouterr().out
    assert "scale: 1.4\n" in text
    assert "search: 4 evaluations on the dev splits tune density from 0.2 to 0.9 and weight of e1 from 0 to 2\n" in text
    assert f"({plan['cost']['search_tokens']:,} search, " in text
    assert main(["plan", "--method", "greedy_soup"]) == 0
    assert "search: at most 3 evaluations on the dev splits choose among the experts\n" in capsys.readouterr().out


def test_the_plan_shows_settings_that_are_no_numbers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Gradients and switches, and what an expert has for itself."""
    (tmp_path / "r.toml").write_text(
        'method = "ties"\nscale = 0.6\nlevel = "none"\n[parameters]\nnormalize = false\n'
        "[experts.e1]\nweight = [0.5, 1.5]\nparameters = {density = 0.3}\n[experts.e2]\nparameters = {density = 0.4}\n"
    )
    assert main(["plan", "--recipe", str(tmp_path / "r.toml"), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["plan", "--recipe", str(tmp_path / "r.toml")]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^e1 +\[0\.5, 1\.5\]; density 0\.3 ", text, flags=re.M)
    assert re.search(r"^e2 +1; density 0\.4 ", text, flags=re.M)
    assert "scale: 0.6\nnormalize: false\n" in text


def test_fuse_and_replay(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The JSON holds every candidate; the lock gives the same bits, and says so beforehand."""
    out, again = tmp_path / "out", tmp_path / "again"
    found = run(capsys, "fuse", *TUNED, "-o", str(out))
    assert len(found["trials"]) == 4
    best = min(found["trials"], key=lambda trial: trial["objective"])
    assert (found["scale"], found["parameters"]) == (best["scale"], best["parameters"])
    assert set(found["parameters"]) == {"density", "weight.e1"}
    assert main(["fuse", "--lock", str(out / "cogen.lock"), "--level", "none", "-o", str(again)]) == 0
    text = capsys.readouterr().out
    settings = ", ".join(f"{name} {value:g}" for name, value in found["parameters"].items())
    assert f"scale 1.4, {settings.replace('weight.', 'weight of ')}\n" in text
    assert "evaluations on the dev splits" not in text
    assert bits(again) == bits(out)


def test_people_see_every_candidate(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A table with one chosen row, and a sentence; the last line says what was built."""
    assert main(["fuse", *TUNED, "-o", str(tmp_path / "out")]) == 0
    output = capsys.readouterr()
    table = output.out[output.out.index("candidates, on the dev splits") :].splitlines()
    assert table[1].split("  ")[0] == "candidate"
    assert "density" in table[1]
    assert "weight of e1" in table[1]
    rows = table[2:6]
    assert [row.split()[0] for row in rows] == ["1", "2", "3", "4"]
    assert rows[0].split()[1:3] == ["0.5", "1"]
    assert [row.endswith("chosen") for row in rows].count(True) == 1
    assert table[6].startswith("Of 4 candidates measured on development texts, density ")
    assert re.search(r"wrote \S+ \(scale 1\.4, density \S+, weight of e1 \S+\)", output.err)
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert table[6] in report
    assert table[6] in (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_a_saved_plan_keeps_its_search(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """`cogen fuse --plan` searches what was reviewed, and takes no other wishes."""
    file = tmp_path / "plan.json"
    for options in (TUNED, ["--method", "greedy_soup"]):
        run(capsys, "plan", *options, "-o", str(file))
        found = run(capsys, "fuse", "--plan", str(file), "-o", str(tmp_path / "out"), "--replace")
        assert len(found["trials"]) == (3 if "greedy_soup" in options else 4)
    for option in (["--search", "3"], ["--search", "0"], ["--tune", "density=0.1:0.2"]):
        reported = run(capsys, "fuse", "--plan", str(file), *option, "-o", str(tmp_path / "out"), code=3)
        assert "leaves nothing else to choose" in reported["error"]
