"""Uploads that are made to take all memory and time of whoever reads them, against a service in its own process."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from support import wheels
from support.hub import file
from support.served import Served, serving

UPLOADS = 44
#: Seconds that a reader waits for an answer on a machine where everything else is busy, too.
PATIENCE = 3.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("hostile") / "root", seconds=1.0, memory=600_000_000) as opened:
        yield opened
        opened.healthy()


def post(served: Served, publisher: str, path: Path, id: str, version: str = "1.0") -> requests.Response:
    fields = {
        ":action": "file_upload",
        "protocol_version": "1",
        "filetype": "bdist_wheel",
        "name": f"cogen-plugin-{id}",
        "version": version,
    }
    with requests.Session() as session:
        session.trust_env = False
        return session.post(
            f"{served.url}/legacy/",
            data=fields,
            files={"content": (path.name, path.read_bytes())},
            headers={"Authorization": f"Bearer {served.token(publisher)}"},
            timeout=300,
        )


def hostile(folder: Path, id: str) -> Path:
    """Its manifest is one dotted key of TOML."""
    inside = wheels.package_files(id)
    inside["expert.toml"] = b".".join([b"a"] * 120_000) + b" = 1\n"
    return wheels.build(folder, id, content=inside)


def test_one_is_told_in_one_line(served: Served, tmp_path: Path) -> None:
    answer = post(served, "one", hostile(tmp_path, "single"), "single")
    assert answer.status_code in (400, 413, 422), answer.text
    output = answer.json()
    assert output["error"]
    assert output["hint"]
    assert "\n" not in output["error"] + output["hint"]
    assert post(served, "one", wheels.build(tmp_path, "plain"), "plain").status_code == 200


def test_reads_go_on_and_others_have_their_turn(served: Served, tmp_path: Path) -> None:
    """While one publisher's are worked on everybody reads, and another publisher's upload is through before them."""
    answers: list[requests.Response] = []
    paths = [(hostile(tmp_path, f"h{number}"), f"h{number}") for number in range(UPLOADS)]
    served.token("attacker")
    threads = [
        threading.Thread(target=lambda one=one: answers.append(post(served, "attacker", *one)), daemon=True)
        for one in paths
    ]
    longest = 0.0
    for thread in threads:
        thread.start()
    good = wheels.build(tmp_path, "honest")
    done = threading.Event()
    honest: list[requests.Response] = []

    def upload() -> None:
        honest.append(post(served, "honest", good, "honest"))
        done.set()

    threading.Thread(target=upload, daemon=True).start()
    while not done.is_set() or any(thread.is_alive() for thread in threads):
        for path in ("/healthz", "/", "/simple/", "/api/v1/experts"):
            begun = time.monotonic()
            assert served.get(path).status_code == 200
            longest = max(longest, time.monotonic() - begun)
    assert longest < PATIENCE
    assert {answer.status_code for answer in answers} <= {400, 413, 422, 429}
    late = [answer for answer in answers if answer.status_code == 429]
    assert all(answer.headers["Retry-After"] and answer.json()["hint"] for answer in late)
    assert honest[0].status_code == 200, honest[0].text
    memory = sum(resident(pid) for pid in family(served.process.pid))
    assert memory < 3_000_000_000
    assert not [name for name in served.files() if name.startswith(("scratch/", "staged/"))]


#: Small files whose reading takes more than they weigh: each has to be accepted or refused in its own time.
JSON_BOMBS = {
    "nested": b"[" * 3_000_000,
    "closed": b"[" * 900 + b"]" * 900,
    "empty lists": b"[" + b"[]," * 3_000_000 + b"1]",
    "digits": b"1" * 9_000_000,
    "escapes": b'"' + b"\\u0041" * 1_500_000 + b'"',
    "keys": b"{" + b",".join(b'"%x":1' % n for n in range(700_000)) + b"}",
    "backslashes": b'"' + b"\\" * 9_000_000,
}


@pytest.mark.parametrize("kind", JSON_BOMBS)
def test_small_files_of_a_commit(served: Served, kind: str) -> None:
    hub = served.hub("commits")
    repo = hub.create("model-" + kind.replace(" ", "-"))
    answer = hub.commit(repo, file("config.json", JSON_BOMBS[kind]))
    assert answer.status_code in (200, 400, 413, 422), answer.text
    if answer.status_code != 200:
        assert answer.json()["hint"]


YAML_BOMBS = {
    "aliases": "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "".join(f"{chr(98 + n)}: &{chr(98 + n)} [{','.join(['*' + chr(97 + n)] * 9)}]\n" for n in range(20)),
    "merges": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n}\n  <<: [{','.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    "nested": "[" * 30_000,
    "tag": "a: !!python/object/apply:os.system [id]\n",
    "own tag": "a: !x 1\n",
    "impossible date": "a: 2001-99-99\n",
    "huge int": "a: " + "9" * 60_000 + "\n",
    "base 60": "a: " + "1:" * 20_000 + "1\n",
    "binary": "a: !!binary =\n",
    "unhashable": "? [1, {2: 3}]\n: 1\n",
    "set": "a: !!set {1, 2}\nb: !!omap 3\n",
    "spaces": " " * 60_000 + "a: 1",
    "NUL": "a: \0",
}


@pytest.mark.parametrize("kind", YAML_BOMBS)
def test_metadata_of_a_readme(served: Served, kind: str) -> None:
    """`hf` sends it before each upload."""
    body = {"content": f"---\n{YAML_BOMBS[kind]}---\n"}
    answer = requests.post(f"{served.url}/api/validate-yaml", json=body, timeout=120)
    assert answer.status_code in (200, 400, 413, 422), answer.text
    assert "\n" not in json.dumps(answer.json())


def test_workers_are_replaced(served: Served, tmp_path: Path) -> None:
    """Killed from outside, at work or not: the next upload is read by another one."""
    for number in range(3):
        for pid in family(served.process.pid)[1:]:
            os.kill(pid, 9)
        answer = post(served, "one", wheels.build(tmp_path, f"again{number}"), f"again{number}")
        assert answer.status_code == 200, answer.text


def test_workers_end_with_the_service(tmp_path: Path) -> None:
    with serving(tmp_path / "root") as served:
        post(served, "one", wheels.build(tmp_path, "plain"), "plain")
        workers = family(served.process.pid)[1:]
        assert workers
        served.kill()
        end = time.monotonic() + 20
        while any(Path(f"/proc/{pid}").exists() and state(pid) != "Z" for pid in workers):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_a_worker_knows_no_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do not tell")
    with serving(tmp_path / "root") as served:
        post(served, "one", wheels.build(tmp_path, "plain"), "plain")
        for pid in family(served.process.pid)[1:]:
            assert b"do not tell" not in Path(f"/proc/{pid}/environ").read_bytes()
            limits = Path(f"/proc/{pid}/limits")
            patience = time.monotonic() + 20  # one that has just been started limits itself first
            while "Max address space         unlimited" in limits.read_text():
                assert time.monotonic() < patience
                time.sleep(0.05)
        served.healthy()


def family(pid: int) -> list[int]:
    """A process and its children."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        threads = [
            one for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
        ]
    except FileNotFoundError:
        pytest.skip("only Linux tells which children a process has")
    return [pid, *map(int, dict.fromkeys(children + threads))]


def resident(pid: int) -> int:
    """Bytes."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except FileNotFoundError:
        return 0


def state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return "Z"
