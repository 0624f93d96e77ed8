"""One served registry, with uploads by hand and the operator's commands beside it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from support import wheels
from support.served import Served


@dataclass
class Desk:
    """One served registry with uploads by hand. ``folder``: where wheels are built."""

    served: Served
    folder: Path

    def upload(self, publisher: str, id: str, version: str = "1.0", token: str | None = None, **changes: Any) -> Any:
        """The answer to an upload of a plugin with one expert."""
        path = wheels.build(self.folder, id, version, **changes)
        return self.send(path, token or self.served.token(publisher))

    def send(self, path: Path, token: str, **fields: str) -> requests.Response:
        name, version = path.name.split("-")[:2]
        form = {
            ":action": "file_upload",
            "protocol_version": "1",
            "filetype": "bdist_wheel",
            "name": name,
            "version": version,
        } | fields
        return self.ask(
            "POST",
            "/legacy/",
            data=form,
            files={"content": (path.name, path.read_bytes())},
            headers={"Authorization": f"Bearer {token}"},
        )

    def published(self, publisher: str, id: str, version: str = "1.0", **changes: Any) -> str:
        """The path of the wheel of a new release."""
        answer = self.upload(publisher, id, version, **changes)
        assert answer.status_code == 200, answer.text
        assert answer.json()["state"] == "released"
        path = self.folder / f"cogen_plugin_{id.replace('-', '_')}-{version}-py3-none-any.whl"
        return f"/files/{hashlib.sha256(path.read_bytes()).hexdigest()}/{path.name}"

    def ask(self, method: str, path: str, publisher: str | None = None, **options: Any) -> requests.Response:
        headers = dict(options.pop("headers", {}))
        if publisher:
            headers["Authorization"] = f"Bearer {self.served.token(publisher)}"
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.served.url + path, headers=headers, timeout=30, **options)

    def get(self, path: str, **headers: str) -> requests.Response:
        return self.ask("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})

    def page(self, path: str) -> requests.Response:
        """As a browser asks."""
        return self.get(path, Accept="text/html,application/xhtml+xml")

    def command(self, *arguments: str, code: int = 0) -> str:
        return self.served.command(*arguments, code=code)
