"""Workers: what breaks a limit ends in one line, and the next job is done by another process."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import wheels

from cogen_registry.admission import wire
from cogen_registry.admission.pool import Pool, _Died
from cogen_registry.admission.wheel import check_wheel
from cogen_registry.errors import Refused
from cogen_registry.settings import Limits

LIMITS = Limits()  # type: ignore[call-arg]


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    made = Pool(1, 250_000_000, 1.0)
    yield made
    made.close()


def test_a_wheel_comes_through_whole(pool: Pool, tmp_path: Path) -> None:
    """What a worker says of it is what reading it here says, in every field."""
    path = wheels.build(tmp_path, "power")
    (tmp_path / "scratch").mkdir()
    found = pool.wheel(str(path), path.name, LIMITS, tmp_path / "scratch")
    assert found == check_wheel(path, path.name, LIMITS)
    assert not list((tmp_path / "scratch").iterdir())


def test_a_relative_root_is_found(pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`serve --root store` hands workers paths that are relative to its own folder, which is not theirs."""
    path = wheels.build(tmp_path, "power")
    (tmp_path / "scratch").mkdir()
    (tmp_path / "a.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    assert pool.wheel(path.name, path.name, LIMITS, Path("scratch")).project == "cogen-plugin-power"
    pool.weight("a.json", "a.json")


def test_a_file_that_is_gone_is_no_fault_of_the_upload(pool: Pool, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        pool.run("weight", {"path": str(tmp_path / "gone.json"), "name": "a.json"})


def test_what_is_wrong_is_said_in_the_same_words(pool: Pool, tmp_path: Path) -> None:
    path = wheels.build(tmp_path, "power", extra={"cogen_plugin_power/x.exe": b"MZ"})
    with pytest.raises(Refused) as here:
        check_wheel(path, path.name, LIMITS)
    with pytest.raises(Refused) as there:
        pool.wheel(str(path), path.name, LIMITS, tmp_path)
    assert (there.value.status, there.value.message, there.value.hint) == (
        here.value.status,
        here.value.message,
        here.value.hint,
    )


def weight(pool: Pool, folder: Path, data: bytes, name: str = "a.json") -> Refused | None:
    (folder / "file").write_bytes(data)
    try:
        pool.weight(str(folder / "file"), name)
    except Refused as refused:
        return refused
    return None


def test_memory_and_time_end(pool: Pool, tmp_path: Path) -> None:
    refused = weight(pool, tmp_path, json.dumps({f"k{n}": 1 for n in range(1_900_000)}).encode())
    assert refused is not None
    assert refused.status == 413
    assert "memory" in refused.message
    assert weight(pool, tmp_path, b"{}") is None
    text = "".join(f"a{n}: &a{n} {{{'? [' * 90}1{']' * 90}: 1}}\n" for n in range(4000))
    with pytest.raises(Refused, match="takes longer") as error:
        pool.run("metadata", {"text": text * 5})
    assert error.value.status == 422
    assert error.value.hint
    assert weight(pool, tmp_path, b"{}") is None


def test_killed_while_idle_and_at_work(pool: Pool, tmp_path: Path) -> None:
    """Once, by somebody who doesn't know of the upload: it is read again. Each time: it is the upload's fault."""
    assert weight(pool, tmp_path, b"{}") is None
    os.kill(pool.processes()[0], signal.SIGKILL)
    assert weight(pool, tmp_path, b"{}") is None
    children = Path(f"/proc/{os.getpid()}/task/{threading.get_native_id()}/children")
    if not children.exists():
        pytest.skip("only Linux tells which children a process has")
    busy = json.dumps([["x" * 20] * 100] * 3000).encode()
    stop = threading.Event()

    def kill() -> None:
        while not stop.is_set():
            for task in Path("/proc/self/task").iterdir():
                for pid in (task / "children").read_text().split():
                    if b"admission.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
                        os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.002)

    killer = threading.Thread(target=kill)
    killer.start()
    refused = weight(pool, tmp_path, busy)
    stop.set()
    killer.join()
    assert refused is not None
    assert refused.status in (422, 503)
    assert weight(pool, tmp_path, busy) is None


def test_workers_that_end_before_they_read_a_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One refusal, no pipe left open (that would be a warning, and warnings are errors), and the next job is done."""
    worker = "cogen_registry.admission.pool._Worker._send"
    made = Pool(1, LIMITS.memory, LIMITS.seconds)
    with monkeypatch.context() as broken:

        def died(self: Any, value: dict[str, Any]) -> None:
            raise _Died(-signal.SIGKILL)

        broken.setattr(worker, died)
        made.start()
        assert made.processes() == []
        refused = weight(made, tmp_path, b"{}")
    assert refused is not None
    assert refused.status == 422
    assert weight(made, tmp_path, b"{}") is None
    made.close()


def test_a_full_disk_is_not_the_uploads_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from cogen_registry.admission.pool import _found

    with pytest.raises(OSError, match="No space left"):
        _found({"failed": "x", "errno": 28}, "wheel")
    with pytest.raises(Refused) as error:
        _found({"failed": "x", "errno": 27}, "wheel")
    assert error.value.status == 413


@pytest.mark.parametrize(
    "output",
    [
        {},
        {"found": 7},
        {"refused": []},
        {"refused": [200, "a", "b"]},
        {"refused": ["400", "a", "b"]},
        {"refused": [500, "a", "b"]},
        {"errno": "x"},
        {"refused": [True, "a", "b"]},
    ],
)
def test_a_worker_is_not_believed_everything(output: dict[str, Any]) -> None:
    from cogen_registry.admission.pool import _found

    with pytest.raises(Refused) as error:
        _found(output, "wheel")
    assert error.value.status == 422


def test_what_a_worker_says_of_a_wheel_is_checked(tmp_path: Path) -> None:
    path = wheels.build(tmp_path, "power")
    right = wire.of_wheel(check_wheel(path, path.name, LIMITS))
    assert wire.to_wheel(json.loads(json.dumps(right))) == check_wheel(path, path.name, LIMITS)
    spec = json.loads(right["experts"]["specs"][0])
    changes: tuple[dict[str, Any], ...] = (
        {"version": {"version": "x"}},
        {"version": "1.0"},
        {"metadata": {"bytes": "!"}},
        {"project": 7},
        {"summary": None},
        {"more": 1},
        {"experts": {"specs": ["{}"]}},
        {"experts": []},
        {"experts": {"specs": [json.dumps(spec | {"id": "../x"})]}},
    )
    for change in changes:
        with pytest.raises(wire.Garbled):
            wire.to_wheel(right | change)


def test_a_worker_has_no_network(pool: Pool, tmp_path: Path) -> None:
    assert weight(pool, tmp_path, b"{}") is None
    own, theirs = (Path(f"/proc/{pid}/ns/net").readlink() for pid in ("self", pool.processes()[0]))
    if own == theirs:
        pytest.skip("this system lets nobody have an own name space")
    assert "AWS_SECRET_ACCESS_KEY" not in Path(f"/proc/{pool.processes()[0]}/environ").read_text()
