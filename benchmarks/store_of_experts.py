"""A registry's store full of made-up experts, for benchmarks/registry.py."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path
from typing import Any

SUBJECTS = (
    "tumour staging oncology",
    "radiology reports imaging",
    "power grid load forecasting",
    "materials alloys fatigue",
    "neuroscience spikes cortex",
    "contract law clauses",
    "patent claims chemistry",
    "protein folding biology",
    "weather forecasting climate",
    "supply chain logistics",
    "banking fraud detection",
    "insurance claims",
    "legal court decisions",
    "tax accounting rules",
    "aviation maintenance",
    "railway signalling",
    "automotive diagnostics",
    "semiconductor layout",
    "software testing python",
    "database query tuning",
    "network security incidents",
    "compiler optimisation",
    "astronomy spectra",
    "geology seismic",
    "oceanography currents",
    "agriculture crop disease",
    "veterinary medicine",
    "pharmacology interactions",
    "nursing care plans",
    "psychology therapy",
    "education lesson plans",
    "poetry translation",
    "music theory harmony",
    "history archives",
    "philosophy ethics",
    "architecture building codes",
    "tourism reviews",
    "cooking recipes nutrition",
    "sports statistics",
    "customer support telecom",
)
LANGUAGES = ("en", "en-gb", "de", "fr", "es", "zh", "ja", "pt-br")
LICENSES = ("Apache-2.0", "MIT", "CC-BY-4.0", "LicenseRef-Proprietary", "MIT OR Apache-2.0")
BASES = tuple(f"Base model {i}" for i in range(50))
SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "xo", "zu")
BATCH = 2000


def fill(root: Path, count: int) -> None:
    """Write ``count`` released experts and the text index; the tables' own triggers do the rest."""
    import numpy as np
    from sqlalchemy import insert, text

    from cogen.routing.embedder import DEFAULT_DIGEST
    from cogen_registry.database.tables import Domain, Expert, Language, Project, Publisher, Release
    from cogen_registry.service import Service
    from cogen_registry.settings import Settings

    service = Service.open(Settings(root=root, embedder="none"))
    subjects = _embedded()
    draw, numbers = random.Random(0), np.random.default_rng(0)
    with service.sessions.write() as session:
        session.execute(
            insert(Publisher), [{"name": f"team-{i}", "title": f"Team {i}", "limits": {}} for i in range(500)]
        )
        session.execute(text("INSERT INTO search_state VALUES ('embedder', :value)"), {"value": DEFAULT_DIGEST})
    manifest = _manifest()
    for start in range(0, count, BATCH):
        ids = range(start + 1, min(start + BATCH, count) + 1)
        with service.sessions.write() as session:
            rows = [_expert(id, draw, numbers, subjects, manifest) for id in ids]
            session.execute(insert(Project), [row["project"] for row in rows])
            session.execute(insert(Release), [row["release"] for row in rows])
            session.execute(insert(Expert), [row["expert"] for row in rows])
            session.execute(insert(Domain), [one for row in rows for one in row["domains"]])
            session.execute(insert(Language), [one for row in rows for one in row["languages"]])
    service.close()


def _embedded() -> Any:
    """Unit vectors of the subjects, shape (subjects, 384)."""
    from cogen.routing.embedder import Embedder

    return Embedder().encode(SUBJECTS).numpy()


def _manifest() -> dict[str, Any]:
    """That of a real expert: what is not looked at here should be as long as it is."""
    import tomllib

    from cogen.spec.expert import ExpertSpec

    path = Path(__file__).parents[1] / "plugins/cogen-plugin-clinical/src/cogen_plugin_clinical/expert.toml"
    return ExpertSpec.model_validate(tomllib.loads(path.read_text(encoding="utf-8"))).model_dump(mode="json")


def made_up(draw: random.Random, count: int) -> str:
    """Made-up words; the n-th most frequent is drawn about n times more seldom than the first."""
    found = []
    for _ in range(count):
        rank = int(20_000 ** draw.random())
        found.append("".join(SYLLABLES[(rank // 15**place) % 15] for place in range(4)))
    return " ".join(found)


def _expert(id: int, draw: random.Random, numbers: Any, subjects: Any, manifest: dict[str, Any]) -> dict[str, Any]:
    import numpy as np

    subject = draw.randrange(len(SUBJECTS))
    words = SUBJECTS[subject].split()
    name, version = f"e{id}-{words[0]}", f"{draw.randrange(9)}.{draw.randrange(9)}"
    title, summary = f"{' '.join(words)} {made_up(draw, 2)}", f"{made_up(draw, 8)} {words[-1]} {made_up(draw, 3)}"
    noise = numbers.normal(size=subjects.shape[1]) / np.sqrt(subjects.shape[1])
    vector = 0.8 * subjects[subject] + noise
    sha256 = hashlib.sha256(str(id).encode()).hexdigest()
    base, license = draw.randrange(len(BASES)), draw.choice(LICENSES)
    tags = draw.sample(LANGUAGES, draw.randint(1, 2))
    domains = {SUBJECTS[subject], words[0], draw.choice(SUBJECTS)}
    spec = manifest | {"id": name, "title": title, "summary": summary, "domains": sorted(domains), "languages": tags}
    publisher = 1 + draw.randrange(500)
    return {
        "project": {"id": id, "name": f"cogen-plugin-{name}", "look": str(id), "publisher_id": publisher},
        "release": {
            "id": id,
            "project_id": id,
            "version": version,
            "same": version,
            "state": "released",
            "sha256": sha256,
            "filename": f"cogen_plugin_{name.replace('-', '_')}-{version}-py3-none-any.whl",
            "size": 10_000_000 + id,
            "metadata_sha256": sha256,
            "summary": summary,
            "requires_python": ">=3.11",
            "code": False,
        },
        "expert": {
            "id": id,
            "release_id": id,
            "expert": name,
            "current": True,
            "title": title,
            "summary": summary,
            "publisher": f"team-{publisher - 1}",
            "license": license,
            "architecture": "LlamaForCausalLM",
            "relation": "ffn",
            "parameters": int(10 ** draw.uniform(6, 11)),
            "base_name": BASES[base],
            "lineage": "sha256:" + hashlib.sha256(str(base).encode()).hexdigest(),
            "spec": spec,
            "text": f"{title}\n{summary}\n{', '.join(domains)}\n{made_up(draw, 60)}",
            "vector": (vector / np.linalg.norm(vector)).astype("<f4").tobytes(),
        },
        "domains": [{"expert_id": id, "name": one} for one in domains],
        "languages": [{"expert_id": id, "tag": one} for one in tags],
    }


# --------------------------------------------------------------------------------------------------------- the server
