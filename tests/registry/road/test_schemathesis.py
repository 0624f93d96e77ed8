"""`schemathesis` against the real service: no 5xx, no status that its description does not name."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest
import requests
from support import hubspec, wheels
from support.hub import file, lfs, tensors
from support.served import Served, serving

#: The long run takes five minutes with its four parts; the short one is counted, not timed.
LONG, BRIEF = "--max-time=75", "--max-examples=2"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """With an expert, a repository and a composite's publisher, so that not everything ends at 404."""
    folder = tmp_path_factory.mktemp("fuzzed")
    with serving(folder / "root", slow_seconds=10.0) as opened:
        hub = opened.hub("team")
        repo, data = hub.create("model"), tensors(1, 1000)
        hub.upload(repo, data)
        hub.committed(repo, file("config.json", "{}"), lfs("model.safetensors", data))
        path = wheels.build(folder, "power")
        fields = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": "cogen-plugin-power",
            "version": "1.0",
        }
        content = {"content": (path.name, path.read_bytes())}
        answer = requests.post(f"{opened.url}/legacy/", data=fields, files=content, headers=hub.headers, timeout=60)
        assert answer.status_code == 200, answer.text
        yield opened
        opened.healthy()


def ask(served: Served, where: str, seed: int, length: str, token: bool, phases: str) -> str:
    """One run; its output where something was found."""
    command = [
        sys.executable,
        "-m",
        "schemathesis.cli",
        "run",
        where,
        "--url",
        served.url,
        "--seed",
        str(seed),
        "--checks",
        "not_a_server_error,status_code_conformance",
        length,
        "--no-color",
        "--phases",
        phases,
        "--workers",
        "1",
        "--continue-on-failure",
        "--generation-database",
        "none",
        "--mode",
        "all",
        "--request-timeout",
        "60",
        "--max-response-time",
        "30",
    ]
    if token:
        command += ["--header", f"Authorization: Bearer {served.token('team')}"]
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=served.root.parent, env=env, timeout=1200, check=False
    )
    message = done.stdout + done.stderr
    assert re.search(r"\d+ (generated|passed)", message), message[-3000:]
    assert "Traceback" not in served.log.read_text()
    return "" if done.returncode == 0 else message[-12_000:]


def places(served: Served) -> list[str]:
    """Our own description, and that of the Hub's paths and the pages."""
    beside = served.root.parent / "hub.json"
    beside.write_text(json.dumps(hubspec.document()))
    return [f"{served.url}/openapi.json", str(beside)]


@pytest.mark.parametrize("token", [False, True], ids=["anybody", "a publisher"])
@pytest.mark.parametrize("which", [0, 1], ids=["described", "hub and pages"])
def test_briefly(served: Served, token: bool, which: int) -> None:
    assert ask(served, places(served)[which], 1, BRIEF, token, "fuzzing") == ""


@pytest.mark.slow
@pytest.mark.parametrize("token", [False, True], ids=["anybody", "a publisher"])
@pytest.mark.parametrize("which", [0, 1], ids=["described", "hub and pages"])
def test_five_minutes(served: Served, token: bool, which: int) -> None:
    assert ask(served, places(served)[which], 2, LONG, token, "examples,coverage,fuzzing,stateful") == ""
