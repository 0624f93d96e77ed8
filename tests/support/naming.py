"""A registry whose projects have keys of their publishers, a messenger that changes what it brings, and a thief.

Projects are put into the tables by hand: what is signed of them needs no wheels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import requests

from cogen import trust
from cogen.remote import Client
from cogen.sharing.login import register
from cogen.sharing.names import Names, open_names
from cogen.sharing.publishing.chain import vouch
from cogen.trust.metadata.project import Chain
from cogen.trust.registries import Registry as Known
from cogen_registry.metadata import documents, state
from support import shelf
from support.hub import Registry
from support.servers import send, serving


@dataclass
class Ring:
    """``registry`` and the keys of its publishers."""

    registry: Registry
    folder: Path
    keys: dict[str, Path] = field(default_factory=dict)

    def client(self, team: str) -> Client:
        secret = shelf.token(self.registry.service, team)["Authorization"].removeprefix("Bearer ")
        return Client(Known(self.registry.url, secret))

    def key(self, team: str) -> Path:
        """A registered key."""
        if team not in self.keys:
            self.keys[team] = self.folder / f"{team}.pem"
            trust.new_key(self.keys[team])
            register(self.client(team), team, self.keys[team])
        return self.keys[team]

    def publish(self, id: str, version: str = "1.0", team: str = "team", **more: Any) -> Chain:
        """A release that is on its project's signed list."""
        key = self.key(team)
        shelf.put(self.registry.service, id, version, team=team, **more)
        chain = vouch(self.client(team), f"cogen-plugin-{id}", [statement(id, version)], key)
        assert chain is not None
        return chain

    def sign(self, files: dict[str, bytes | None], *projects: str) -> None:
        """What only who has the service's keys can do: sign whatever is to be said."""
        service = self.registry.service
        assert service.signer is not None
        with service.sessions.write() as session:
            service.signer.change(session, projects, files=files)

    def read(self, path: str) -> bytes:
        with self.registry.service.sessions.read() as session:
            data = state.read_file(session, path)
        assert data is not None
        return data

    def chain_files(self, project: str) -> dict[str, bytes]:
        """All documents of a project's chain."""
        found = {documents.targets_path(project): self.read(documents.targets_path(project))}
        number = 1
        with self.registry.service.sessions.read() as session:
            while (data := state.read_file(session, documents.root_path(project, number))) is not None:
                found[documents.root_path(project, number)] = data
                number += 1
        return found


def statement(id: str, version: str) -> dict[str, Any]:
    """What `make_statement` would say of a release that :func:`support.shelf.put` made."""
    expert = {
        "id": id,
        "spec_digest": "sha256:" + "1" * 64,
        "weights": {"source": "package://x", "revision": None, "file_digest": "sha256:" + "2" * 64},
    }
    return {
        "project": f"cogen-plugin-{id}",
        "version": version,
        "experts": [expert],
        "size": 1234,
        "filename": f"cogen_plugin_{id.replace('-', '_')}-{version}-py3-none-any.whl",
        "sha256": hashlib.sha256(f"{id} {version}".encode()).hexdigest(),
    }


#: (path, what the registry answers) → what is brought: bytes, or a status.
Bend = Callable[[str, bytes], bytes | int]


@dataclass
class Messenger:
    """Between client and registry. ``bend`` may be changed while it runs; ``brought``: path → the newest bytes."""

    url: str = ""
    bend: Bend = lambda path, body: body
    brought: dict[str, bytes] = field(default_factory=dict)

    def names(self, **options: Any) -> Names:
        return open_names(Client(Known(self.url), timeout=(5, 5)), **options)

    def old(self) -> Bend:
        """Bring what was brought until now, and what was not asked for yet as it is: a mirror that stopped."""
        kept = dict(self.brought)
        return lambda path, body: kept.get(path, body)


@contextmanager
def messenger(registry: Registry) -> Iterator[Messenger]:
    found = Messenger()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        with requests.Session() as session:
            session.trust_env = False
            true = session.get(registry.url + handler.path, timeout=30)
        brought: bytes | int = found.bend(handler.path, true.content)
        if isinstance(brought, int):
            send(handler, {"error": "lost", "hint": "none"}, brought)
            return
        if true.status_code == 200:
            found.brought[handler.path] = true.content
        status = 200 if brought is not true.content else true.status_code
        send(handler, brought, status, Content_Type="application/json")

    with serving(answer) as server:
        found.url = server.url
        yield found
