"""What registries, publishers of private text and strangers' model folders send: seeds and readers for the fuzzer."""

from __future__ import annotations

import functools
import hashlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

_DIGEST = "sha256:" + "0" * 64
_CARD = {
    "id": "power",
    "version": "0.1.0",
    "project": "cogen-plugin-power",
    "title": "Power",
    "summary": "Grids and their operators",
    "publisher": "team",
    "domains": ["power", "energy"],
    "languages": ["en", "de"],
    "license": "MIT",
    "base": {"name": "a/base", "digest": _DIGEST},
    "parameters": 1200,
    "relation": "ffn",
}


# ---- figures of private suites --------------------------------------------------------------------------------------


def figures(path: Path) -> object:
    from cogen.evals.figures import read_figures

    document = read_figures(path)
    document.check()
    return document


def figure_files(folder: Path) -> list[bytes]:
    """Without a signature, and with one."""
    from cogen.evals.figures import Figures, FiguresDocument, sign_figures
    from cogen.trust.keys import new_key
    from support.private import suite

    shared = ("title", "metric", "documents", "bytes", "text_digest", "date", "harness")
    one = {
        **{name: suite()[name] for name in shared},
        "suite": "notes",
        "model": {"name": "composite", "digest": _DIGEST, "value": 1.25, "low": 1.2, "high": 1.3},
        "settings": {"dtype": "float32", "limit": 20, "share": 0.5, "chat": False},
    }
    plain = Figures.model_validate(one | {"against": one["model"]})
    key = folder / "key"
    signed = sign_figures(plain, key, new_key(key) if not key.exists() else key.with_suffix(".pub").read_text(), "team")
    return [FiguresDocument(figures=plain).model_dump_json().encode(), signed.model_dump_json().encode()]


# ---- registries -----------------------------------------------------------------------------------------------------


def index(path: Path) -> object:
    from cogen.sharing.index import read_index
    from cogen.sharing.search import RegistryQuery, choose

    shard = json.dumps({"experts": [_CARD]}).encode()
    file = path.parent / "index" / f"a.{hashlib.sha256(shard).hexdigest()}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(shard)
    cards = read_index(str(path))
    choose(cards, RegistryQuery(q="grid", domain="power", size="1-10M"))
    return cards


def index_files(_: Path) -> list[bytes]:
    shard = json.dumps({"experts": [_CARD]}).encode()
    named = {"name": "a", "sha256": hashlib.sha256(shard).hexdigest(), "size": len(shard)}
    cards = [_CARD, _CARD | {"id": "zinc", "licence": "MIT", "base": None, "parameters": 3.5}]
    return [json.dumps(one).encode() for one in ({"schema": 1, "experts": cards}, {"schema": 2, "shards": [named]})]


def answers(path: Path) -> object:
    """The input holds one answer for each road of a client; what is not JSON is the answer everywhere."""
    from cogen.checkpoints.sources.registry import tree
    from cogen.errors import CogenError
    from cogen.sharing.login import whoami
    from cogen.sharing.resolve import resolve
    from cogen.sharing.search import RegistryQuery, ask, choose
    from cogen.trust.documents import check_document

    client = _client(path.read_bytes())
    roads = (
        lambda: choose(ask(client, RegistryQuery(q="grid"))[1], RegistryQuery(q="grid", base="a/base")),
        lambda: whoami(client),
        lambda: tree(client, "team/weights", "0" * 40),
        lambda: resolve(client, "cogen-plugin-power", None),
        lambda: check_document({"a": 1}, "x.json", resolve(client, "power", None).signature or {}, "no key", "it"),
    )
    refused: list[CogenError] = []
    for road in roads:
        try:
            road()
        except CogenError as error:
            refused.append(error)
    assert all("\n" not in error.message for error in refused)
    if refused[:-1]:  # what is signed by no key is refused always
        raise refused[0]
    return None


def answer_files(_: Path) -> list[bytes]:
    file = {"filename": "cogen_plugin_power-0.1.0-py3-none-any.whl", "sha256": "0" * 64, "size": 1000}
    detail = _CARD | {"file": file, "yanked": False, "signature": {"key": "k", "statement": "s", "bundle": {}}}
    found = {
        "/api/v1/experts": {"items": [_CARD], "total": 1, "note": "spelled otherwise"},
        "/api/v1/whoami": {"name": "team", "scopes": ["upload"]},
        "/api/models/": [{"type": "file", "path": "a/b.safetensors", "size": 10, "lfs": {"oid": "0" * 64}}],
        "/simple/": {"files": [{"filename": file["filename"], "yanked": False}]},
        "/api/v1/releases/": {"experts": ["power"], "version": "0.1.0"},
        "/api/v1/experts/": detail,
    }
    return [json.dumps(found).encode()]


def _client(content: bytes) -> Any:
    """A client of a registry that answers with these bytes."""
    from cogen.remote.client import Client
    from cogen.remote.errors import NotThere
    from cogen.trust.registries import Registry

    class Answer:
        def __init__(self, body: bytes) -> None:
            self.body = body

        def __enter__(self) -> Answer:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def iter_content(self, _: int) -> list[bytes]:
            return [self.body]

    class Fixed(Client):
        def _open(self, method: str, path: str, **options: Any) -> Any:
            try:
                table = json.loads(content)
                parts = table.items()
            except (ValueError, RecursionError, AttributeError):
                return Answer(content)
            if path.endswith("/cogen-plugin-power") and path.startswith("/api/v1/experts/"):
                raise NotThere("there is none", hint="another name", status=404)
            fitting = [(len(start), start) for start, _ in parts if path.startswith(start)]
            if not fitting:
                raise NotThere("there is nothing", hint="another name", status=404)
            return Answer(json.dumps(table[max(fitting)[1]]).encode("utf-8", "surrogatepass"))

    return Fixed(Registry("https://registry.example"))


# ---- a model's configuration ----------------------------------------------------------------------------------------


def config(path: Path) -> object:
    """Everything that reads ``config.json``, up to a model that computed the logits of a text."""
    import torch

    from cogen.checkpoints.common_form import write_common_form
    from cogen.checkpoints.describe import shape_facts
    from cogen.checkpoints.facts import facts_of
    from cogen.checkpoints.json_files import json_object
    from cogen.checkpoints.load import load_model
    from cogen.checkpoints.model import open_folder
    from cogen.merging.configurations import differences, token_differences

    content = path.read_bytes()
    model = _model()
    for file in model.iterdir():
        if file.name != "config.json" and not (path.parent / file.name).exists():
            shutil.copyfile(file, path.parent / file.name)
    facts_of(path.parent)
    shape_facts(path.parent)
    checkpoint = open_folder(path.parent)
    own = json_object(model / "config.json")
    differences(own, checkpoint.config)
    token_differences(own, checkpoint.config)
    write_common_form(path.parent)
    json_object(path)
    path.write_bytes(content)
    loaded = load_model(checkpoint, "float32", "power", device="cpu")
    with torch.inference_mode():
        return loaded(torch.tensor([[1, 2, 3, 4]])).logits


@functools.cache
def _model() -> Path:
    from support.tiny import save_model

    folder = Path(tempfile.mkdtemp(prefix="fuzz-config-")) / "model"
    return save_model(folder)


def config_files(_: Path) -> list[bytes]:
    """In the spelling of transformers 5 with scaled angles, and in that of transformers 4."""
    own = json.loads((_model() / "config.json").read_text())
    scaling = {
        "rope_type": "llama3",
        "factor": 4.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 16,
    }
    old = {name: value for name, value in own.items() if name not in ("rope_parameters", "dtype")}
    linear = {"type": "linear", "factor": 2.0}
    return [
        json.dumps(own | {"rope_parameters": scaling | {"rope_theta": 500.0}}).encode(),
        json.dumps(old | {"rope_theta": 500.0, "rope_scaling": linear, "torch_dtype": "float32"}).encode(),
    ]
