"""What a publisher may try to upload: each is refused in one line with a hint, and nothing of it stays.

After every attack the service answers, what was published before is there byte for byte, what somebody installed before
verifies, and nothing of the attack takes room (``standing`` in conftest.py).
"""

from __future__ import annotations

import contextlib
import io
import pickle
import stat
import zipfile
from pathlib import Path
from typing import Any

import pytest
import requests
from support import wheels, xet
from support.hub import file, lfs, sha256, tensors
from support.town import Town

from cogen import trust

pytestmark = pytest.mark.usefixtures("standing")
HEAVY = tensors(9, 5_000)


def refused(answer: requests.Response, status: int, words: str) -> None:
    """One line that says what is wrong, and one that says what to do."""
    assert answer.status_code == status, answer.text
    output = answer.json()
    assert words in output["error"], output
    assert output["hint"], output
    assert "\n" not in output["error"] + output["hint"]


class TestNames:
    def test_a_wheel_of_somebody_elses_project(self, town: Town, tmp_path: Path) -> None:
        refused(town.post("rival", wheels.build(tmp_path, "grid", "9.0")), 403, "belongs to another publisher")

    @pytest.mark.parametrize("name", ["gr1d", "grld", "g-rid", "so1ar", "s0lar", "soiar"])
    def test_a_name_that_looks_alike(self, town: Town, tmp_path: Path, name: str) -> None:
        refused(town.post("rival", wheels.build(tmp_path, name)), 403, "looks like cogen-plugin-")

    @pytest.mark.parametrize("project", ["torch", "cogen-core", "cogen-grid"])
    def test_a_name_of_the_package_index(self, town: Town, tmp_path: Path, project: str) -> None:
        refused(town.post("rival", wheels.build(tmp_path, "x", project=project)), 400, "is not a plugin's name")

    @pytest.mark.parametrize("id", ["grid", "gr1d", "GRID"])
    def test_an_expert_of_somebody_elses_project(self, town: Town, tmp_path: Path, id: str) -> None:
        path = wheels.build(tmp_path, id, project="cogen-plugin-elsewhere")
        answer = town.post("rival", path)
        if id == "GRID":  # no id at all
            refused(answer, 400, "`id`: String should match pattern")
        else:
            refused(answer, 403, "of cogen-plugin-grid" if id == "gr1d" else "belongs to cogen-plugin-grid")

    def test_a_repository_of_somebody_else(self, town: Town) -> None:
        rival = town.served.hub("rival")
        for path, body in (
            ("/api/repos/create", {"name": "grid", "organization": "team"}),
            ("/api/models/team/grid/commit/main", {}),
            ("/api/models/team/grid/tag/main", {"tag": "v1"}),
            ("/team/grid.git/info/lfs/objects/batch", {"operation": "upload", "objects": []}),
        ):
            refused(rival.send("POST", path, json=body), 403, "team belongs to another publisher")
        refused(
            rival.send("GET", "/api/models/team/grid/xet-write-token/main"), 403, "team belongs to another publisher"
        )
        refused(rival.send("POST", "/api/repos/create", json={"name": "WIND"}), 400, "differs by case alone")

    def test_what_belongs_to_a_release_of_somebody_else(self, town: Town) -> None:
        rival, place = town.served.hub("rival"), "/api/v1/releases/cogen-plugin-solar/1.0"
        statement, bundle = town.signature(town.wheels["solar", "1.0"], "rival", town.key("rival"))
        output = {"statement": statement, "bundle": bundle}
        refused(rival.send("PUT", f"{place}/signature", json=output), 403, "belongs to another publisher")
        refused(rival.send("POST", f"{place}/yank", json={"reason": ""}), 403, "belongs to another publisher")

    def test_an_old_file_as_a_new_version(self, town: Town, tmp_path: Path) -> None:
        old = town.wheels["grid", "1.0"].path
        for name in ("cogen_plugin_grid-9.0-py3-none-any.whl", "cogen_plugin_grid-1.1-1-py3-none-any.whl"):
            fake = tmp_path / name
            fake.write_bytes(old.read_bytes())
            assert town.post("team", fake).status_code == 400
        fake = tmp_path / "cogen_plugin_grid-9.0-py3-none-any.whl"
        refused(town.post("team", fake), 400, "cogen_plugin_grid-9.0.dist-info")
        fake = tmp_path / town.wheels["grid", "1.1"].path.name
        fake.write_bytes(old.read_bytes())
        refused(town.post("team", fake), 409, "a version never changes")


class TestSignatures:
    def sign(self, town: Town, statement: Any, bundle: Any) -> requests.Response:
        place = f"/api/v1/releases/{statement['project']}/1.0/signature"
        return town.served.hub("team").send("PUT", place, json={"statement": statement, "bundle": bundle})

    def test_by_a_key_that_is_not_registered(self, town: Town, tmp_path: Path) -> None:
        trust.new_key(tmp_path / "other.pem")
        signature = town.signature(town.wheels["solar", "1.0"], "team", tmp_path / "other.pem")
        refused(self.sign(town, *signature), 400, "no registered key signed this")
        signature = town.signature(town.wheels["solar", "1.0"], "team", town.key("rival"))
        refused(self.sign(town, *signature), 400, "no registered key signed this")

    def test_of_another_file(self, town: Town) -> None:
        statement, bundle = town.signature(town.wheels["grid", "1.1"], "team", town.key("team"))
        place = "/api/v1/releases/cogen-plugin-solar/1.0/signature"
        answer = town.served.hub("team").send("PUT", place, json={"statement": statement, "bundle": bundle})
        refused(answer, 400, "the statement and the release differ in")

    def test_of_a_statement_that_was_edited(self, town: Town) -> None:
        """Signed for another hash, then made to fit."""
        wheel = town.wheels["solar", "1.0"]
        right, _ = town.signature(wheel, "team", town.key("team"))
        _, bundle = town.signature(wheel, "team", town.key("team"), sha256="0" * 64)
        refused(self.sign(town, right, bundle), 400, "no registered key signed this")

    def test_a_key_of_somebody_else(self, town: Town) -> None:
        """Whoever sees a public key can't call it his own."""
        pem = trust.public_key(town.key("team"), None)
        proof = trust.prove_possession(town.key("rival"), "rival", None)
        answer = town.served.hub("rival").send("POST", "/api/v1/keys", json={"pem": pem, "proof": proof})
        refused(answer, 422, "the proof was not made with this key for rival")


class TestArchives:
    @pytest.mark.parametrize(
        "name", ["../evil.py", "cogen_plugin_zip/../../evil.py", "/etc/evil", "..\\evil.py", "C:/evil.py"]
    )
    def test_a_member_that_leads_out(self, town: Town, tmp_path: Path, name: str) -> None:
        refused(town.post("rival", wheels.build(tmp_path, "zip", tail=[(name, b"x")])), 400, "path")
        assert not list(town.served.root.parent.rglob("evil*"))

    def test_a_symbolic_link(self, town: Town, tmp_path: Path) -> None:
        link = zipfile.ZipInfo("cogen_plugin_zip/link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        refused(town.post("rival", wheels.build(tmp_path, "zip", tail=[(link, b"/etc/passwd")])), 400, "symbolic link")

    def test_a_member_that_stands_twice(self, town: Town, tmp_path: Path) -> None:
        with pytest.warns(UserWarning, match="Duplicate name"):
            path = wheels.build(tmp_path, "zip", tail=[("cogen_plugin_zip/expert.toml", b"id = 'other'")])
        refused(town.post("rival", path), 400, "appears twice")

    def test_a_bomb(self, town: Town, tmp_path: Path) -> None:
        """Many zeros in few bytes."""
        path = tmp_path / "cogen_plugin_zip-1.0-py3-none-any.whl"
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
            archive.open("cogen_plugin_zip/zeros.txt", "w") as member,
        ):
            for _ in range(101):
                member.write(bytes(1 << 20))
        assert path.stat().st_size < 1 << 20
        refused(town.post("rival", path), 413, "at most 100,000,000 are allowed")

    def test_a_source_distribution(self, town: Town, tmp_path: Path) -> None:
        path = wheels.raw(tmp_path, "cogen_plugin_zip-1.0.zip", [("setup.py", b"import os")])
        refused(town.post("rival", path, filetype="sdist"), 400, "is not a wheel")


def torch_zip() -> bytes:
    """What torch.save writes: a zip archive that holds a pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"weight": [1.0]}))
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


class TestPickles:
    DISGUISED = (("pickle", pickle.dumps({"weight": list(range(50))})), ("torch", torch_zip()))

    @pytest.mark.parametrize("name", ["model.safetensors", "extra.json", "samples.txt"])
    @pytest.mark.parametrize(("kind", "data"), DISGUISED)
    def test_in_a_wheel(self, town: Town, tmp_path: Path, name: str, kind: str, data: bytes) -> None:
        path = wheels.build(tmp_path, "jar", extra={f"cogen_plugin_jar/{name}": data})
        refused(town.post("rival", path), 400, f"cogen_plugin_jar/{name}")

    @pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
    @pytest.mark.parametrize(("kind", "data"), DISGUISED)
    def test_in_a_repository(self, town: Town, name: str, kind: str, data: bytes) -> None:
        """However it is sent: in the commit, by LFS, by Xet."""
        words = "a pickle in disguise" if kind == "pickle" else "a zip archive in disguise"
        rival = town.served.hub("rival")
        refused(rival.commit("rival/wind", file("good.json", "{}"), file(name, data)), 400, words)
        rival.upload("rival/wind", data)
        refused(rival.commit("rival/wind", file("good.json", "{}"), lfs(name, data)), 400, words)
        xorb(town, "rival", data)
        refused(rival.commit("rival/wind", file("good.json", "{}"), lfs(name, data)), 400, words)

    def test_by_its_own_name(self, town: Town) -> None:
        for name in ("pytorch_model.bin", "model.pt", "model.pkl", "code.py"):
            answer = town.served.hub("rival").commit("rival/wind", file(name, b"x"))
            refused(answer, 400, f"{name} is not a kind of file")


def grant(town: Town, publisher: str, repo: str) -> tuple[str, dict[str, str]]:
    """URL of Xet and headers for it."""
    output = town.served.hub(publisher).send("GET", f"/api/models/{repo}/xet-write-token/main").json()
    return output["casUrl"] + "/v1", {"Authorization": f"Bearer {output['accessToken']}"}


def xorb(town: Town, publisher: str, data: bytes, repo: str = "rival/wind") -> None:
    """Bring a file by Xet."""
    url, headers = grant(town, publisher, repo)
    name = sha256(data)
    answer = requests.post(f"{url}/xorbs/default/{name}", xet.chunk(data), headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    body = xet.shard(xet.file(data, [(name, 0, 1, len(data))]))
    answer = requests.post(f"{url}/shards", body, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text


class TestLimits:
    """Of a publisher who may upload a wheel of 20,000 bytes, files of weights of 30,000, and 40,000 of all."""

    def test_a_wheel(self, town: Town, tmp_path: Path) -> None:
        noise = {"cogen_plugin_big/noise.txt": tensors(1, 10_000).hex().encode()}
        path = wheels.build(tmp_path, "big", extra=noise)
        noise = {"cogen_plugin_huge/noise.txt": tensors(1, 900_000).hex().encode()}
        large = wheels.build(tmp_path, "huge", extra=noise)
        hub = town.served.hub("poor")
        refused(town.post("poor", path), 413, "larger than 20,000 bytes")
        refused(town.post("poor", large), 413, "a wheel at most 20,000")
        body = (block for block in (b"--B\r\n", bytes(1 << 20)))
        kind = {"Content-Type": "multipart/form-data; boundary=B"}
        refused(hub.send("POST", "/legacy/", data=body, headers=kind), 411, "has no Content-Length")

    def test_weights_by_lfs(self, town: Town) -> None:
        hub, small = town.served.hub("poor"), tensors(3, 7_000)
        (output,) = hub.batch("poor/model", (sha256(HEAVY * 2), len(HEAVY * 2)))
        assert output["error"]["code"] == 413
        url = hub.place("poor/model", small)
        for body in (small + b"x", iter([small, small]), iter([small[:-1]])):
            with contextlib.suppress(requests.ConnectionError):  # the answer comes while it is still sending
                answer = hub.put(url, body)
                assert answer.status_code == 400
                assert answer.json()["hint"], answer.json()

    def test_weights_by_xet(self, town: Town) -> None:
        url, headers = grant(town, "poor", "poor/model")
        place, chunk = f"{url}/xorbs/default/{'a' * 64}", xet.chunk(bytes(25_000))
        large = xet.chunk(bytes(50_000))
        refused(requests.post(place, large, headers=headers, timeout=30), 413, "beyond the limit of 40,000")
        # without a length as much room is needed as the largest xorb takes
        answer = requests.post(place, iter([large]), headers=headers, timeout=30)
        refused(answer, 413, "beyond the limit of 40,000")
        assert requests.post(place, chunk, headers=headers, timeout=30).status_code == 200
        many = xet.shard(xet.file(bytes(50_000), [("a" * 64, 0, 1, 25_000)] * 2))  # a few bytes that stand for many
        refused(requests.post(f"{url}/shards", many, headers=headers, timeout=30), 413, "larger than 30,000")
        for left in (town.served.root / "xet").glob("*/xorbs/*"):
            left.unlink()  # waits for its shard for a day

    def test_small_files_of_a_commit(self, town: Town) -> None:
        lines = [file(f"{number}.txt", "a" * 9_000 + str(number)) for number in range(5)]
        refused(town.served.hub("poor").commit("poor/model", *lines), 413, "beyond the limit of 40,000")


class TestPossession:
    """Knowing a hash is not having the bytes."""

    @pytest.fixture
    def theirs(self, town: Town) -> bytes:
        """Weights of the other team, which anybody may download."""
        path = next(path for path in town.shelf if path.startswith("/team/") and path.endswith(".safetensors"))
        return town.served.get(path).content

    def test_by_lfs(self, town: Town, theirs: bytes) -> None:
        rival = town.served.hub("rival")
        (output,) = rival.batch("rival/wind", (sha256(theirs), len(theirs)))
        assert "upload" in output["actions"]  # not "it is here already"
        nothing = rival.commit("rival/wind", lfs("a.safetensors", b"nobody has this"))
        stolen = rival.commit("rival/wind", lfs("a.safetensors", theirs))
        refused(stolen, 400, "were not uploaded to this repository")
        assert stolen.json() == nothing.json()  # the answer tells nobody what others have
        url = town.served.hub("team").place("team/grid", HEAVY)
        (here, there) = (place.split("/lfs/")[1].split("/")[0] for place in (rival.place("rival/wind", HEAVY), url))
        refused(rival.put(url.replace(f"/lfs/{there}/", f"/lfs/{here}/"), HEAVY), 403, "this URL is not valid")

    def test_by_xet(self, town: Town, theirs: bytes) -> None:
        """Chunks of a xorb that another team sent."""
        name = sha256(theirs)
        xorb(town, "team", theirs, "team/grid")
        url, headers = grant(town, "rival", "rival/wind")
        shard = xet.shard(xet.file(theirs, [(name, 0, 1, len(theirs))]))
        refused(requests.post(f"{url}/shards", shard, headers=headers, timeout=30), 400, "no longer here")

    def test_by_reading(self, town: Town, theirs: bytes) -> None:
        oid, hub = sha256(theirs), town.served.hub("rival")
        for path in (
            f"/files/{oid}/cogen_plugin_wind-1.0-py3-none-any.whl",
            f"/lfs/2/{oid}",
            f"/rival/wind/resolve/main/{oid}",
            f"/rival/wind/resolve/{oid[:40]}/adapter_model.safetensors",
        ):
            assert hub.send("GET", path).status_code in (404, 405)
