"""Plans and locks that CoGen wrote before plans had version 2: they are read, mean the same and give the same bits.

The files in ``old/`` were written by that code. Where they name paths of the machine that wrote them, digests of
manifests differ here; a replay takes those of this machine's experts, and all else as it stands.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.families import Zoo

from cogen.artifacts.lock import Lock, read_lock, write_lock
from cogen.errors import SpecError
from cogen.fusion.details import from_version_1, to_version_1
from cogen.fusion.moe.routers import current_names
from cogen.fusion.plan import Plan, plan_digest, read_plan
from cogen.runs.execute import execute
from cogen.runs.replay import prepare_plan, prepare_replay, routers_beside
from cogen.spec.expert import canonical_digest

OLD = Path(__file__).parent / "old"
DIGESTS: dict[str, dict[str, str]] = json.loads((OLD / "digests.json").read_text())
NAMES = sorted(DIGESTS)


@pytest.mark.parametrize("name", NAMES)
def test_old_files_are_read(name: str) -> None:
    """With the digests that the old code computed; what was in a field of its own is in ``details``."""
    plan, lock = read_plan(OLD / name / "plan.json"), read_lock(OLD / name)
    assert {"digest": plan.digest, "inputs_digest": plan.inputs_digest} == DIGESTS[name]
    assert (plan.version, lock.version, lock.plan, lock.model_files) == (2, 3, plan, {})
    assert lock.plan_digest == plan.digest
    strategy = {"moe": "moe", "distill": "distill"}.get(name, "merge")
    assert (plan.strategy, plan.details.strategy) == (strategy, strategy)


@pytest.mark.parametrize("name", NAMES)
def test_the_canonical_form_is_the_old_one(name: str) -> None:
    """New → old is the old file, old → new is the new one: digests hold whichever code made them."""
    old = json.loads((OLD / name / "plan.json").read_text())
    new = json.loads(read_plan(OLD / name / "plan.json").model_dump_json())
    assert to_version_1(new) == old
    assert Plan.model_validate(from_version_1(old)) == Plan.model_validate(new)
    assert plan_digest(new) == plan_digest(old) == canonical_digest(old)
    assert (new["version"], "details" in new, "mixture" in new) == (2, True, False)


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_read_again(name: str, tmp_path: Path) -> None:
    """In the new form, with the same digest; an edited plan is still refused."""
    lock = read_lock(OLD / name)
    write_lock(lock, tmp_path / "cogen.lock")
    assert read_lock(tmp_path) == lock
    value = json.loads((tmp_path / "cogen.lock").read_text())
    assert (value["version"], value["plan"]["version"]) == (3, 2)
    value["plan"]["why"] = "because"
    (tmp_path / "cogen.lock").write_text(json.dumps(value))
    with pytest.raises(SpecError, match="is not the one that was locked"):
        read_lock(tmp_path)


def machine_of(name: str, world: Any, host: Any) -> Any:
    """The experts that the old code fused."""
    if name == "moe":
        zoo = Zoo(world)
        return host(zoo.anchored("e1", 1), zoo.anchored("e2", 2))
    ids = ("aa", "bb") if name == "distill" else ("e1", "e2")
    return host(*(world.expert(id, seed) for seed, id in enumerate(ids, 1)))


def here(name: str, machine: Any, folder: Path, file: str) -> Path:
    """A copy of an old file, still in the old form, with the digests that depend on paths as they are here."""
    value = json.loads((OLD / name / file).read_text())
    plan = value["plan"] if file == "cogen.lock" else value
    for planned in plan["experts"]:
        planned["spec_digest"] = machine.expert(planned["id"]).spec.digest
    if file == "cogen.lock":
        value["plan_digest"] = canonical_digest(plan)
    (folder / file).write_text(json.dumps(value))
    return folder / file


@pytest.fixture
def texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the distillation learned from, where its recipe names it."""
    lines = ["the power grid and the river", "a node of the network at the market"] * 4
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": line}) + "\n" for line in lines))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("cogen.fusion.distill.plan.general_suites", list)


@pytest.mark.parametrize("name", NAMES)
def test_old_locks_replay_to_the_same_bits(name: str, world: Any, host: Any, tmp_path: Path, texts: None) -> None:
    """Every digest of weights that the old code wrote down; router rows too, where their file is there."""
    import shutil

    import torch

    machine = machine_of(name, world, host)
    path = here(name, machine, tmp_path, "cogen.lock")
    if (OLD / name / "router.safetensors").is_file():
        shutil.copy(OLD / name / "router.safetensors", tmp_path)
    lock: Lock = read_lock(path)
    threads = torch.get_num_threads()
    torch.set_num_threads(lock.threads)
    try:
        prepared = prepare_replay(machine, lock, "the lock", level="none")
        outcome = execute(prepared, tmp_path / "out", replay=lock, routers=routers_beside(path))
    finally:
        torch.set_num_threads(threads)
    weights = {file: digest for file, digest in lock.files.items() if file.endswith(".safetensors")}
    assert outcome.lock is not None
    wanted = current_names(weights)
    assert {file: outcome.lock.files[file] for file in wanted} == wanted
    assert outcome.lock.weights_digest == lock.weights_digest
    assert (outcome.scale, outcome.parameters) == (lock.scale, lock.parameters)


@pytest.mark.parametrize("name", ["ties", "moe"])
def test_old_plans_are_carried_out(name: str, world: Any, host: Any, tmp_path: Path) -> None:
    """`cogen fuse --plan`: the bits of the lock that came of it."""
    machine = machine_of(name, world, host)
    plan = read_plan(here(name, machine, tmp_path, "plan.json"))
    outcome = execute(prepare_plan(machine, plan, "the plan"), tmp_path / "out")
    assert outcome.lock is not None
    assert outcome.lock.weights_digest == read_lock(OLD / name).weights_digest
