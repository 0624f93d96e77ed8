"""Unmodified ``huggingface_hub`` and ``hf``, which know of the registry by ``HF_ENDPOINT`` alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.hub import Registry, file, lfs, sha256, tensors

HF = str(Path(sys.executable).with_name("hf"))


def write_model(folder: Path, seed: int) -> dict[str, bytes]:
    """A folder with all that a client treats in its own way: large, small, empty, nested, beyond ASCII."""
    contents = {
        "README.md": b"---\nlicense: mit\n---\n# A model\n",
        "config.json": b'{"model_type": "llama"}',
        "empty.txt": b"",
        "deep/folder/model.safetensors": tensors(seed, 300, 1000),
        "deep/größe 電力.txt": "Größe".encode(),
        "tokenizer.json": b'{"words": "' + bytes([97 + seed % 26]) * 1_200_000 + b'"}',
    }
    for path, data in contents.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return contents


def read_folder(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".cache" not in path.parts
    }


ROUND_TRIP = """
import json, sys
from pathlib import Path
from huggingface_hub import HfApi, hf_hub_download, snapshot_download
folder, repo, other = sys.argv[1:]
api, said = HfApi(), {}
said["who"] = api.whoami()["name"]
said["repo"] = str(api.create_repo(repo))
said["again"] = str(api.create_repo(repo, exist_ok=True))
first = api.upload_folder(repo_id=repo, folder_path=folder, commit_message="first")
said["first"], said["url"] = first.oid, first.commit_url
said["same"] = api.upload_folder(repo_id=repo, folder_path=folder).oid
api.create_tag(repo, tag="v1")
Path(folder, "config.json").write_text('{"model_type": "mistral"}')
second = api.upload_folder(
    repo_id=repo, folder_path=folder, commit_message="second", delete_patterns="empty.txt",
    allow_patterns="*.json", parent_commit=first.oid,
)
said["second"] = second.oid
copied = snapshot_download(repo, cache_dir=other)
said["main"], said["v1"] = copied, snapshot_download(repo, revision="v1", cache_dir=other)
said["one"] = hf_hub_download(repo, "deep/folder/model.safetensors", revision=first.oid, local_dir=other + "/one")
said["files"] = api.list_repo_files(repo, revision="v1")
said["tree"] = [[x.path, getattr(x, "size", None)] for x in api.list_repo_tree(repo, recursive=True, revision="v1")]
said["log"] = [[x.commit_id, x.title] for x in api.list_repo_commits(repo)]
refs = api.list_repo_refs(repo)
said["tags"] = [[x.name, x.target_commit] for x in refs.tags]
info = api.model_info(repo, files_metadata=True)
said["sha"], said["lfs"] = info.sha, {x.rfilename: x.lfs and x.lfs.sha256 for x in info.siblings}
said["paths"] = [x.path for x in api.get_paths_info(repo, ["config.json", "deep", "nothing"], expand=True)]
said["exists"] = [api.file_exists(repo, "config.json"), api.file_exists(repo, "nothing"), api.repo_exists("a/b")]
said["tensors"] = list(api.parse_safetensors_file_metadata(repo, "deep/folder/model.safetensors").tensors)
print(json.dumps(said))
"""


@pytest.mark.parametrize("xet", [True, False])
def test_what_goes_up_comes_down_bit_for_bit(registry: Registry, tmp_path: Path, xet: bool) -> None:
    folder, repo = tmp_path / "model", f"team/round-{'xet' if xet else 'lfs'}"
    contents = write_model(folder, seed=int(xet))
    seen = len(registry.seen)
    more = {} if xet else {"HF_HUB_DISABLE_XET": "1"}
    output = registry.python(ROUND_TRIP, tmp_path / "hf", str(folder), repo, str(tmp_path / "cache"), **more)
    paths = registry.seen[seen:]
    assert any(path.startswith("POST /xet/") for path in paths) is xet
    assert any(path.startswith("PUT /lfs/") for path in paths) is not xet
    assert output["who"] == "team"
    assert output["repo"] == output["again"] == f"{registry.url}/{repo}"
    assert output["url"] == f"{registry.url}/{repo}/commit/{output['first']}"
    assert output["same"] == output["first"] != output["second"]
    assert read_folder(output["v1"]) == contents
    changed = contents | {"config.json": b'{"model_type": "mistral"}'}
    assert read_folder(output["main"]) == {path: data for path, data in changed.items() if path != "empty.txt"}
    assert Path(output["one"]).read_bytes() == contents["deep/folder/model.safetensors"]
    assert Path(output["v1"]).name == output["first"]
    assert sorted(output["files"]) == sorted(contents)
    sizes = {path: len(data) for path, data in contents.items()} | {"deep": None, "deep/folder": None}
    assert output["tree"] == [[path, sizes[path]] for path in sorted(sizes)]
    assert output["log"][:2] == [[output["second"], "second"], [output["first"], "first"]]
    assert output["tags"] == [["v1", output["first"]]]
    assert output["sha"] == output["second"]
    large = {path: sha256(data) for path, data in contents.items() if len(data) > 1_000_000}
    assert {path: oid for path, oid in output["lfs"].items() if oid} == large
    assert output["paths"] == ["config.json", "deep"]
    assert output["exists"] == [True, False, False]
    assert output["tensors"] == ["a"]
    assert not list((registry.root / "xet").glob("*/xorbs/*"))


REMEMBERED = """
import json, sys
from huggingface_hub import HfApi, hf_hub_download
repo, path, cache = sys.argv[1:]
HfApi().create_repo(repo, exist_ok=True)
HfApi().upload_file(repo_id=repo, path_or_fileobj=path, path_in_repo="model.safetensors")
print(json.dumps(hf_hub_download(repo, "model.safetensors", cache_dir=cache)))
"""


@pytest.mark.slow
def test_chunks_that_a_client_remembers_come_from_blobs(registry: Registry, tmp_path: Path) -> None:
    """hf-xet sends only the names of chunks that it uploaded in the last three weeks; their xorbs are gone by then."""
    path, home = tmp_path / "model.safetensors", tmp_path / "hf"
    path.write_bytes(tensors(11, 1000, 1000))
    registry.python(REMEMBERED, home, "team/remembered", str(path), str(tmp_path / "1"))
    path.write_bytes(path.read_bytes()[:-400_000] + tensors(12, 100, 1000)[-400_000:])
    seen = len(registry.seen)
    got = registry.python(REMEMBERED, home, "team/remembered-too", str(path), str(tmp_path / "2"))
    assert Path(got).read_bytes() == path.read_bytes()
    assert sum(one.startswith("POST /xet/") and "/xorbs/" in one for one in registry.seen[seen:]) == 1
    assert not list((registry.root / "xet").glob("*/xorbs/*"))


@pytest.mark.slow
def test_what_can_no_longer_be_found_is_sent_again(registry: Registry, tmp_path: Path) -> None:
    """The blob behind remembered chunks is gone: one upload is refused, and the next one sends everything."""
    path, home = tmp_path / "model.safetensors", tmp_path / "hf"
    path.write_bytes(tensors(13, 500, 1000))
    registry.python(REMEMBERED, home, "team/gone", str(path), str(tmp_path / "1"))
    for known in (registry.root / "xet").glob("*/known/*"):
        known.unlink()
    with pytest.raises(AssertionError, match=r"no longer here|not uploaded|400"):
        registry.python(REMEMBERED, home, "team/gone-too", str(path), str(tmp_path / "2"))
    got = registry.python(REMEMBERED, home, "team/gone-too", str(path), str(tmp_path / "2"))
    assert Path(got).read_bytes() == path.read_bytes()


REFUSED = """
import json, sys
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, HfApi, hf_hub_download
repo, head = sys.argv[1:]
api = HfApi()
def add(path, data=b"{}"):
    return CommitOperationAdd(path_in_repo=path, path_or_fileobj=data)
tries = {
    "no repository": lambda: api.model_info("team/nothing"),
    "other case": lambda: api.model_info(repo.replace("r", "R")),
    "look-alike": lambda: api.create_repo(repo.upper().replace("TEAM", "team"), exist_ok=True),
    "no revision": lambda: hf_hub_download(repo, "config.json", revision="v9"),
    "no commit": lambda: hf_hub_download(repo, "config.json", revision="0" * 40),
    "no file": lambda: hf_hub_download(repo, "nothing.json"),
    "no folder": lambda: list(api.list_repo_tree(repo, "nothing")),
    "not mine": lambda: api.create_repo("rival/model"),
    "dataset": lambda: api.create_repo(repo, repo_type="dataset"),
    "private": lambda: api.create_repo("team/secret", private=True),
    "name": lambda: api.create_repo("team/a..b"),
    "moved": lambda: api.create_commit(repo, [add("b.json")], commit_message="m", parent_commit="0" * 40),
    "kind": lambda: api.create_commit(repo, [add("model.bin")], commit_message="m"),
    "pull request": lambda: api.create_commit(repo, [add("b.json")], commit_message="m", create_pr=True),
    "delete nothing": lambda: api.create_commit(repo, [CommitOperationDelete("x.json")], commit_message="m"),
    "tag again": lambda: api.create_tag(repo, tag="v1"),
    "tag gone": lambda: api.delete_tag(repo, tag="v1"),
    "commit to tag": lambda: api.create_commit(repo, [add("b.json")], commit_message="m", revision="v1"),
    "delete": lambda: api.delete_repo(repo),
    "no token": lambda: HfApi(token=False).create_commit(repo, [add("b.json")], commit_message="m"),
    "bad token": lambda: HfApi(token="cogen_x").create_commit(repo, [add("b.json")], commit_message="m"),
    "yaml": lambda: api.create_commit(repo, [add("README.md", b"---\\na: [\\n---\\n")], commit_message="m"),
}
said = {}
for name, call in tries.items():
    try:
        call()
        said[name] = ["nothing", ""]
    except Exception as error:
        said[name] = [type(error).__name__, str(error)]
api.create_commit(repo, [CommitOperationCopy("config.json", "copy.json"),
                         CommitOperationCopy("model.safetensors", "copy.safetensors")], commit_message="copy")
api.create_branch(repo, branch="dev", revision=head)
api.create_commit(repo, [add("dev.json")], commit_message="m", revision="dev")
said["files"] = [api.list_repo_files(repo), api.list_repo_files(repo, revision="dev")]
print(json.dumps(said))
"""


def test_refusals_become_the_exceptions_of_the_client(registry: Registry, tmp_path: Path) -> None:
    hub = registry.hub()
    repo, data = hub.create("refused"), tensors(3, 8)
    hub.upload(repo, data)
    head = hub.committed(repo, file("config.json", "{}"), lfs("model.safetensors", data))
    hub.send("POST", f"/api/models/{repo}/tag/main", json={"tag": "v1"})
    output = registry.python(REFUSED, tmp_path / "hf", repo, head)
    files = output.pop("files")
    assert files[0] == ["config.json", "copy.json", "copy.safetensors", "model.safetensors"]
    assert files[1] == ["config.json", "dev.json", "model.safetensors"]
    expected = {
        "no repository": ("RepositoryNotFoundError", "team/nothing"),
        "other case": ("RepositoryNotFoundError", "its case counts"),
        "look-alike": ("BadRequestError", "differs by case alone"),
        "no revision": ("RevisionNotFoundError", "no revision 'v9'"),
        "no commit": ("RevisionNotFoundError", "no revision"),
        "no file": ("RemoteEntryNotFoundError", "nothing.json"),
        "no folder": ("RemoteEntryNotFoundError", "nothing"),
        "not mine": ("HfHubHTTPError", "rival belongs to another publisher (publish as team/…)"),
        "dataset": ("BadRequestError", "holds models"),
        "private": ("BadRequestError", "private repositories are not supported"),
        "name": ("HFValidationError", "a..b"),
        "moved": ("HfHubHTTPError", f"main has moved on: it is at {head}"),
        "kind": ("BadRequestError", "model.bin is not a kind of file"),
        "pull request": ("BadRequestError", "no pull requests"),
        "delete nothing": ("RemoteEntryNotFoundError", "x.json"),
        "tag again": ("HfHubHTTPError", "there is a tag v1 already"),
        "tag gone": ("HfHubHTTPError", "v1 cannot be deleted"),
        "commit to tag": ("BadRequestError", "v1 is a tag, which never moves"),
        "delete": ("HfHubHTTPError", "published repositories cannot be deleted"),
        "no token": ("HfHubHTTPError", "authentication required"),
        "bad token": ("HfHubHTTPError", "unknown or expired token"),
        "yaml": ("ValueError", "Invalid metadata in README.md"),
    }
    assert {name: kind for name, (kind, _) in output.items()} == {name: kind for name, (kind, _) in expected.items()}
    for name, (_, words) in expected.items():
        assert words.encode("ascii", "backslashreplace").decode() in output[name][1] or words in output[name][1], name


@contextmanager
def cutting(url: str, after: int) -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that drops the connection of the first download after so many bytes; requests for files, as sent."""
    host, port = url.removeprefix("http://").split(":")
    listening, asked = socket.create_server(("127.0.0.1", 0)), []

    def pump(source: socket.socket, target: socket.socket, state: dict[str, Any], back: bool) -> None:
        try:
            while data := source.recv(65536):
                if not back and data.startswith(b"GET ") and b"/resolve/" in data:
                    asked.append(data)
                    state["left"] = after if len(asked) == 1 else None
                if back and state.get("left") is not None:
                    state["left"] -= len(data)
                    if state["left"] < 0:
                        break
                target.sendall(data)
        except OSError:
            pass
        for one in (source, target):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue

    def serve() -> None:
        pumps: list[threading.Thread] = []
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                break
            upstream = socket.create_connection((host, int(port)))
            state: dict[str, Any] = {}
            for source, target, back in ((client, upstream, False), (upstream, client, True)):
                pumps.append(threading.Thread(target=pump, args=(source, target, state, back), daemon=True))
                pumps[-1].start()
            sockets.extend((client, upstream))
        for one in pumps:
            one.join(5)

    sockets: list[socket.socket] = []
    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}", asked
    finally:
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()
        thread.join(10)
        for one in sockets:
            one.close()


def test_a_download_goes_on_where_it_was_cut(registry: Registry, tmp_path: Path) -> None:
    hub, data = registry.hub(), tensors(5, 6000, 1000)
    repo = hub.create("cut")
    hub.upload(repo, data)
    hub.committed(repo, lfs("model.safetensors", data))
    script = (
        "import json, sys\nfrom huggingface_hub import hf_hub_download\n"
        "print(json.dumps(hf_hub_download(sys.argv[1], 'model.safetensors')))"
    )
    with cutting(registry.url, 15_000_000) as (url, asked):
        got = registry.python(script, tmp_path / "hf", repo, publisher=None, HF_ENDPOINT=url)
    assert Path(got).read_bytes() == data
    assert len(asked) == 2
    assert b"range:" not in asked[0].lower()
    start = int(asked[1].lower().split(b"range: bytes=")[1].split(b"-")[0])
    assert 0 < start < 15_000_000  # the client writes 10 MiB at once


@pytest.mark.slow
def test_the_command_line_of_the_hub(registry: Registry, tmp_path: Path) -> None:
    folder, got = tmp_path / "model", tmp_path / "got"
    contents = write_model(folder, seed=9)
    env = registry.environment(tmp_path / "hf")

    def hf(*args: str) -> str:
        done = subprocess.run([HF, *args], env=env, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    assert "team" in hf("auth", "whoami")
    hf("upload", "team/by-cli", str(folder))
    hf("download", "team/by-cli", "--local-dir", str(got))
    assert read_folder(str(got)) == contents
    verified = hf("cache", "verify", "team/by-cli", "--local-dir", str(got))
    assert str(len(contents)) in verified


LOAD = """
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1], revision=sys.argv[2])
ids = tokenizer("the grid operator", return_tensors="pt")["input_ids"]
with torch.no_grad():
    print(json.dumps([type(model).__name__, model(ids).logits[0, -1, :5].tolist()]))
"""


@pytest.mark.slow
def test_transformers_load_a_model_by_its_name(registry: Registry, tmp_path: Path) -> None:
    import torch
    from support import tiny

    folder = tiny.save_model(tmp_path / "model", seed=3)
    tiny.tokenizer().save_pretrained(folder)
    hub = registry.hub()
    repo = hub.create("llama")
    lines = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        if path.suffix == ".safetensors":
            hub.upload(repo, data)
        lines.append(lfs(path.name, data) if path.suffix == ".safetensors" else file(path.name, data))
    oid = hub.committed(repo, *lines)
    kind, logits = registry.python(LOAD, tmp_path / "hf", repo, oid, publisher=None, OMP_NUM_THREADS="1")
    assert kind == "LlamaForCausalLM"
    ids = tiny.tokenizer()("the grid operator", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = tiny.llama(seed=3)(ids).logits[0, -1, :5]
    assert torch.allclose(torch.tensor(logits), expected, atol=1e-5)
