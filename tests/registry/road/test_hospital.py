"""The hospital's road: train, check, publish, search, add and fuse, and not one run of a patient's text has left.

Everything goes over real sockets, and a proxy between publishers and the registry keeps every byte that they sent.
"""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from support import tiny
from support.embedders import save_embedder
from support.experts import base_of
from support.hospital import chinese, english, project, public
from support.recording import found_in, needles, recording, views
from support.served import Served

#: Documents of each language of patients, and of the public collection.
PATIENTS, PUBLIC = 70, 120
#: Strategies that take experts without samples, and their options.
STRATEGIES: dict[str, tuple[str, ...]] = {
    "merge": ("--method", "task_arithmetic", "--scale", "0.5"),
}
PRIVATE = {"license": "LicenseRef-Hospital", "license_evidence": "our own records", "personal_data": "present"}
OPEN = {"license": "CC0-1.0", "license_evidence": "written for the tests", "personal_data": "none"}


def test_no_run_of_a_patients_text_leaves(served: Served, machines: Any) -> None:
    """A hospital whose figures may leave, one that lets nothing leave, and a public expert, in one composite."""
    texts = {"zh": [chinese(n) for n in range(PATIENTS)], "en": [english(n) for n in range(PATIENTS)]}
    private, open_texts = [text for some in texts.values() for text in some], [public(n) for n in range(PUBLIC)]
    patients, everybody = needles(private), needles(open_texts)
    base = _public_base(served, machines("bare"))
    sources: dict[str, Any] = {
        "ward": {name: (some, PRIVATE | {"leaves": "figures"}) for name, some in texts.items()},
        "clinic": {name: (some, PRIVATE | {"leaves": "nothing"}) for name, some in texts.items()},
        "open": {"web": (open_texts, OPEN | {"leaves": "heldout"})},
    }
    with recording(served.url) as proxy:
        for id, own in sources.items():
            publisher = machines(f"{id}-team")
            publisher.cogen("login", proxy.url, "--token", served.token(f"{id}-team"), "--new-key")
            folder = project(publisher.home / id, id, f"The {id} of the tests", base, own)
            assert publisher.cogen("train", str(folder / "recipe.toml"), HF_ENDPOINT=proxy.url)
            _check(publisher.cogen("check", str(folder)), private=id != "open")
            assert publisher.cogen("publish", str(folder), "--yes")["state"] == "released"
        assert found_in(proxy.sent, patients) == set()
        assert len(found_in(proxy.sent, everybody)) > 300  # so the search finds what did leave
        user = machines("user")
        user.cogen("login", proxy.url, "--read-only")
        for id in sources:
            found = user.cogen("search", f"the {id} of the tests")["experts"]
            assert id in {one["id"] for one in found}
            user.cogen("add", id)
        save_embedder(user.home / "embedder")
        for strategy, options in STRATEGIES.items():
            own = [one.replace("file://", f"file://{user.home}/") for one in options]
            user.cogen("fuse", *sources, "--strategy", strategy, *own, "--level", "none", "-o", strategy)
            assert found_in(_files(user.home / strategy), patients) == set()
        assert found_in(proxy.sent, patients) == set()
    stored = [path.read_bytes() for path in served.root.rglob("*") if path.is_file()]
    assert found_in(stored, patients) == set()
    assert len(found_in(stored, everybody)) > 300
    figures = served.get("/api/v1/experts/ward").json()["evaluations"]["private"]
    assert {(one["name"], one["measured_at"]) for one in figures} == {("base", "publisher"), ("expert", "publisher")}
    assert served.get("/api/v1/experts/clinic").json()["evaluations"]["private"] == []


def _public_base(served: Served, bare: Any) -> dict[str, Any]:
    """A base model in the registry, as ``[model.base]``."""
    model = tiny.save_model(bare.home / "base")
    hub = {"HF_ENDPOINT": served.url, "HF_TOKEN": served.token("bare")}
    bare.run(Path(sys.executable).with_name("hf"), "upload", "bare/tiny-base", model, **hub)
    return base_of(model, "hf://bare/tiny-base", str(served.get("/api/models/bare/tiny-base").json()["sha"]))


def _check(answer: dict[str, Any], *, private: bool) -> None:
    """The packing list says what the search through the bytes says."""
    assert answer["passed"]
    texts = [text for file in answer["packing"]["files"] for text in file["texts"]]
    documents = sum(source["documents"] for source in answer["packing"]["sources"])
    assert (documents == 0) is private
    assert ({text["source"] for text in texts} == {None}) is private  # the description of the project, written by hand
    assert answer["source_archive"]["marked"] is False  # the tests' own backend writes no PKG-INFO


def _files(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*") if path.is_file()]


@pytest.mark.parametrize("text", [chinese(1), english(1)])
@pytest.mark.parametrize("packing", ["plain", "zip", "json", "base64", "gzip", "utf-16", "percent"])
def test_the_search_finds_text_in_every_packing(text: str, packing: str) -> None:
    """A test that finds nothing has to be able to find something."""
    import base64
    import gzip
    from urllib.parse import quote

    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/b.jsonl", json.dumps({"text": text}))
    packed = {
        "plain": text.encode(),
        "zip": b"--boundary\r\n\r\n" + file.getvalue() + b"\r\n--boundary--",
        "json": json.dumps({"payload": {"text": text}}).encode(),
        "base64": b'{"payload": "' + base64.b64encode(text.encode()) + b'"}',
        "gzip": b"head" + gzip.compress(text.encode()),
        "utf-16": text.encode("utf-16-le"),
        "percent": quote(text).encode(),
    }[packing]
    wanted = needles([text])
    assert found_in([packed], wanted) == wanted
    assert found_in([packed], needles([chinese(2), english(2)]) - wanted) == set()
    assert list(views(b"abc"))
