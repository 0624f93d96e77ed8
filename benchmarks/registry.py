"""The registry under load: 100,000 made-up experts in its store, one real server, measured over loopback.

    python benchmarks/registry.py [--experts 100000] [--root DIR] [--seconds 5] [--publish 2]

Experts are written straight into the tables by a process of its own: words drawn by Zipf's law from a vocabulary of
made-up words and 40 subjects, unit vectors that are random and lean towards the embedding of one of the subjects,
manifests as long as a real one. The server runs on core 0 (`taskset`), everything that asks it on the others. Latencies
are of one client on one kept-alive connection (raw sockets); throughput is by wrk (apt-get install wrk). Lines
with a goal say whether it is met; `--json FILE` writes the figures there as well.

With `--publish RATE` real wheels of new experts come by the upload of twine meanwhile, RATE a second on average: every
throughput is measured in turns without and with them, and what counts is their ratio. The machine may be shared: beside
the rates stands what the server took of its core. With `--root` the store is kept, and the next run needs no filling.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from publishers import Publishers
from store_of_experts import SUBJECTS, fill, made_up

#: What ``--json`` writes: each figure with its unit and, where there is one, its goal.
MEASURED: list[dict[str, Any]] = []


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experts", type=int, default=100_000)
    parser.add_argument("--root", type=Path, help="keep the store here and use it again")
    parser.add_argument("--seconds", type=int, default=5, help="of each measurement of throughput")
    parser.add_argument("--publish", type=float, default=0.0, metavar="RATE", help="wheels a second beside the readers")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there as well")
    parser.add_argument("--fill", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.fill:
        fill(options.root, options.experts)
        return 0
    root = options.root or Path(tempfile.mkdtemp(prefix="cogen-bench-"))
    try:
        if not (root / "registry.sqlite").exists():
            begin = time.perf_counter()
            script = Path(sys.executable).parent / "cogen-registry"
            subprocess.run([str(script), "init", "--root", str(root)], check=True, stdout=subprocess.DEVNULL)
            again = [sys.executable, __file__, "--fill", "--root", str(root), "--experts", str(options.experts)]
            subprocess.run(again, check=True)
            # rows written in bulk are noticed by nobody: what is said of them is signed here, as it would be one by one
            subprocess.run([str(script), "sign", "--root", str(root)], check=True, stderr=subprocess.DEVNULL)
            with closing(sqlite3.connect(root / "registry.sqlite")) as database:
                database.execute("ANALYZE")  # last: by figures of an empty table it would be read from end to end
            print(
                f"{options.experts:,} experts written in {time.perf_counter() - begin:.0f} s, "
                f"{(root / 'registry.sqlite').stat().st_size / 1e9:.2f} GB"
            )
        with Server(root) as server:
            measure(server, options.seconds, options.publish)
        if options.json:
            found = {"experts": options.experts, "seconds": options.seconds, "publish": options.publish}
            options.json.write_text(json.dumps(found | {"measured": MEASURED}, indent=2) + "\n", encoding="utf-8")
    finally:
        if options.root is None:
            shutil.rmtree(root)
    return 0


# ------------------------------------------------------------------------------------------------ the made-up experts


class Server:
    """`cogen-registry serve` on core 0, until the block ends."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __enter__(self) -> Server:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        script = Path(sys.executable).parent / "cogen-registry"
        command = [str(script), "serve", "--root", str(self.root), "--port", str(self.port)]
        begin = time.perf_counter()
        self.process = subprocess.Popen(_pinned(command, "0"), env=os.environ | {"OMP_NUM_THREADS": "1"})
        self.started = self._until(begin, "/healthz", lambda _: True)
        self.listed = self._until(begin, "/api/v1/experts?limit=1", lambda body: body["total"] > 0)
        self.meant = self._until(begin, "/api/v1/experts?q=x", lambda body: body["meaning"])
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait(timeout=30)

    def _until(self, begin: float, path: str, good: Callable[[Any], bool], patience: float = 120) -> float:
        """Seconds from ``begin`` to the first good answer."""
        while time.perf_counter() - begin < patience:
            try:
                client = Client(self.port)
                status, body = client.get(path)
                if status == 200 and good(json.loads(body)):
                    return time.perf_counter() - begin
            except OSError:
                pass
            time.sleep(0.02)
        raise SystemExit(f"{path} has no good answer after {patience:.0f} s")

    def cpu(self) -> float:
        """Seconds of CPU that it and its children took so far."""
        total = 0
        for place in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = place.read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if self.process.pid in (int(place.parent.name), int(fields[1])):
                total += int(fields[11]) + int(fields[12])
        return total / os.sysconf("SC_CLK_TCK")

    def memory(self) -> dict[str, float]:
        """MiB, now and at the most."""
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return {
            line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines if line.startswith(("VmRSS", "VmHWM"))
        }


def _pinned(command: list[str], cores: str) -> list[str]:
    return ["taskset", "-c", cores, *command] if shutil.which("taskset") else command


class Client:
    """One kept-alive connection; no library between the clock and the socket."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def get(self, path: str) -> tuple[int, bytes]:
        self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        lengths = [
            int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
        ]
        while lengths and len(body) < lengths[0]:
            body += self._more()
        return int(head.split()[1]), body

    def _more(self) -> bytes:
        if not (data := self._socket.recv(1 << 16)):
            raise ConnectionError("the server went away")
        return data


# ------------------------------------------------------------------------------------------------------- measurements


def measure(server: Server, seconds: int, rate: float = 0.0) -> None:
    others = set(range(os.cpu_count() or 1)) - {0}
    if others:
        os.sched_setaffinity(0, others)
    say("start-up, to the first /healthz", server.started, "s", 3)
    say("start-up, to the first list of experts", server.listed, "s", 3)
    say("start-up, until semantic search is there (the model is loaded in the background)", server.meant, "s")
    say("memory at rest", server.memory()["VmRSS"], "MiB")
    queries = list(_queries(300))
    first = latencies(server, [f"q={urllib.parse.quote(query)}" for query in queries])
    again = latencies(server, [f"q={urllib.parse.quote(query)}" for query in queries])
    say("embedding of a query (first pass less second), p50", _at(first, 50) - _at(again, 50), "ms")
    say("search with the embedding of the query, p50", _at(first, 50), "ms")
    say("search with the embedding of the query, p99", _at(first, 99), "ms")
    say("search by meaning and words, query embedded, p50", _at(again, 50), "ms", 50)
    say("search by meaning and words, query embedded, p99", _at(again, 99), "ms", 200)
    narrow = [
        f"&domain={urllib.parse.quote(random.Random(i).choice(SUBJECTS))}&size=1B-70B" for i in range(len(queries))
    ]
    filtered = latencies(
        server, [f"q={urllib.parse.quote(query)}{more}" for query, more in zip(queries, narrow, strict=True)]
    )
    say("… with filters domain and size, p99", _at(filtered, 99), "ms", 200)
    broad = latencies(server, [f"q={urllib.parse.quote(query)}&language=en" for query in queries])
    say("… with the filter language=en, p99", _at(broad, 99), "ms", 200)
    pages = _pages(server)
    if rate:
        beside_publishers(server, pages, queries, seconds, rate)
    else:
        for name, paths in pages.items():
            throughput(server, name, paths, seconds)
    for key, title in (("VmRSS", "memory after all that"), ("VmHWM", "memory at the most")):
        say(title, server.memory()[key], "MiB", 1024)
    cold_client(server)


def say(what: str, value: float, unit: str, goal: float | None = None, least: bool = False) -> None:
    """Print a figure and keep it for ``--json``. ``goal``: an upper bound, or with ``least`` a lower one."""
    entry: dict[str, Any] = {"what": what, "value": value, "unit": unit}
    compared = ""
    if goal is not None:
        met = value >= goal if least else value < goal
        compared = f" (goal: {'at least' if least else 'under'} {goal:g}; {'met' if met else 'NOT MET'})"
        entry |= {"goal": goal, "bound": "lower" if least else "upper", "met": met}
    MEASURED.append(entry)
    print(f"{what}: {value:,.{2 if unit == 's' else 1}f} {unit}{compared}")


def _queries(count: int) -> Iterator[str]:
    """Half of them subjects in other words, half made-up words, rare and frequent."""
    draw = random.Random(1)
    for place in range(count):
        words = draw.choice(SUBJECTS).split()
        draw.shuffle(words)
        yield f"{' '.join(words)} {made_up(draw, 1)}" if place % 2 else made_up(draw, draw.randint(1, 4))


def latencies(server: Server, queries: list[str]) -> list[float]:
    """Milliseconds of each, sorted; one after the other."""
    client, found = Client(server.port), []
    for query in queries:
        begin = time.perf_counter()
        status, _ = client.get(f"/api/v1/experts?limit=20&{query}")
        found.append((time.perf_counter() - begin) * 1000)
        if status != 200:
            raise SystemExit(f"{query}: status {status}")
    return sorted(found)


def _at(values: list[float], percent: float) -> float:
    return values[min(len(values) - 1, int(len(values) * percent / 100))]


def _pages(server: Server, spread: int = 100) -> dict[str, list[str]]:
    """Paths by what they show: of 100 experts again and again, and of 10,000 experts, so that no page comes twice."""
    client = Client(server.port)
    total = json.loads(client.get("/api/v1/experts?limit=1")[1])["total"]
    steps = [f"/api/v1/experts?limit=100&sort=name&offset={total * place // spread}" for place in range(spread)]
    cards = [card for step in steps for card in json.loads(client.get(step)[1])["items"]]
    return {
        "index page (/)": ["/"],
        "expert page (/experts/ID), the same 100": [f"/experts/{card['id']}" for card in cards[:100]],
        "expert page, always another": [f"/experts/{card['id']}" for card in cards[100:]],
        "package page (/simple/NAME/), always another": [f"/simple/{card['project']}/" for card in cards],
        "expert (/api/v1/experts/ID), always another": [f"/api/v1/experts/{card['id']}" for card in cards],
        "list (/api/v1/experts?domain=…)": [f"/api/v1/experts?domain={urllib.parse.quote(one)}" for one in SUBJECTS],
    }


def throughput(server: Server, name: str, paths: list[str], seconds: int, quiet: bool = False) -> float:
    """Requests a second by wrk with 8 connections over all ``paths``; 0: it was not measured."""
    status, body = Client(server.port).get(paths[0])
    if status != 200:
        print(f"{name}: not there (status {status})")
        return 0.0
    if not shutil.which("wrk"):
        print(f"{name}: not measured (wrk is not installed)")
        return 0.0
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(f"local paths = {{{', '.join(json.dumps(path) for path in paths)}}}\nlocal place = 0\n")
        script.write("request = function() place = place % #paths + 1 return wrk.format(nil, paths[place]) end\n")
        script.flush()
        command = [
            "wrk",
            "-t1",
            "-c8",
            f"-d{seconds}s",
            "--latency",
            "-s",
            script.name,
            f"http://127.0.0.1:{server.port}",
        ]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate = float(told.split("Requests/sec:")[1].split()[0])
    slow = re.search(r"99%\s+([\d.]+\w+)", told)
    wrong = "; some were refused" if "Non-2xx" in told else ""
    if quiet:
        return rate
    say(f"{name}, {len(body) / 1024:.1f} KB, p99 {slow[1] if slow else '?'}{wrong}", rate, "requests/s", 300, True)
    return rate


def beside_publishers(
    server: Server, pages: dict[str, list[str]], queries: list[str], seconds: int, rate: float
) -> None:
    """Each throughput without and with publishers, in turns, so that both meet the same neighbours on the machine."""
    with Publishers(server.root, server.port, rate, int(rate * seconds * 3 * (len(pages) + 4)) + 10) as publishers:
        alone(server, publishers, 2 * seconds)
        for name, paths in pages.items():
            before, cpu = publishers.sent, {}
            found: dict[bool, float] = {}
            for busy in (False, True):
                publishers.go(busy)
                start = server.cpu()
                found[busy] = throughput(server, name, paths, seconds, quiet=True)
                cpu[busy] = (server.cpu() - start) / seconds
            publishers.go(False)
            share = 100 * found[True] / max(found[False], 1e-9)
            say(f"{name}, without publishers", found[False], "requests/s")
            say(f"{name}, during {publishers.sent - before} publications", found[True], "requests/s", 300, True)
            say(f"{name}, share of the rate that is left", share, "%", 80, True)
            say(f"{name}, CPU without publishers", 100 * cpu[False], "%")
            say(f"{name}, CPU with publishers", 100 * cpu[True], "%")
        publishers.go(True)
        found_queries = latencies(server, [f"q={urllib.parse.quote(query)}" for query in queries])
        publishers.go(False)
        say("search beside publishers, p50", _at(found_queries, 50), "ms", 50)
        say("search beside publishers, p99", _at(found_queries, 99), "ms", 200)
        index_beside(server, publishers, seconds)
        took = sorted(publishers.took)
        say("a publication beside readers, p50", _at(took, 50) * 1000, "ms")
        say("a publication beside readers, p99", _at(took, 99) * 1000, "ms")
        say("publications in all", publishers.sent, "wheels")
        say("publications that were refused", publishers.failed, "wheels")


def alone(server: Server, publishers: Publishers, seconds: int) -> None:
    """Publications without readers: what they take of a core, whatever else the machine does."""
    before, start = publishers.sent, server.cpu()
    publishers.go(True)
    time.sleep(seconds)
    publishers.go(False)
    time.sleep(1)  # the index is written, and newcomers are embedded
    sent, cpu = publishers.sent - before, server.cpu() - start
    say("CPU of a publication without readers, embedding with it", 1000 * cpu / max(sent, 1), "ms")
    say(f"publications in {seconds} s", sent, "wheels")


def index_beside(server: Server, publishers: Publishers, seconds: int) -> None:
    """The static index: its size, what a publication changes of it, and how long it takes to be there."""
    client = Client(server.port)
    status, body = client.get("/api/v1/index.json")
    while status == 503:
        time.sleep(1)
        status, body = client.get("/api/v1/index.json")
    before = {one["name"]: one["sha256"] for one in json.loads(body)["shards"]}
    sent = publishers.sent
    publishers.go(True)
    time.sleep(seconds)
    publishers.go(False)
    begin = time.perf_counter()
    after = json.loads(client.get("/api/v1/index.json")[1])
    taken = time.perf_counter() - begin
    changed = [one for one in after["shards"] if before.get(one["name"]) != one["sha256"]]
    size = sum(one["size"] for one in after["shards"])
    say("static index, index.json", len(body) / 1024, "KB")
    say(f"static index, {len(before)} shards", size / 1e6, "MB")
    changes = f"{len(changed)} shards that {publishers.sent - sent} publications changed"
    say(f"static index, {changes}", sum(one["size"] for one in changed) / 1e6, "MB")
    say("static index, until it is answered after a publication", 1000 * taken, "ms")


def cold_client(server: Server) -> None:
    """`cogen search` from a process that was not there before, five times; the slowest counts."""
    script = Path(sys.executable).parent / "cogen"
    with tempfile.TemporaryDirectory() as home:
        environment = os.environ | {"COGEN_REGISTRY": f"http://127.0.0.1:{server.port}", "HOME": home}
        taken = []
        for query in ("tumour staging", "load forecasting", "contract clauses", "protein folding", "crop disease"):
            begin = time.perf_counter()
            done = subprocess.run([str(script), "search", query], env=environment, capture_output=True, text=True)
            taken.append(time.perf_counter() - begin)
            if done.returncode:
                print(f"cogen search: not there ({(done.stderr.strip().splitlines() or ['?'])[0]})")
                return
    say("cogen search from a cold process, the slowest of five", max(taken), "s", 1)


if __name__ == "__main__":
    sys.exit(main())
