"""Signed figures of a private suite, as `cogen eval --sign` prints them: :data:`support.textless.PRIVATE_SUITE`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from cogen.evals.figures import Figures, sign_figures
from cogen.trust import new_key, prove_possession
from cogen_registry.service import Service
from support.shelf import token
from support.textless import PRIVATE_SUITE

PATH = "/api/v1/private-figures"
#: Digest of the model that was measured.
COMPOSITE = "sha256:" + "5" * 64


def registered(path: Path, publisher: str, client: TestClient, service: Service, by: Path | None = None) -> Path:
    """A new key of a publisher, known to the registry. ``by``: the key that agrees to it, where there is one."""
    from cogen.trust import fingerprint, prove_succession

    pem = new_key(path)
    new: dict[str, Any] = {"pem": pem, "proof": prove_possession(path, publisher)}
    if by is not None:
        name, proof = prove_succession(by, publisher, fingerprint(pem))
        new["by"] = {"fingerprint": name, "proof": proof}
    answer = client.post("/api/v1/keys", json=new, headers=token(service, publisher))
    assert answer.status_code == 201, answer.text
    return path


def figures(**changes: Any) -> Figures:
    shared = ("title", "metric", "documents", "bytes", "text_digest", "date", "harness")
    document = {
        **{name: PRIVATE_SUITE[name] for name in shared},
        "suite": "notes",
        "model": {"name": "composite", "digest": COMPOSITE, "value": 1.25, "low": 1.2, "high": 1.3},
        "settings": {"dtype": "float32"},
    }
    return Figures.model_validate(document | changes)


def signed(key: Path, **changes: Any) -> dict[str, Any]:
    pem = key.with_suffix(".pub").read_text()
    found: dict[str, Any] = sign_figures(figures(**changes), key, pem, "team").model_dump(mode="json")
    return found
