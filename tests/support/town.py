"""A served registry with teams that have published in it, somebody who installed from it, and a registry that lies."""

from __future__ import annotations

import hashlib
import io
import sys
import tomllib
from collections import namedtuple
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
import requests

from cogen import trust
from cogen.remote import Client
from cogen.sharing.login import register
from cogen.sharing.publishing import hub, upload
from cogen.sharing.publishing.chain import vouch
from cogen.sharing.wheels import Wheel, read_wheel
from cogen.spec.expert import ExpertSpec
from cogen.trust.registries import Registry
from support.manifests import module_of
from support.served import Served
from support.servers import Server, send, serving
from support.trees import built, tree
from support.users import User


class Recorder:
    """As pytest's ``capsys``, for users who live longer than one test: records from one call to the next."""

    _Captured = namedtuple("_Captured", "out err")

    def __init__(self) -> None:
        self._kept: tuple[Any, Any] | None = None

    def readouterr(self) -> Any:
        if self._kept is None:
            self._kept = sys.stdout, sys.stderr
            sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
            return self._Captured("", "")
        reported = self._Captured(sys.stdout.getvalue(), sys.stderr.getvalue())  # type: ignore[union-attr,attr-defined]
        (sys.stdout, sys.stderr), self._kept = self._kept, None
        return reported


@dataclass
class Town:
    """``shelf``: path of a URL → hex SHA-256 of what has to come from there, for ever."""

    served: Served
    folder: Path
    shelf: dict[str, str] = field(default_factory=dict)
    wheels: dict[tuple[str, str], Wheel] = field(default_factory=dict)
    #: The commit of the weights of an expert's version.
    pinned: dict[tuple[str, str], str] = field(default_factory=dict)
    keys: dict[str, Path] = field(default_factory=dict)
    people: int = 0

    def client(self, publisher: str) -> Client:
        return Client(Registry(self.served.url, self.served.token(publisher)))

    def key(self, publisher: str) -> Path:
        """A registered private key."""
        if publisher not in self.keys:
            path = self.keys[publisher] = self.folder / f"{publisher}.pem"
            trust.new_key(path)
            with self.settings():
                register(self.client(publisher), publisher, path)
        return self.keys[publisher]

    @contextmanager
    def settings(self) -> Iterator[None]:
        """The publishers' own: what they pin."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("COGEN_CONFIG", str(self.folder / "config"))
            yield

    def publish(self, publisher: str, id: str, version: str = "1.0", *, signed: bool = True) -> Wheel:
        """What `cogen publish` sends, with the weights in a repository where it is signed."""
        folder, key = self.folder / f"{id}-{version}", self.key(publisher)
        tree(folder, id, version, apart=signed, seed=len(self.wheels))
        if signed:
            manifest = folder / module_of(id) / "expert.toml"
            place = hub.HubPlace(f"{publisher}/{id}", self.served.url, self.served.token(publisher))
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
                pinned = hub.upload(
                    folder / "weights",
                    place,
                    publisher=publisher,
                    project=f"cogen-plugin-{id}",
                    version=version,
                    key=key,
                    password=None,
                )
            hub.pin(folder, ExpertSpec.model_validate(tomllib.loads(manifest.read_text())), pinned)
            self.pinned[id, version] = pinned.revision
            for name in ("adapter_model.safetensors", "adapter_config.json"):
                path = f"/{publisher}/{id}/resolve/{pinned.revision}/{name}"
                self.shelf[path] = hashlib.sha256((folder / "weights" / name).read_bytes()).hexdigest()
        wheel = read_wheel(built(folder, folder / "dist"))
        sha256 = hashlib.sha256(wheel.path.read_bytes()).hexdigest()
        upload.upload_wheel(self.client(publisher), wheel, sha256)
        if signed:
            statement, bundle = self.signature(wheel, publisher, key)
            upload.upload_signature(self.client(publisher), statement, bundle)
            with self.settings():
                vouch(self.client(publisher), wheel.project, [statement], key)
        self.shelf[f"/files/{sha256}/{wheel.path.name}"] = sha256
        self.wheels[id, version] = wheel
        return wheel

    def signature(self, wheel: Wheel, publisher: str, key: Path, **changes: Any) -> tuple[Any, Any]:
        """(statement, bundle); ``changes`` are made before it is signed."""
        statement = trust.make_statement(wheel.path, publisher, wheel.experts) | changes
        return statement, trust.sign_statement(statement, key, None)

    def user(self, url: str | None = None) -> User:
        """Somebody new, who may read at ``url``."""
        self.people += 1
        home = self.folder / f"user-{self.people}"
        home.mkdir()
        user = User(home, pytest.MonkeyPatch(), Recorder())  # type: ignore[arg-type]
        user.ok("login", url or self.served.url, "--read-only")
        return user

    def stands(self) -> None:
        """The service is up, and whatever was published is there as it was."""
        self.served.healthy()
        for path, sha256 in self.shelf.items():
            assert hashlib.sha256(self.served.get(path).content).hexdigest() == sha256, path

    def held(self) -> dict[str, int]:
        """What takes room: blobs, and what is on its way to become one."""
        kinds = ("blobs/", "scratch/")
        return {name: size for name, size in self.served.files().items() if name.startswith(kinds) or "/xorbs/" in name}

    def post(self, publisher: str, path: Path, **fields: str) -> requests.Response:
        """Upload a file as twine does; ``fields`` change the form."""
        name, version = path.name.split("-")[:2]
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": name,
            "version": version,
        } | fields
        filename = form.pop("filename", path.name)
        return self.served.hub(publisher).send(
            "POST", "/legacy/", data=form, files={"content": (filename, path.read_bytes())}
        )


#: (path that was asked for, its answer's headers, its body) → what is sent instead.
Change = Callable[[str, dict[str, str], bytes], tuple[dict[str, str], bytes]]


@contextmanager
def lying(served: Served, change: Change) -> Iterator[Server]:
    """A registry that answers like ``served`` but for what ``change`` makes of it."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        asked = {name: handler.headers[name] for name in ("Range", "Accept") if name in handler.headers}
        true = served.get(handler.path, **asked)
        kept = {
            name: value
            for name, value in true.headers.items()
            if name.lower() not in ("content-length", "date", "connection", "transfer-encoding")
        }
        headers, body = change(handler.path, kept, true.content)
        send(handler, body, true.status_code, **headers)

    with serving(answer) as server:
        yield server
