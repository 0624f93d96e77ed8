"""Standard streams that are closed, full, broken or not UTF-8: no traceback, and no work that stops on them."""

from __future__ import annotations

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.manifests import install

import cogen
from cogen.cli.main import VERBS
from cogen.cli.output import Output
from cogen.cli.streams import speaks_unicode, write
from cogen.errors import CogenError

#: The plugins of a folder, and a command that talks and gives a result without being asked for either.
START = """\
import sys
import cogen.host.discovery as discovery
real = discovery.scan
discovery.scan = lambda path=None: real([{site!r}])
import cogen.cli.doctor
from cogen.cli.output import out
def both(long: bool = False) -> None:
    out.status("→ working")
    for number in range(20000 if long else 1):
        out.text("Größe 電力 → ready")
    out.result({{"size": "Größe 電力 →"}})
    with open({done!r}, "w") as file:
        file.write("done")
cogen.cli.doctor.command = both
sys.argv = ["cogen", *{arguments!r}]
from cogen.cli.main import main
sys.exit(main())
"""


def run(tmp_path: Path, *arguments: str, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """`cogen ARGUMENTS SHELL`, such as ``>&-``, in a process of its own."""
    site = tmp_path / "site"
    if not site.exists():
        site.mkdir()
        install(site, "power")
    code = START.format(site=str(site), arguments=list(arguments), done=str(tmp_path / "done"))
    (tmp_path / "start.py").write_text(code, encoding="utf-8")
    core = Path(cogen.__file__).parent.parent
    env = {**os.environ, "PYTHONPATH": f"{site}{os.pathsep}{core}", "COGEN_CACHE": str(tmp_path / "cache")}
    command = f"'{sys.executable}' '{tmp_path / 'start.py'}' {shell}"
    return subprocess.run(["bash", "-c", command], capture_output=True, env=env | environment, check=False)


def done(tmp_path: Path) -> bool:
    return (tmp_path / "done").is_file()


ONE_LINE = b"error: the result cannot be written to stdout: "


class TestOneCommand:
    """A command that says something and gives a result."""

    @pytest.mark.parametrize("arguments", [("doctor",), ("doctor", "--json"), ("list", "--quiet"), ("schema",)])
    @pytest.mark.parametrize("shell", [">&-", "<&- >&-"])
    def test_stdout_is_closed(self, tmp_path: Path, arguments: tuple[str, ...], shell: str) -> None:
        """The document that says what is wrong has no place there either."""
        found = run(tmp_path, *arguments, shell=shell)
        assert found.returncode == 1
        assert ONE_LINE + b"it is closed\n" in found.stderr
        assert b"Traceback" not in found.stderr
        assert b"Exception ignored" not in found.stderr

    @pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
    @pytest.mark.parametrize("switch", ["--json", "--quiet", "--help", ""])
    def test_stdout_is_full(self, tmp_path: Path, switch: str) -> None:
        verb = "list" if switch == "--quiet" else "doctor"
        found = run(tmp_path, verb, *([switch] if switch else []), shell="> /dev/full")
        assert found.returncode == 1
        assert ONE_LINE + b"No space left on device\n" in found.stderr
        assert b"Traceback" not in found.stderr
        assert b"Exception ignored" not in found.stderr

    @pytest.mark.parametrize("shell", ["2>&-", "2> /dev/full", "2> >(true)", "<&-", "<&- 2>&-"])
    def test_nobody_reads_the_messages(self, tmp_path: Path, shell: str) -> None:
        """The work goes on, and the result is whole."""
        found = run(tmp_path, "doctor", shell=shell)
        assert found.returncode == 0
        assert found.stdout.decode() == "Größe 電力 → ready\n"
        assert done(tmp_path)

    def test_all_closed(self, tmp_path: Path) -> None:
        """Nobody can be told; a file that is opened gets none of the three numbers."""
        found = run(tmp_path, "doctor", shell="<&- >&- 2>&-")
        assert found.returncode == 1
        assert not done(tmp_path)

    def test_the_reader_leaves(self, tmp_path: Path) -> None:
        """`| head -1`: no message, and what the command does it does to its end."""
        found = run(tmp_path, "doctor", "--long", shell="| head -1")
        assert found.stdout.decode() == "Größe 電力 → ready\n"
        assert b"error" not in found.stderr
        assert b"Exception ignored" not in found.stderr
        assert done(tmp_path)

    @pytest.mark.parametrize("encoding", ["cp1252", "ascii", "latin-1:strict", "utf-8"])
    def test_other_encodings(self, tmp_path: Path, encoding: str) -> None:
        """What an encoding lacks is written by its number; JSON stays JSON."""
        found = run(tmp_path, "doctor", PYTHONIOENCODING=encoding)
        assert found.returncode == 0, found.stderr
        assert found.stdout.endswith(b"ready\n")
        assert (rb"\u2192" in found.stdout) == (encoding != "utf-8")
        json_ = run(tmp_path, "doctor", "--json", PYTHONIOENCODING=encoding)
        assert json.loads(json_.stdout.decode(encoding.partition(":")[0])) == {"size": "Größe 電力 →"}


SHELLS = (">&-", "> /dev/full", "2>&-", "2> /dev/full", "<&-", "| true", "<&- >&- 2>&-")


@pytest.mark.slow
@pytest.mark.parametrize("verb", VERBS)
def test_every_verb(tmp_path: Path, verb: str) -> None:
    """Its help and what it says to no arguments: no traceback, and nothing that Python could not flush in the end."""
    for arguments, shell in itertools.product(([verb, "--help"], [verb], ["--json", verb]), SHELLS):
        found = run(tmp_path, *arguments, shell=shell)
        output = found.stdout + found.stderr
        assert b"Traceback" not in output, output
        assert b"Exception ignored" not in output, output
        assert b"bug in cogen" not in output, output
        assert found.returncode in (0, 1, 2, 3)


class _Breaking(io.StringIO):
    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def write(self, text: str) -> int:
        raise self.error


def test_write() -> None:
    """A message may be lost, a result not."""
    write(_Breaking(OSError(28, "No space left on device")), "x", result=False)
    write(_Breaking(BrokenPipeError(32, "Broken pipe")), "x", result=True)
    with pytest.raises(CogenError, match="cannot be written to stdout: No space left on device"):
        write(_Breaking(OSError(28, "No space left on device")), "x", result=True)


def test_json_in_an_encoding_that_lacks_letters() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="cp1252")
    assert not speaks_unicode(stream)
    assert speaks_unicode(io.StringIO())
    Output("json", stdout=stream).result({"a": "電"})
    assert raw.getvalue().split() == [b"{", b'"a":', b'"\\u96fb"', b"}"]
