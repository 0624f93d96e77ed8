"""Help in groups, choices that are checked and completed, options that were renamed, and verbs that stay short."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install

import cogen.cli
from cogen.cli.main import VERBS, main
from cogen.cli.output import Progress
from cogen.cli.progress import CommandReporter
from cogen.reporter import Counter, Reporter


def sections(text: str) -> dict[str, str]:
    """Heading → what stands below it."""
    found = re.split(r"^(\S.*):\n", text, flags=re.M)
    return dict(zip(found[1::2], found[2::2], strict=True))


def test_options_stand_in_groups_by_strategy(capsys: pytest.CaptureFixture[str]) -> None:
    """Each option below the strategy that it is for, with the values that it takes; `plan` and `fuse` are alike."""
    groups = {}
    for verb in ("plan", "fuse"):
        assert main([verb, "--help"]) == 0
        groups[verb] = sections(capsys.readouterr().out)
    found = groups["fuse"]
    for heading, options in {
        "Common options": ["--strategy merge|moe|distill|route|auto", "--method NAME", "--level quick|full|none"],
        "Options of strategy merge": ["--scale", "--search N", "--tune NAME=LOW:HIGH", "--transplant mean|subword|omp"],
        "Options of strategy moe (mixture of experts)": [
            "--routing prefix|hidden|embedding|anchored|trained",
            "--top-k K",
        ],
        "Options of strategy distill": ["--student EXPERT|BASE", "--texts FILE", "--tokens N"],
        "Options": ["-o, --output DIR", "--plan FILE", "--lock FILE", "--json"],
    }.items():
        assert [option for option in options if option not in found[heading]] == []
    assert list(found)[-1] == "Options"
    shared = [heading for heading in found if heading.startswith(("Common", "Options of"))]
    assert {heading: groups["plan"][heading] for heading in shared} == {heading: found[heading] for heading in shared}


def test_former_names_are_hidden(capsys: pytest.CaptureFixture[str]) -> None:
    """They work, but help does not offer them."""
    former = {
        "fuse": ["--pivot", "--onto", "--from-mergekit", "--shard-size"],
        "eval": ["--part"],
        "search": ["--licence"],
    }
    for verb, options in former.items():
        assert main([verb, "--help"]) == 0
        text = capsys.readouterr().out
        assert [option for option in options if option in text] == []


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ["plan", "--strategy", "foo"],
            "unknown strategy 'foo'; one of merge, moe, distill, route, auto",
            "choose one",
        ),
        (["fuse", "--strategy", "rout"], "unknown strategy 'rout'; one of", "did you mean 'route'?"),
        (
            ["fuse", "--routing", "trian"],
            "unknown routing 'trian'; one of prefix, hidden, embedding",
            "did you mean 'trained'?",
        ),
        (["fuse", "--level", "ful"], "unknown level 'ful'; one of quick, full, none", "did you mean 'full'?"),
        (["fuse", "--transplant", "mena"], "unknown transplant 'mena'; one of mean, subword, omp", "'mean'"),
        (["eval", "base", "--split", "tset"], "unknown split 'tset'; one of dev, test", "did you mean 'test'?"),
        (["eval", "base", "--level", "none"], "unknown level 'none'; one of quick, full", ""),
        (["eval", "base", "--dtype", "fp32"], "unknown dtype 'fp32'; one of float32, bfloat16", ""),
        (["check", "x", "--level", "deep"], "unknown level 'deep'; one of static, smoke, full", ""),
        (["publish", "--to", "pypy"], "unknown target 'pypy'; one of registry, pypi, hub", "did you mean 'pypi'?"),
        (["cache", "clean"], "unknown action 'clean'; one of show, clear", "did you mean 'clear'?"),
    ],
)
def test_a_value_that_is_no_choice(
    site: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str, hint: str
) -> None:
    """Exit code 3; what was typed, what is possible, and the nearest of it."""
    install(site, "power")
    assert main([*arguments, "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert message in found["error"]
    assert found["hint"]
    assert hint in found["hint"]


@pytest.mark.parametrize(
    ("arguments", "old", "new"),
    [
        (["plan", "--pivot", "x", "--method", "ties", "--strategy", "foo"], "--pivot", "--student"),
        (["search", "--licence", "MIT", "grid"], "--licence", "--license"),
    ],
)
def test_a_former_option_says_its_new_name(
    site: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], old: str, new: str
) -> None:
    """On stderr, once."""
    install(site, "power")
    main(arguments)
    assert capsys.readouterr().err.count(f"`{old}` is deprecated: use `{new}`") == 1


def complete(words: str, site: Path, cache: Path) -> tuple[list[str], str]:
    """What a shell offers for the last of the words, and which heavy packages were imported for it."""
    code = "import sys\nfrom cogen.cli.main import main\nmain([])\n"
    tail = "import atexit\natexit.register(lambda: print({'torch', 'transformers'} & set(__import__('sys').modules)))\n"
    core = Path(cogen.__file__).parent.parent
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(site), str(core)]),
        "COGEN_CACHE": str(cache),
        "_COGEN_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    run = subprocess.run([sys.executable, "-c", tail + code], capture_output=True, text=True, env=environment)
    *offered, heavy = run.stdout.splitlines()
    return offered, heavy


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("cogen fu", ["fuse"]),
        ("cogen fuse --strategy m", ["merge", "moe"]),
        ("cogen fuse --routing h", ["hidden"]),
        ("cogen plan --method dare", ["dare_linear", "dare_ties"]),
        ("cogen fuse sola", ["solar"]),
        ("cogen chat sol", ["solar"]),
        ("cogen fuse --stud", ["--student"]),
    ],
)
def test_shells_complete(site: Path, tmp_path: Path, words: str, offered: list[str]) -> None:
    """Verbs, options, choices, methods and installed experts; no torch is imported."""
    install(site, "solar")
    found, heavy = complete(words, site, tmp_path / "cache")
    assert [word for word in found if not word.startswith("cogen-plugin")] == offered
    assert heavy == "set()"


def test_every_command_is_short() -> None:
    """A verb parses, calls one function and prints: its function has at most 60 lines."""
    long = []
    for file in Path(cogen.cli.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{file.name}: {node.name}")
    assert long == []
    assert {"update", "merge", "fuse", "plan"} <= set(VERBS)


def test_the_reporter_draws_one_bar_a_stage(monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals come with `begin`; what is said before it needs no bar; the last bar is closed."""
    from contextlib import contextmanager

    from cogen.cli.output import out

    seen: list[Any] = []

    @contextmanager
    def progress(total: float | None, label: str, unit: str = "") -> Any:
        bar = Progress(total)
        seen.append((label, total, unit, bar))
        yield bar
        seen.append("closed")

    monkeypatch.setattr(out, "progress", progress)
    with CommandReporter("planning") as reporter:
        assert isinstance(reporter, Reporter)
        assert isinstance(reporter, Counter)
        reporter.note("reading manifests")
        assert seen == []
        reporter.begin("fusing", 10, "tokens")
        reporter.advance(4)
        reporter.begin("measuring", None, "")
        reporter.advance(2)
    assert [one if one == "closed" else one[:3] for one in seen] == [
        ("fusing", 10, "tokens"),
        "closed",
        ("measuring", None, ""),
        "closed",
    ]
    assert [one[3].done for one in seen if one != "closed"] == [4, 2]
