"""A registry with something of everything to look at: experts with real wheels, weights, evidence, keys, composites."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import math
import zipfile
from typing import Any

from sqlalchemy import select, update

from cogen.spec.expert import ExpertSpec, canonical_digest
from cogen_registry.auth import Principal
from cogen_registry.database.tables import (
    Commit,
    Entry,
    Expert,
    Key,
    Possession,
    Publisher,
    Reference,
    Release,
    Repository,
)
from cogen_registry.experts import composites, evaluations, models
from cogen_registry.service import Service
from cogen_registry.weights.reading import git_oid
from support.manifests import ZERO, files, manifest, module_of
from support.shelf import put, token

HOSTILE: dict[str, Any] = {
    "title": "<script>alert('title')</script><img src=x onerror=alert(1)> {{ 7 * 7 }} \u202egnp.exe" + "W" * 150,
    "summary": "\"'><svg onload=alert(2)></title></style><b>bold</b>",
    "homepage": "javascript:alert(3)",
    "contact": 'https://evil.example/" onmouseover=alert(4) x="',
    "domains": ["<iframe src=//evil.example>", "testing"],
}


def keep(service: Service, data: bytes) -> str:
    """Bytes as a blob."""
    with service.blobs.stage() as staged:
        staged.write(data)
        return staged.keep()


def wheel(id: str, version: str, requires: str | None = None) -> tuple[bytes, bytes]:
    """(a wheel that pip installs, its METADATA)."""
    module = module_of(id)
    info = f"{module}-{version}.dist-info"
    metadata = (
        f"Metadata-Version: 2.4\nName: cogen-plugin-{id}\nVersion: {version}\nSummary: An expert\n"
        + (f"Requires-Dist: {requires}\n" if requires else "")
        + "\nText.\n"
    ).encode()
    members = {f"{module}/{name}": data for name, data in files(id).items()}
    members |= {
        f"{module}/__init__.py": b"",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[cogen]\n{id} = {module}\n".encode(),
    }
    lines = []
    for name, data in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    members[f"{info}/RECORD"] = ("".join(lines) + f"{info}/RECORD,,\n").encode()
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return file.getvalue(), metadata


def stock(service: Service, id: str = "power", version: str = "1.0", **changes: Any) -> int:
    """:func:`support.shelf.put` with a real wheel behind it; the row of ``experts``."""
    row = put(service, id, version, **changes)
    data, metadata = wheel(id, version)
    values = {"sha256": keep(service, data), "size": len(data), "metadata_sha256": keep(service, metadata)}
    with service.sessions.write() as session:
        release = session.scalar(select(Expert.release_id).where(Expert.id == row))
        session.execute(update(Release).where(Release.id == release).values(**values))
        service.change(session, "project", f"cogen-plugin-{id}")
    service.changed()
    return row


def claimed(id: str, value: float = 1.0) -> list[dict[str, Any]]:
    """Suites whose held-out text has a claim."""
    suites = manifest(id)["suites"]
    suites[0]["claim"] = {"value": value, "documents": 30, "date": "2026-01-02", "harness": "lm_eval 0.4.9"}
    return list(suites)


def principal(service: Service, name: str) -> Principal:
    token(service, name)
    with service.sessions.read() as session:
        id = session.scalars(select(Publisher.id).where(Publisher.name == name)).one()
    return Principal(id, name, frozenset(("evaluations",)), {})


def measure(service: Service, row: int, by: str, value: float, around: float | None = 0.05) -> models.Measured:
    """A measurement of the suite ``heldout``, with an interval of ``value`` ± ``around``."""
    figures = [(value * 100, 100.0)] * 30
    value = math.fsum(top for top, _ in figures) / math.fsum(bottom for _, bottom in figures)
    new = models.NewEvaluation(
        suite="heldout",
        metric="bits_per_byte",
        split="test",
        value=value,
        documents=30,
        harness="lm_eval 0.4.9",
        low=None if around is None else value - around,
        high=None if around is None else value + around,
        evidence=models.Evidence(per_document=figures),
    )
    return evaluations.add(service, principal(service, by), row, new)[0]


def repository(service: Service, publisher: str, name: str, content: dict[str, bytes]) -> str:
    """Weights with one commit and the branch main; its oid."""
    owner, oid = principal(service, publisher), hashlib.sha1(f"{publisher}/{name}".encode()).hexdigest()
    with service.sessions.write() as session:
        made = Repository(publisher_id=owner.id, name=name, key=f"{publisher}/{name}".lower())
        session.add(made)
        session.flush()
        commit = Commit(repository_id=made.id, oid=oid, summary="first")
        for path, data in content.items():
            sha256 = keep(service, data)
            session.merge(Possession(repository_id=made.id, sha256=sha256, size=len(data)))
            large = path.endswith(".safetensors")
            commit.entries.append(
                Entry(path=path, sha256=sha256, size=len(data), oid=sha256 if large else git_oid(data), lfs=large)
            )
        session.add_all([commit, Reference(repository_id=made.id, name="main", kind="branch", oid=oid)])
    service.changed()
    return oid


def lock(service: Service, *ids: str) -> dict[str, Any]:
    """A lock as `cogen fuse` writes it, over experts that are here; the key of the first one was checked."""
    with service.sessions.read() as session:
        found = {
            row.expert: (ExpertSpec.model_validate(row.spec), row.publisher)
            for row in session.scalars(select(Expert).where(Expert.expert.in_(ids), Expert.current))
        }
    experts = [
        {
            "id": spec.id,
            "title": spec.title,
            "distribution": f"cogen-plugin-{spec.id}",
            "version": "1.0",
            "publisher": spec.publisher,
            "license": spec.license,
            "derivatives": spec.derivatives,
            "relation": spec.model.relation,
            "spec_digest": spec.digest,
            "file_digest": spec.model.file_digest,
            "weights_digest": spec.model.weights_digest,
            "data_digest": ZERO,
            "weight": 1.0,
        }
        for spec in (found[id][0] for id in ids)
    ]
    plan = {
        "cogen": "0.1.0",
        "strategy": "merge",
        "method": "ties",
        "why": "one base",
        "base": manifest("power")["model"]["base"],
        "tokenizer_digest": ZERO,
        "architecture": "LlamaForCausalLM",
        "dtype": "bfloat16",
        "experts": experts,
        "parameters": {},
        "scales": [1.0],
        "level": "full",
        "eval_dtype": "float32",
        "suites": [],
        "license": "Apache-2.0",
        "tensors": 1,
        "changed_tensors": 1,
        "cost": {"search_tokens": 0, "matrix_tokens": 0, "output_bytes": 1, "scratch_bytes": 1, "memory_bytes": 1},
    }
    columns = [f"{id}/heldout" for id in ids]

    def cell(value: float) -> dict[str, Any]:
        return {"metric": "bits_per_byte", "value": value, "low": value - 0.02, "high": value + 0.02, "n": 30}

    values = {"base": 1.0, "composite": 0.9} | {id: 0.85 + 0.15 * place for place, id in enumerate(ids)}
    matrix = {
        "part": "test",
        "level": "full",
        "rows": ["base", *ids, "composite"],
        "columns": columns,
        "cells": {row: {column: cell(value) for column in columns} for row, value in values.items()},
    }
    source = {
        "distribution": f"cogen-plugin-{ids[0]}",
        "version": "1.0",
        "publisher": found[ids[0]][1],
        "key": "sha256:" + "ab" * 32,
        "sha256": "0" * 64,
        "registry": "https://models.example.org",
    }
    return {
        "version": 1,
        "created": "2026-01-01T00:00:00Z",
        "cogen": "0.1.0",
        "plan": plan,
        "plan_digest": canonical_digest(plan),
        "scale": 1.0,
        "trials": [],
        "seed": None,
        "software": {},
        "platform": "Linux x86_64",
        "threads": 1,
        "files": {"model.safetensors": ZERO},
        "weights_digest": ZERO,
        "matrix": matrix,
        "sources": {ids[0]: source},
    }


def compose(service: Service, by: str, name: str, *ids: str, card: str = "", title: str = "Both of them") -> None:
    """Show a composite of experts that are here."""
    new = models.NewComposite(name=name, title=title, lock=json.loads(json.dumps(lock(service, *ids))), card=card)
    composites.add(service, principal(service, by), new)


def fill(service: Service) -> None:
    """Evidence of three parties, a yanked version, a quarantined one, weights apart, and malice."""
    row = stock(service, "clinical", "1.0", team="hospital", title="Clinical notes", suites=claimed("clinical"))
    for by, value in (("hospital", 1.0), ("gridworks", 1.02), ("critic", 1.3)):
        measure(service, row, by, value)
    measure(service, row, "critic", 1.4, around=None)
    stock(service, "power", "0.9", team="gridworks", title="Power grid")
    stock(service, "power", "1.0", team="gridworks", title="Power grid", domains=["power grid", "testing"])
    stock(service, "old", "1.0", team="gridworks", yanked="trained on <the> wrong split")
    stock(service, "secret", "1.0", team="gridworks", state="quarantined", title="Quarantined title")
    stock(service, "hostile", "1.0", team="mallory", **HOSTILE)
    oid = repository(service, "hospital", "weights", {"config.json": b"{}", "model.safetensors": b"bytes"})
    model = manifest("apart")["model"] | {"source": "hf://hospital/weights", "revision": oid}
    stock(service, "apart", "1.0", team="hospital", title="Weights apart", model=model)
    for number in range(25):
        topic, size = f"topic {number % 3}", 10**6 * (number + 1)
        stock(service, f"many-{number}", "1.0", team="bulk", domains=[topic], parameters=size)
    compose(service, "gridworks", "both", "clinical", "power", card="# Both\n\n<script>alert(9)</script>")
    owner = principal(service, "hospital")
    with service.sessions.write() as session:
        session.add(Key(publisher_id=owner.id, fingerprint="sha256:" + "ab" * 32, pem="PEM OF THE KEY"))
    service.changed()
