"""What a client's refresh of signed metadata costs in a registry of many projects; and why hashed bins.

    python benchmarks/names.py [--projects 100000] [--bins 1024]

Writes releases.json, 1.root.json and targets.json of every project straight into the tables, signs all bins, serves
them, and prints one JSON document: bytes and seconds of a first refresh, of one after a publication, of one where
nothing changed; seconds of a publication; and how large snapshot.json would be with a delegated role for each project.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

REPEATS = 9


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=100_000)
    parser.add_argument("--bins", type=int, default=1024)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cogen-names-") as place:
        os.environ["COGEN_CONFIG"] = str(Path(place) / "config")
        print(json.dumps(measure(Path(place), options.projects, options.bins), indent=2))


def measure(place: Path, projects: int, bins: int) -> dict[str, Any]:
    """See the module."""
    from cogen_registry.cli import main as registry

    root = place / "root"
    assert registry(["init", "--root", str(root), "--bins", str(bins), "--offline", str(place / "offline")]) == 0
    started = time.perf_counter()
    fill(root, projects)
    found: dict[str, Any] = {"projects": projects, "bins": bins, "filled_s": round(time.perf_counter() - started, 1)}
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from support.served import started as serve

    with serve(root) as served:
        first = [refresh(served.url, place / f"first-{n}", n * 97 % projects) for n in range(REPEATS)]
        again = [refresh(served.url, place / "first-0", n * 101 % projects) for n in range(REPEATS)]
        publications, after = [], []
        for n in range(REPEATS):
            publications.append(publish(root, n * 89 % projects))
            after.append(refresh(served.url, place / "first-0", n * 89 % projects))
    found["first_refresh"] = summary(first)
    found["refresh_of_another_project"] = summary(again)
    found["refresh_after_a_publication"] = summary(after)
    found["publication_s"] = round(statistics.median(publications), 4)
    found["snapshot_with_a_role_for_each_project_bytes"] = delegated(projects)
    return found


def files_of(number: int, version: int = 1) -> dict[str, bytes]:
    """Documents of about the size that real ones have."""
    name = f"cogen-plugin-e{number}"
    noise = hashlib.sha256(f"{number} {version}".encode()).hexdigest()
    return {
        f"projects/{name}/releases.json": json.dumps(
            {
                "schema": 1,
                "project": name,
                "publisher": "team",
                "releases": [
                    {
                        "version": "1.0",
                        "filename": f"{name}-1.0-py3-none-any.whl",
                        "sha256": noise,
                        "size": 1,
                        "yanked": None,
                        "key": f"sha256:{noise}",
                        "experts": [f"e{number}"],
                    }
                ],
            }
        ).encode(),
        f"projects/{name}/1.root.json": (noise * 20).encode(),
        f"projects/{name}/targets.json": (noise * 16).encode(),
    }


def fill(root: Path, projects: int) -> None:
    from sqlalchemy import insert

    from cogen_registry.database.sessions import Sessions, connect
    from cogen_registry.database.tables import SignedFile
    from cogen_registry.metadata.keys import load_online
    from cogen_registry.metadata.signer import Signer, bins_of
    from cogen_registry.settings import Settings

    sessions = Sessions(connect(Settings(root=root).database_url))
    with sessions.write() as session:
        roles = bins_of(session)
        for start in range(0, projects, 5000):
            rows = [
                {
                    "path": path,
                    "sha256": hashlib.sha256(data).hexdigest(),
                    "bin": roles.get_role_for_target(path),
                    "length": len(data),
                    "data": data,
                }
                for number in range(start, min(start + 5000, projects))
                for path, data in files_of(number).items()
            ]
            session.execute(insert(SignedFile), rows)
        Signer(load_online(root / "keys")).sign_bins(session, list(roles.get_roles()))
    sessions.engine.dispose()


def publish(root: Path, number: int) -> float:
    """Seconds to sign a change of one project, within a transaction that is committed."""
    from cogen_registry.database.sessions import Sessions, connect
    from cogen_registry.metadata.keys import load_online
    from cogen_registry.metadata.signer import Signer
    from cogen_registry.settings import Settings

    sessions = Sessions(connect(Settings(root=root).database_url))
    signer = Signer(load_online(root / "keys"))
    changed = {path: data for path, data in files_of(number, 2).items() if not path.endswith("root.json")}
    started = time.perf_counter()
    with sessions.write() as session:
        signer.change(session, files=changed)
    seconds = time.perf_counter() - started
    sessions.engine.dispose()
    return seconds


def refresh(url: str, config: Path, number: int) -> tuple[int, float, float]:
    """(bytes, seconds, those of this process's CPU) of all that `cogen add` reads of one project's signed metadata."""
    from cogen.remote import Client
    from cogen.sharing.names import open_names
    from cogen.trust.registries import Registry

    os.environ["COGEN_CONFIG"] = str(config)
    received = 0

    class Counting(Client):
        def _blocks(self, response: Any, size: int) -> Any:
            nonlocal received
            for block in super()._blocks(response, size):
                received += len(block)
                yield block

    started, worked = time.perf_counter(), time.process_time()
    names = open_names(Counting(Registry(url)))
    assert names.releases(f"cogen-plugin-e{number}")
    assert names.documents(f"cogen-plugin-e{number}")
    return received, time.perf_counter() - started, time.process_time() - worked


def summary(found: list[tuple[int, float, float]]) -> dict[str, Any]:
    seconds = sorted(second for _, second, _ in found)
    return {
        "bytes": max(size for size, _, _ in found),
        "cpu_s": round(statistics.median(worked for _, _, worked in found), 3),
        "median_s": round(statistics.median(seconds), 3),
        "slowest_s": round(seconds[-1], 3),
    }


def delegated(projects: int) -> int:
    from tuf.api.metadata import Metadata, MetaFile, Snapshot
    from tuf.api.serialization.json import JSONSerializer

    meta = {f"cogen-plugin-e{number}.json": MetaFile(1) for number in range(projects)}
    return len(Metadata(Snapshot(meta=meta)).to_bytes(JSONSerializer(compact=True)))


if __name__ == "__main__":
    main()
