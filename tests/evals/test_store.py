"""The cache of results: equal key, equal figure; anything that can change a figure changes the key."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from cogen.evals import BoundSuite, Settings, SuiteResult, store
from cogen.evals.task import load_task


def key(bound: BoundSuite, **changes: Any) -> str:
    options: dict[str, Any] = {
        "model_digest": "m",
        "tokenizer_digest": "t",
        "prefix_token": 0,
        "split": "test",
        "level": "full",
    } | changes
    settings = options.pop("settings", Settings(dtype="float32"))
    return store.result_key(bound, load_task(bound), settings, **options)


def test_a_hit_is_the_very_result(run: Any, heldout: Any, texts: Any, tmp_path: Path) -> None:
    """The second run reads what the first wrote: equal in every field, `cached` apart."""
    bound = heldout(texts(2), texts(5))
    (first,) = run([bound])
    (second,) = run([bound])
    assert (first.cached, second.cached) == (False, True)
    assert second == first
    (third,) = run([bound], use_cache=False)
    assert not third.cached
    assert dataclasses.replace(third, seconds=first.seconds) == first
    assert len(list((tmp_path / "cache" / "results").iterdir())) == 1


def test_the_first_documents(run: Any, heldout: Any, texts: Any) -> None:
    """Fewer documents are a measurement of their own, with the figures that they have among all; all are all."""
    bound = heldout(texts(2), texts(5))
    (whole,) = run([bound])
    (few,) = run([bound], documents=3)
    assert (few.n, few.cached) == (3, False)
    assert few.per_document == whole.per_document[:3]
    assert few.tokens < whole.tokens
    assert run([bound], documents=3)[0].cached
    (more,) = run([bound], documents=9)
    assert more.cached
    assert more == whole
    assert run([bound], level="quick", documents=1)[0] == run([bound], level="quick")[0]


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Settings)])
def test_every_setting_is_in_the_key(field: str, heldout: Any, texts: Any) -> None:
    """Changing any field of Settings changes the key."""
    bound = heldout(texts(2), texts(3))
    settings = Settings(dtype="float32")
    value = getattr(settings, field)
    other = not value if isinstance(value, bool) else "float64" if isinstance(value, str) else value / 2
    assert key(bound, settings=dataclasses.replace(settings, **{field: other})) != key(bound)


@pytest.mark.parametrize(
    "change",
    [
        {"model_digest": "x"},
        {"tokenizer_digest": "x"},
        {"prefix_token": 1},
        {"split": "dev"},
        {"level": "quick"},
        {"documents": 3},
    ],
)
def test_model_tokenizer_part_and_level_are_in_the_key(change: dict[str, Any], heldout: Any, texts: Any) -> None:
    """So are the digests of model and tokenizer, the prefix token, the split and the level."""
    bound = heldout(texts(2), texts(3))
    assert key(bound, **change) != key(bound)


@pytest.mark.parametrize("library", ["lm_eval", "transformers", "torch"])
def test_versions_are_in_the_key(library: str, heldout: Any, texts: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of the harness, transformers or torch may give another figure."""
    bound = heldout(texts(2), texts(3))
    before, versions = key(bound), store.versions()
    monkeypatch.setattr(store, "versions", lambda: versions | {library: "0"})
    assert key(bound) != before


def test_data_and_task_file_are_in_the_key_and_names_are_not(heldout: Any, texts: Any) -> None:
    """Other test data or another task file: another key. Another owner or id: the same measurement."""
    bound = heldout(texts(2), texts(3))
    assert key(heldout(texts(2), texts(3, seed=9), owner="other")) != key(bound)
    assert key(heldout(texts(2), texts(3), owner="other", name="new")) == key(bound)
    before = key(bound)
    (bound.root / "task.yaml").write_text((bound.root / "task.yaml").read_text() + "# a comment\n")
    assert key(bound) != before


def test_the_dev_part_counts_only_where_it_gives_examples(heldout: Any, texts: Any) -> None:
    """Dev and test are kept apart: the key of a test result doesn't know the dev split."""
    assert key(heldout(texts(2), texts(3))) == key(heldout(texts(2, seed=8), texts(3), owner="other"))


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"owner": "power"}'])
def test_a_damaged_entry_is_measured_again(damage: str, run: Any, heldout: Any, texts: Any, tmp_path: Path) -> None:
    """A broken file costs time, never an error or a wrong figure."""
    bound = heldout(texts(2), texts(3))
    (first,) = run([bound])
    (file,) = (tmp_path / "cache" / "results").iterdir()
    file.write_text(damage)
    (second,) = run([bound])
    assert not second.cached
    assert second.value == first.value
    assert run([bound])[0].cached


def test_a_moved_entry_is_not_believed(run: Any, heldout: Any, texts: Any, tmp_path: Path) -> None:
    """An entry names its own key: a file under another name is not a result."""
    bound = heldout(texts(2), texts(3))
    run([bound])
    (file,) = (tmp_path / "cache" / "results").iterdir()
    file.write_text(json.dumps(json.loads(file.read_text()) | {"key": "sha256:other"}))
    assert not run([bound])[0].cached


def test_results_survive_json(run: Any, heldout: Any, texts: Any) -> None:
    """from_json(to_json(x)) = x, through text too."""
    (result,) = run([heldout(texts(2), texts(3))])
    assert SuiteResult.from_json(json.loads(json.dumps(result.to_json()))) == result


def test_a_result_from_before_the_split_had_its_name(run: Any, heldout: Any, texts: Any) -> None:
    """``part`` is read as ``split``, and still written for who reads it."""
    (result,) = run([heldout(texts(2), texts(3))])
    written = result.to_json()
    assert written["part"] == written.pop("split") == "test"
    assert SuiteResult.from_json(json.loads(json.dumps(written))) == result
