"""Waiting for an engine: it answers, it ends, it is silent, or its port is taken."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cogen.errors import UsageError
from cogen.serving.engines import Command
from cogen.serving.process import ServingError, _Output, answers, free_port, started, stop

_SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = b'{"data": []}'
        self.send_response(200); self.send_header("content-length", str(len(body))); self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def _command(code: str, *arguments: str, folder: Path) -> Command:
    return Command("engine", (sys.executable, "-c", code, *arguments), folder)


def test_it_runs_while_the_block_runs(tmp_path: Path) -> None:
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/v1/models"
    assert not answers(url)
    with started(_command(_SERVER, str(port), folder=tmp_path), url, seconds=60) as process:
        assert answers(url)
        assert process.poll() is None
    assert process.poll() is not None
    assert not answers(url)
    stop(process)  # a second time changes nothing


def test_an_engine_that_ends_is_one_line(tmp_path: Path) -> None:
    code = "print('loading', flush=True); raise SystemExit('no kernel image for this device')"
    with (
        pytest.raises(ServingError, match="engine ended with exit code 1: no kernel image for this device") as error,
        started(_command(code, folder=tmp_path), "http://127.0.0.1:9/", seconds=60),
    ):
        pass
    assert "\n" not in error.value.message
    assert "--print" in error.value.hint


def test_an_engine_that_says_nothing_is_ended(tmp_path: Path) -> None:
    code = "import pathlib, os, time; pathlib.Path('pid').write_text(str(os.getpid())); time.sleep(600)"
    with (
        pytest.raises(ServingError, match="engine did not answer within 3 s: it wrote nothing"),
        started(_command(code, folder=tmp_path), "http://127.0.0.1:9/", seconds=3),
    ):
        pass
    pid = int((tmp_path / "pid").read_text())
    assert not Path(f"/proc/{pid}").exists() or not Path("/proc").exists()


def test_of_an_engine_that_talks_only_the_end_is_kept(tmp_path: Path) -> None:
    """Servers write a line for every request, for months: nothing of it fills a disk, and no pipe is ever full."""
    talks = "import sys\nfor i in range(50_000): print('request', i, 'x' * 40)\nsys.stdout.flush()\n"
    port = free_port("127.0.0.1", 0)
    url = f"http://127.0.0.1:{port}/v1/models"
    with started(_command(talks + _SERVER, str(port), folder=tmp_path), url, seconds=60):
        assert answers(url)
    with (
        pytest.raises(ServingError, match="exit code 3: the last"),
        started(_command(f"{talks}\nprint('the last'); sys.exit(3)", folder=tmp_path), "http://127.0.0.1:9/"),
    ):
        pass
    process = subprocess.Popen([sys.executable, "-c", talks], stdout=subprocess.PIPE)
    output = _Output(process)
    process.wait()
    assert output.last_line() == f"request 49999 {'x' * 40}"
    assert len(output._end) == 20_000
    output.close()


def test_a_program_that_is_not_there(tmp_path: Path) -> None:
    with (
        pytest.raises(ServingError, match="vllm cannot be started: No such file"),
        started(Command("vllm", (str(tmp_path / "vllm"),), tmp_path), "http://127.0.0.1:9/"),
    ):
        pass


def test_ports() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1:{port}: "):
            free_port("127.0.0.1", port)
    assert free_port("127.0.0.1", 0) > 0
    with pytest.raises(UsageError, match=r"cannot listen on 192\.0\.2\.1:80"):
        free_port("192.0.2.1", 80)
    with pytest.raises(UsageError, match="cannot listen on nowhere"):
        free_port("nowhere.invalid", 1)


@pytest.mark.parametrize("host", ["", "  "])
def test_an_empty_address(host: str) -> None:
    """For the system it means every address, and no client finds it."""
    with pytest.raises(UsageError, match="--host is empty"):
        free_port(host, 0)
