"""What `cogen train` calls the figures that it shows: each by its own metric."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from support.private import private_manifest, suite

from cogen.api.training import TrainedExpert
from cogen.cli.main import main
from cogen.spec.expert import ExpertSpec
from cogen.spec.suite import Metric, PrivateSuite

CALLED = {"bits_per_byte": "bits per byte", "acc": "accuracy", "exact_match": "exact match"}


@pytest.mark.parametrize("metric", get_args(Metric))
def test_titles_name_the_metric(
    metric: Metric, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table of accuracies is not headed "bits per byte"; there is a word for every metric."""
    suites = [suite(id=name, metric=metric) for name in ("private", "numbers")]
    spec = ExpertSpec.model_validate(private_manifest(private_suites=suites))
    alone = PrivateSuite.model_validate(suites[1])
    trained = TrainedExpert(spec, tmp_path, at_home=alone)
    monkeypatch.setattr("cogen.api.training.train", lambda *_, **__: trained)
    assert main(["train", str(tmp_path / "recipe.toml")]) == 0
    shown = capsys.readouterr().out
    titles = [line for line in shown.splitlines() if line.startswith("ward: ")]
    assert titles == [
        f"ward: {CALLED[metric]} of the private suite, with 95 % intervals",
        f"ward: {CALLED[metric]} on the private suite numbers, with 95 % intervals",
        f"ward: {CALLED[metric]} of held-out text, for you alone: no file that ships has these figures",
    ]
    assert shown.count("1.1000 (1.0000 to 1.2000)") == 3
