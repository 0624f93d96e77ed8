"""Uploads of real wheels at a steady rate, for benchmarks/registry.py."""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "xo", "zu")


class Publishers:
    """A thread that uploads wheels while it may; they were built before."""

    def __init__(self, root: Path, port: int, rate: float, count: int) -> None:
        self.port, self.rate = port, rate
        self.sent, self.failed, self.took = 0, 0, list[float]()
        run = format(int(time.time()), "x")
        self._wheels = [_wheel(_name(int(time.time()) * 10_000 + number)) for number in range(count)]
        self._token = _token(root, f"bench-{run}")
        self._going, self._over = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def go(self, busy: bool) -> None:
        if busy:
            self._going.set()
            time.sleep(1 / self.rate)
        else:
            self._going.clear()

    def __enter__(self) -> Publishers:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._going.set()
        self._thread.join(60)

    def _run(self) -> None:
        import requests

        with requests.Session() as session:
            for name, version, filename, data in self._wheels:
                self._going.wait()
                if self._over.is_set():
                    return
                begin = time.perf_counter()
                form = {
                    ":action": "file_upload",
                    "protocol_version": "1",
                    "filetype": "bdist_wheel",
                    "name": name,
                    "version": version,
                }
                answer = session.post(
                    f"http://127.0.0.1:{self.port}/legacy/",
                    data=form,
                    files={"content": (filename, data)},
                    auth=("__token__", self._token),
                    timeout=60,
                )
                self.took.append(time.perf_counter() - begin)
                self.sent += 1
                if answer.status_code != 200:
                    self.failed += 1
                    print(f"an upload was refused: {answer.status_code} {answer.text[:200]}")
                time.sleep(max(0.0, 1 / self.rate - (time.perf_counter() - begin)))


def _token(root: Path, publisher: str) -> str:
    """Of a new publisher, by the commands of an operator, beside the running service."""
    script = str(Path(sys.executable).parent / "cogen-registry")
    subprocess.run([script, "publisher", "add", publisher, "--root", str(root)], check=True, capture_output=True)
    made = [script, "token", "new", publisher, "--root", str(root), "--scope", "packages"]
    return subprocess.run(made, check=True, capture_output=True, text=True).stdout.strip()


def _name(number: int) -> str:
    """Of syllables: names that differ by a digit look alike."""
    parts = []
    for _ in range(12):
        parts.append(SYLLABLES[number % len(SYLLABLES)])
        number //= len(SYLLABLES)
    return "".join(parts)


def _wheel(id: str) -> tuple[str, str, str, bytes]:
    """(project, version, file name, bytes) of an expert with a little weights in its wheel, as the tests make them."""
    tests = str(Path(__file__).parents[1] / "tests")
    if tests not in sys.path:
        sys.path.insert(0, tests)
    from support import wheels

    with tempfile.TemporaryDirectory() as folder:
        draw = random.Random(id)
        words = [_name(draw.randrange(15**4))[:8] for _ in range(14)]
        path = wheels.build(Path(folder), id, title=" ".join(words[:4]), summary=" ".join(words[4:]))
        return f"cogen-plugin-{id}", "1.0", path.name, path.read_bytes()
