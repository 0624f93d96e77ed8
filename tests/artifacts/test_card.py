"""The model card, read back with the Hub's own reader."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard
from huggingface_hub.repocard_data import model_index_to_eval_results
from support.hub_card import faults
from support.manifests import ZERO, make_expert, manifest

from cogen.artifacts.card import write_card
from cogen.artifacts.lock import Lock, make_lock
from cogen.artifacts.origin import data_licenses
from cogen.checkpoints.bases import BASES
from cogen.evals.hub import dataset_name, hub_languages, hub_license, hub_model, hub_tag
from cogen.spec.model import BaseRef


def test_the_hub_reads_base_licence_and_results(lock: Lock, matrix: Any, experts: Any, folder: Path) -> None:
    """Front matter as the Hub wants it; the model index holds the composite's row to the last digit."""
    write_card(folder, lock, matrix, experts)
    data = ModelCard.load(folder / "README.md").data
    assert data.base_model == ["org/base"]
    assert data.base_model_relation == "merge"
    assert data.license == "apache-2.0"
    assert data.get("license_name") is None
    assert data.library_name == "transformers"
    assert data.pipeline_tag == "text-generation"
    assert data.language == ["en"]
    assert {"cogen", "merge", "task_arithmetic", "power"} <= set(data.tags)
    values = {result.dataset_type.removeprefix("cogen-").replace("-", "/", 1): result for result in data.eval_results}
    assert list(values) == list(matrix.columns)
    digests = {f"{suite.owner}/{suite.id}": suite.test_digest for suite in lock.plan.suites}
    for column, result in values.items():
        cell = matrix.get("composite", column)
        assert result.metric_value == cell.value
        assert result.metric_type == "bits_per_byte"
        assert result.metric_args == {"documents": cell.n, "low": cell.low, "high": cell.high}
        assert result.dataset_split == "test"
        assert result.dataset_args == {"digest": digests[column]}


def test_the_card_passes_the_hubs_validation(lock: Lock, matrix: Any, experts: Any, folder: Path) -> None:
    """Its rules by tests/support/hub_card.py, and the library's own reader gives back the results that were written."""
    write_card(folder, lock, matrix, experts)
    text = (folder / "README.md").read_text()
    assert faults(text) == []
    data = ModelCard(text).data
    name, results = model_index_to_eval_results(data.to_dict()["model-index"])
    assert name == data.model_name
    assert [r.metric_value for r in results] == [r.metric_value for r in data.eval_results]
    # The rules find what is wrong.
    assert faults(text.replace("license: apache-2.0", "license: Apache-2.0"))
    assert faults(text.replace("type: cogen-power-heldout", "type: cogen/power/heldout"))
    assert faults(text.replace("base_model_relation: merge", "base_model_relation: fusion"))


def test_people_read_the_same_figures(lock: Lock, matrix: Any, experts: Any, folder: Path) -> None:
    """The text holds every cell, every expert, how to load it, how to make it again, and the licences of the texts."""
    write_card(folder, lock, matrix, experts)
    text = ModelCard.load(folder / "README.md").text
    for cells in matrix.cells.values():
        for result in cells.values():
            assert f"{result.value:.3f}" in text
    assert "reads all 5 domains better than the base; it keeps 70 % of the specialists' gain" in text
    assert "AutoModelForCausalLM" in text
    assert "cogen fuse --lock cogen.lock" in text
    assert "pip install cogen-core==0.1.0 cogen-plugin-clinical==1.0 cogen-plugin-energy==1.0" in text
    assert lock.weights_digest in text
    assert "CC0-1.0" in text
    assert "Invented words" in text


def test_the_card_says_what_was_tuned(plan: Any, folder: Path, trials: Any) -> None:
    """The weights that were used, the settings and the sentence, not what the plan began with."""
    space = {"density": (0.1, 1.0), "weight.power": (0.0, 2.0)}
    tuned = plan.model_copy(update={"method": "ties", "search": 5, "space": space, "parameters": {"density": 0.5}})
    points = [
        dataclasses.replace(t, parameters={"density": 0.2, "weight.power": 1.25 + i}) for i, t in enumerate(trials)
    ]
    lock = make_lock(tuned, 0.6, points, folder, None, parameters=points[2].parameters)
    write_card(folder, lock, None)
    text = ModelCard.load(folder / "README.md").text
    assert "method ties with scale 0.6, density 0.2, weight of power 3.25, found among 5 candidates" in text
    assert "Of 5 candidates measured on development texts, scale 0.6, density 0.2 and weight of power 3.25 did" in text
    (row,) = (line for line in text.splitlines() if line.startswith("| power |"))
    assert "| 3.25 |" in row


def test_a_card_without_figures_or_experts(lock: Lock, folder: Path) -> None:
    """No matrix, no results; the base stays."""
    write_card(folder, lock, None)
    card = ModelCard.load(folder / "README.md")
    assert "model-index" not in card.data.to_dict()
    assert card.data.base_model == ["org/base"]
    assert "The composite was not evaluated." in card.text


def test_hostile_words_stay_words(tmp_path: Path, folder: Path, build: Any) -> None:
    """A manifest cannot add front matter, markup, links or cells to the card."""
    evil = "x | y <script>alert(1)</script> [go](https://evil.example) ![i](https://evil.example) --- `a`"
    sources = [manifest("power")["data"]["sources"][0] | {"name": evil}]
    expert = make_expert(
        tmp_path,
        "power",
        title=evil,
        publisher="license: mit\t",
        data=manifest("power")["data"]
        | {
            "sources": sources,
            "limitations": "fine\n---\nlicense: mit\n---\n# Heading\n```\ncode",
            "not_for": evil,
        },
    )
    plan = build.plan([expert])
    write_card(folder, make_lock(plan, 1.0, [], folder, None), None, [expert])
    card = ModelCard.load(folder / "README.md")
    assert card.data.license == "apache-2.0"
    for markup in ("<script", "://", "![i]", "[go]", "\n# Heading", "x | y"):
        assert markup not in card.text
    rows = [line for line in card.text.splitlines() if line.startswith("| power")]
    assert len(rows) == 1
    assert rows[0].replace("\\|", "").count("|") == 8
    assert card.text.count("```") == 4


def test_a_licence_that_the_hub_does_not_know(tmp_path: Path, folder: Path, build: Any) -> None:
    """An expression becomes `other` with a name; YAML stays readable."""
    plan = build.plan([make_expert(tmp_path, "power")], license="Apache-2.0 AND MPL-2.0")
    write_card(folder, make_lock(plan, 1.0, [], folder, None), None)
    front = yaml.safe_load((folder / "README.md").read_text().split("---")[1])
    assert (front["license"], front["license_name"]) == ("other", "apache-2.0-and-mpl-2.0")


@pytest.mark.parametrize(
    ("spdx", "hub"),
    [
        ("Apache-2.0", ("apache-2.0", None)),
        ("CC-BY-SA-4.0", ("cc-by-sa-4.0", None)),
        ("GPL-3.0-or-later", ("gpl-3.0", None)),
        ("LGPL-2.1-only", ("lgpl-2.1", None)),
        ("GPL-1.0-only", ("other", "gpl-1.0-only")),
        ("LicenseRef-public-domain", ("other", "licenseref-public-domain")),
        ("unknown", ("unknown", None)),
    ],
)
def test_licence_names(spdx: str, hub: tuple[str, str | None]) -> None:
    """https://huggingface.co/docs/hub/repositories-licenses: the only names that the Hub takes."""
    assert hub_license(spdx) == hub


def test_names_that_the_hub_takes() -> None:
    assert hub_languages(["zh-Hans", "en", "en_GB", "x-klingon", "yue"]) == ["en", "yue", "zh"]
    assert hub_tag("embedding 电力 (new)") == "embedding-new"
    assert dataset_name("power/held out") == "cogen-power-held-out"


def test_names_of_bases() -> None:
    """Where it was fetched from, what it is known to come from, or nothing: never an invented id."""
    ref = BASES["smollm2-135m-instruct"][0]
    assert hub_model(ref) == "HuggingFaceTB/SmolLM2-135M-Instruct"
    other = {"name": "x", "license": "MIT", "file_digest": ZERO, "weights_digest": ZERO}
    assert hub_model(BaseRef(source=f"hf://org/name@{'0' * 40}/model.gguf", **other)) == "org/name"
    assert hub_model(BaseRef(source="file:///data/model", **other)) is None


def test_licences_of_the_texts_are_added_up(tmp_path: Path) -> None:
    """Tokens by licence over all experts; what nobody says is counted apart, and unknown sources are an entry."""
    data = manifest("power")["data"]
    one = data["sources"][0]
    power = make_expert(
        tmp_path, "power", data=data | {"sources": [one, one | {"name": "b", "license": "MIT", "tokens": 5000}]}
    )
    grid = make_expert(tmp_path, "grid", data=data | {"sources": [one | {"tokens": "unknown"}]})
    dark = make_expert(tmp_path, "dark", data=data | {"sources": "unknown"})
    found = {item.license: item for item in data_licenses([power, grid, dark])}
    assert list(found) == ["MIT", "CC0-1.0", "unknown"]
    assert (found["CC0-1.0"].tokens, found["CC0-1.0"].unknown, found["CC0-1.0"].experts) == (1000, 1, "grid, power")
    assert (found["unknown"].tokens, found["unknown"].experts) == (0, "dark")
