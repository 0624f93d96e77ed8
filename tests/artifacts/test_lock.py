"""``cogen.lock``: what it keeps, that it is stable, and what it notices."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cogen.artifacts.lock import Lock, make_lock, read_lock, verify, write_lock
from cogen.errors import SpecError
from cogen.fusion.merge.measure import Trial
from cogen.fusion.plan import plan_digest
from cogen.spec.expert import canonical_digest


def test_a_lock_survives_its_file(lock: Lock, folder: Path) -> None:
    """read(write(lock)) = lock, from the file or from its folder."""
    write_lock(lock, folder / "cogen.lock")
    assert read_lock(folder / "cogen.lock") == lock
    assert read_lock(folder) == lock


def test_the_same_run_writes_the_same_bytes(plan: Any, trials: Any, folder: Path, matrix: Any, tmp_path: Path) -> None:
    """Same input, same bytes, except `created`; keys are sorted."""
    texts = []
    for moment in ("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z"):
        write_lock(make_lock(plan, 0.6, trials, folder, matrix, created=moment), tmp_path / "lock")
        texts.append((tmp_path / "lock").read_text())
        # What lies beside the checkpoint plays no part, so a lock can be made again after it was written.
        for name in ("cogen.lock", "README.md", "report.html"):
            (folder / name).write_text(moment)
    assert texts[0] != texts[1]
    assert texts[0].replace("2026-01-01", "2026-01-02") == texts[1]
    value = json.loads(texts[0])
    assert json.dumps(value, sort_keys=True) == json.dumps(value)


def test_a_lock_says_what_was_used(lock: Lock, plan: Any, trials: list[Trial], matrix: Any, folder: Path) -> None:
    """Scale, trials, digests of plan and files, versions, and the matrix without single documents."""
    assert lock.plan_digest == plan.digest
    assert [Trial(**trial.model_dump()) for trial in lock.trials] == trials
    assert sorted(lock.files) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert {"python", "torch", "transformers", "safetensors", "numpy", "gguf"} <= set(lock.software)
    assert lock.seed is None
    assert lock.matrix is not None
    assert lock.matrix.rows == matrix.rows
    for row, cells in matrix.cells.items():
        for column, result in cells.items():
            cell = lock.matrix.cells[row][column]
            assert (cell.value, cell.low, cell.high, cell.n) == (result.value, result.low, result.high, result.n)
    assert "per_document" not in json.dumps(lock.model_dump(mode="json"))
    assert make_lock(plan, 0.6, [], folder, None).matrix is None
    assert make_lock(plan.model_copy(update={"parameters": {"seed": 7.0}}), 0.6, [], folder, None).seed == 7


def test_a_lock_says_what_was_tuned(plan: Any, folder: Path) -> None:
    """Parameters and weights of the choice and of every candidate, and why one could not be measured."""
    chosen = {"density": 0.31, "weight.power": 1.25}
    trials = [Trial(1.4, -0.3, {"power/heldout": 0.74}, chosen), Trial(1.4, None, {}, {"density": 0.0}, "too thin")]
    write_lock(make_lock(plan, 1.4, trials, folder, None, parameters=chosen), folder / "cogen.lock")
    lock = read_lock(folder)
    assert (lock.scale, lock.parameters) == (1.4, chosen)
    assert [Trial(**trial.model_dump()) for trial in lock.trials] == trials


def test_a_lock_of_before_there_was_tuning(lock: Lock, tmp_path: Path) -> None:
    """Without the fields that came later: read, with nothing tuned."""
    value = lock.model_dump(mode="json")
    del value["parameters"], value["plan"]["search"], value["plan"]["space"]
    for trial in value["trials"]:
        del trial["parameters"], trial["failure"]
    for expert in value["plan"]["experts"]:
        del expert["parameters"]
    value["plan_digest"] = plan_digest(value["plan"])
    (tmp_path / "cogen.lock").write_text(json.dumps(value))
    read = read_lock(tmp_path)
    assert (read.parameters, read.plan.search, read.plan.space) == ({}, 0, {})
    assert (read.scale, read.trials, read.plan) == (lock.scale, lock.trials, lock.plan)


def test_verify_finds_what_differs(lock: Lock, folder: Path) -> None:
    """A changed byte, a missing file and one that came later are named; what is not loaded is not."""
    assert verify(lock, folder) == []
    (folder / "README.md").write_text("hello")
    (folder / ".gitattributes").write_text("*.json")
    assert verify(lock, folder) == []
    weights = folder / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    assert verify(lock, folder) == ["model.safetensors"]
    (folder / "tokenizer.json").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    assert verify(lock, folder) == ["model.safetensors", "pytorch_model.bin", "tokenizer.json"]


def test_weights_digest_is_of_the_tensors(lock: Lock, plan: Any, folder: Path) -> None:
    """Another config is another file, but the same weights."""
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "note": 1}))
    again = make_lock(plan, 0.6, [], folder, None)
    assert again.weights_digest == lock.weights_digest
    assert again.files["config.json"] != lock.files["config.json"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 4}, "a lock of version 4, this CoGen reads version 3"),
        ({"version": None}, "a lock of version None"),
        ({"scale": "much"}, "is not a lock: scale: "),
        ({"surprise": 1}, "is not a lock: surprise: "),
        ({"files": {"../secret": canonical_digest("")}}, "must be a path inside"),
        ({"files": {}}, "is not a lock: files: "),
    ],
)
def test_a_bad_lock_is_refused(lock: Lock, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    """The first thing that is wrong is named, with a hint."""
    path = tmp_path / "cogen.lock"
    path.write_text(json.dumps(lock.model_dump(mode="json") | change))
    with pytest.raises(SpecError, match=message) as caught:
        read_lock(path)
    assert caught.value.hint


def test_an_edited_plan_is_refused(lock: Lock, tmp_path: Path) -> None:
    """The plan in the file must be the one whose digest was locked."""
    value = lock.model_dump(mode="json")
    value["plan"]["experts"][0]["weight"] = 2.0
    (tmp_path / "cogen.lock").write_text(json.dumps(value))
    with pytest.raises(SpecError, match="not the one that was locked"):
        read_lock(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "\xff"])
def test_no_lock_at_all(tmp_path: Path, text: str) -> None:
    """Missing, empty, damaged or other files."""
    path = tmp_path / "cogen.lock"
    with pytest.raises(SpecError, match="cannot be read"):
        read_lock(path)
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SpecError, match="is not a lock"):
        read_lock(path)


def test_a_lock_names_publisher_and_key(
    plan: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of what a receipt vouches for; where there is none, or of another version, nothing is vouched for."""
    from cogen.trust.receipts import Receipt, keep

    monkeypatch.setattr("sys.prefix", str(tmp_path / "env"))
    expert = plan.experts[0]
    unsigned = make_lock(plan, 0.6, [], folder, None).sources[expert.id]
    assert (unsigned.publisher, unsigned.key, unsigned.sha256) == (expert.publisher, None, None)
    receipt = Receipt(
        schema=1,
        project=expert.distribution,
        version=expert.version,
        filename="x.whl",
        sha256="ab" * 32,
        size=1,
        registry="https://r",
        publisher="acme",
        key="sha256:1",
        experts=[expert.id],
        files={},
        installer="pip",
        installed="2026-01-01T00:00:00Z",
    )
    keep(receipt)
    lock = make_lock(plan, 0.6, [], folder, None)
    assert lock.sources[expert.id].model_dump() == {
        "distribution": expert.distribution,
        "version": expert.version,
        "publisher": "acme",
        "key": "sha256:1",
        "sha256": "ab" * 32,
        "registry": "https://r",
    }
    assert set(lock.sources) == {one.id for one in plan.experts}
    write_lock(lock, tmp_path / "cogen.lock")
    assert read_lock(tmp_path / "cogen.lock") == lock
    keep(receipt.model_copy(update={"version": "9"}))
    assert make_lock(plan, 0.6, [], folder, None).sources[expert.id].key is None


def test_a_lock_of_before_sources_were_written_down(lock: Lock, tmp_path: Path) -> None:
    """It is read, and says nothing of them."""
    value = json.loads(lock.model_dump_json())
    del value["sources"]
    (tmp_path / "cogen.lock").write_text(json.dumps(value))
    assert read_lock(tmp_path / "cogen.lock").sources == {}
