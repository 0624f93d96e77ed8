"""--device and --threads: on every command that runs models or computes for long."""

from __future__ import annotations

from typing import Any

import pytest
from typer.main import get_command

from cogen import devices
from cogen.cli.main import LONG_VERBS, MODEL_VERBS, VERBS, _app, main


@pytest.mark.parametrize("verb", VERBS)
def test_which_verbs_have_the_options(verb: str) -> None:
    """Every command of a verb that runs models, and of one that computes for long."""
    found: Any = get_command(_app(verb))
    command = found.commands[verb]
    for one in command.commands.values() if hasattr(command, "commands") else [command]:
        options = {option for parameter in one.params for option in parameter.opts}
        assert ("--device" in options) == (verb in MODEL_VERBS)
        assert ("--threads" in options) == (verb in LONG_VERBS)


def test_for_the_length_of_a_command(site: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(devices, "_resolve", lambda asked: "cuda:0" if asked == "auto" else asked)

    def command(model: str) -> None:
        seen.append((devices.device(), devices.threads()))

    monkeypatch.setattr("cogen.cli.eval.command", command)
    assert main(["eval", "x", "--device", "cuda:1", "--threads", "2"]) == 0
    assert main(["eval", "x"]) == 0
    assert seen == [("cuda:1", 2), ("cuda:0", None)]


def test_a_wrong_one_is_one_line(site: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["eval", "x", "--device", "tpu"]) == 3
    assert "unknown device 'tpu'" in capsys.readouterr().err
    assert main(["eval", "x", "--threads", "0"]) == 3
    assert capsys.readouterr().err.startswith("error: ")
