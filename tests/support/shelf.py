"""A registry whose experts were put into its tables by hand: what reads them needs no uploads."""

from __future__ import annotations

import atexit
import hashlib
import io
import shutil
import tempfile
from contextlib import redirect_stderr, redirect_stdout
from functools import cache
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_version
from packaging.version import Version
from sqlalchemy import select, update

from cogen.spec.expert import ExpertSpec
from cogen_registry.auth import SCOPES, new_token
from cogen_registry.database.tables import Domain, Expert, Language, Project, Publisher, Release
from cogen_registry.search.text import text_of
from cogen_registry.service import Service
from cogen_registry.settings import Settings
from support.manifests import manifest


@cache
def _empty() -> Path:
    """A root whose database has all tables and keys; copying it is quicker than making one for every test."""
    folder = Path(tempfile.mkdtemp(prefix="cogen-registry-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    initialise(folder / "root")
    return folder / "root"


def offline() -> Path:
    """The operator's keys of every :func:`fresh_root`."""
    return _empty().with_name("root-offline")


def initialise(root: Path, database: str | None = None) -> None:
    """As `cogen-registry init` does it, with two keys of which both sign, few bins, and the operator's keys beside."""
    more = ["--database", database] if database else []
    more += ["--offline", str(root.with_name(f"{root.name}-offline"))]
    command("init", "--root", str(root), "--root-keys", "2", "--bins", "4", *more)


def command(*arguments: str, code: int = 0) -> str:
    """Standard output, then standard error, of `cogen-registry …`, which has to end with ``code``."""
    from cogen_registry.cli import main

    output, errors = io.StringIO(), io.StringIO()
    with redirect_stdout(output), redirect_stderr(errors):
        found = main(arguments)
    text = output.getvalue() + errors.getvalue()
    assert found == code, text
    return text


def fresh_root(root: Path) -> Path:
    """An empty registry at ``root``."""
    return Path(shutil.copytree(_empty(), root))


def open_service(root: Path, **settings: Any) -> Service:
    """Without a model unless ``embedder`` names one."""
    fresh_root(root)
    return Service.open(Settings.model_validate({"root": root, "embedder": "none"} | settings))


def token(service: Service, publisher: str = "team", scopes: list[str] | None = None) -> dict[str, str]:
    """Headers of a request by a publisher, who is added if he is new."""
    with service.sessions.write() as session:
        found = _publisher(session, publisher)
        secret = new_token(session, found, list(SCOPES) if scopes is None else scopes)
    return {"Authorization": f"Bearer {secret}"}


def put(
    service: Service,
    id: str = "power",
    version: str = "1.0",
    *,
    team: str = "team",
    state: str = "released",
    parameters: int = 1000,
    yanked: str | None = None,
    code: bool | None = False,
    **changes: Any,
) -> int:
    """One released expert; its row's id. It becomes the current one. ``changes`` are of its manifest."""
    document = manifest(id, **changes)
    document["model"]["parameters"] = parameters
    spec = ExpertSpec.model_validate(document)
    name = f"cogen-plugin-{id}"
    with service.sessions.write() as session:
        publisher = _publisher(session, team)
        project = session.scalar(select(Project).where(Project.name == name))
        if project is None:
            project = Project(name=name, look=id, publisher_id=publisher.id)
            session.add(project)
            session.flush()
        sha256 = hashlib.sha256(f"{id} {version}".encode()).hexdigest()
        release = Release(
            project_id=project.id,
            version=version,
            same=canonicalize_version(Version(version)),
            state=state,
            yanked=yanked,
            filename=f"{name.replace('-', '_')}-{version}-py3-none-any.whl",
            sha256=sha256,
            size=1234,
            metadata_sha256=sha256,
            summary=spec.summary,
            code=code,
        )
        session.add(release)
        session.flush()
        current = state == "released" and yanked is None
        if current:
            session.execute(update(Expert).where(Expert.expert == id).values(current=False))
        row = Expert(
            release_id=release.id,
            expert=id,
            current=current,
            title=spec.title,
            summary=spec.summary,
            publisher=team,
            license=spec.license,
            architecture=spec.model.architecture,
            relation=spec.model.relation,
            parameters=parameters,
            base_name=spec.model.base.name if spec.model.base else None,
            lineage=spec.model.lineage,
            spec=spec.model_dump(mode="json"),
            text=text_of(spec),
            domains=[Domain(name=one.lower()) for one in spec.domains],
            languages=[Language(tag=one.lower()) for one in spec.languages],
        )
        session.add(row)
        session.flush()
        made = row.id
        service.change(session, "project", name)
    service.changed()
    return made


def _publisher(session: Any, name: str) -> Publisher:
    found: Publisher | None = session.scalar(select(Publisher).where(Publisher.name == name))
    if found is None:
        found = Publisher(name=name, title=name.title(), limits={})
        session.add(found)
        session.flush()
    return found
