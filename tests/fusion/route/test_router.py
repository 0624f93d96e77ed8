"""Which expert a text goes to, by laws."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from support.manifests import make_expert

from cogen.checkpoints.digests import file_digest
from cogen.errors import CompatibilityError, SourceError
from cogen.evals import calibration_texts
from cogen.fusion.route import Router
from cogen.fusion.route.centroids import make_centroids
from cogen.fusion.samples import sample_texts
from cogen.routing.embedder import Embedder
from cogen.routing.reading import Coverage


class Plane:
    """Texts are points of a plane."""

    def encode(self, texts: Any) -> torch.Tensor:
        return torch.tensor([[float(number) for number in text.split()] for text in texts])


def router(fallback: bool = True, **experts: tuple[float, float]) -> Router:
    """General text lies at the origin's right, (1, 0)."""
    points = {"general": (1.0, 0.0), **experts}
    return Router(Plane(), {id: torch.tensor(point) for id, point in points.items()}, fallback=fallback)


def test_the_nearest_centroid_wins() -> None:
    """The score is half the difference of the squared distances to general text and to the expert."""
    made = router(north=(0.0, 2.0), south=(0.0, -2.0))
    (choice,) = made.choose(["0.5 1.5"])
    assert choice.expert == "north"
    distance = {"base": 0.25 + 2.25, "north": 0.25 + 0.25, "south": 0.25 + 12.25}
    assert choice.scores == {id: (distance["base"] - d) / 2 for id, d in distance.items()}
    assert [id for id, _ in choice.ranking] == ["north", "base", "south"]


def test_what_is_nearer_to_general_text_goes_to_the_fallback() -> None:
    """Only where there is one."""
    experts = {"north": (0.0, 2.0), "south": (0.0, -2.0)}
    assert router(**experts).choose(["1 0.1"])[0].expert == "base"
    (choice,) = router(False, **experts).choose(["1 0.1"])
    assert (choice.expert, set(choice.scores)) == ("north", {"north", "south"})
    assert choice.scores["north"] < 0


def test_ties_go_to_the_fallback_and_then_by_id() -> None:
    """The same query gives the same answer, whatever the order of the experts."""
    twins = {"b": (0.0, 2.0), "a": (0.0, 2.0)}
    assert router(**twins).choose(["0 2"])[0].expert == "a"
    assert router(False, **twins).choose(["9 9"])[0].expert == "a"
    assert router(a=(1.0, 0.0)).choose(["5 5"])[0].expert == "base"


def test_one_expert_without_fallback_gets_everything() -> None:
    """However far it is."""
    found = router(False, only=(-9.0, 3.0)).choose(["1 0", "100 -7", "0 0"])
    assert [choice.expert for choice in found] == ["only"] * 3
    assert router(only=(0.0, 0.0)).choose([]) == []


def test_an_experts_score_does_not_depend_on_the_others() -> None:
    """Experts come and go."""
    alone = router(north=(0.0, 2.0)).choose(["0.3 0.7"])[0].scores["north"]
    assert router(north=(0.0, 2.0), west=(-3.0, 0.1)).choose(["0.3 0.7"])[0].scores["north"] == alone


def test_a_centroid_is_the_mean_embedding(tmp_path: Path) -> None:
    """Of the samples, and of the fixed general text; in any order of the experts."""
    one, two = make_expert(tmp_path, "one"), make_expert(tmp_path, "two")
    found = make_centroids([two, one], Embedder(), {})
    assert list(found) == ["general", "one", "two"]
    torch.testing.assert_close(found["one"], Embedder().encode(sample_texts(one)).mean(0))
    torch.testing.assert_close(found["general"], Embedder().encode(calibration_texts()).mean(0))
    again = make_centroids([one, two], Embedder(), {})
    assert all(torch.equal(found[id], again[id]) for id in found)


def test_text_that_may_not_leave_is_routed_by_its_embedding(tmp_path: Path) -> None:
    """The shipped vector is the centroid."""
    vector = torch.linspace(-1, 1, 256)
    found = make_centroids([shipped(tmp_path, {"mean": vector})], Embedder(), {})
    assert torch.equal(found["quiet"], vector)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"mean": torch.ones(384)}, r"has the shape \(384,\) where .* gives \(256,\)"),
        ({"mean": torch.ones(1, 256)}, r"has the shape \(1, 256\)"),
        ({"a": torch.ones(256), "b": torch.ones(256)}, "holds 2 tensors"),
        ({"mean": torch.full((256,), float("nan"))}, "holds what is not a number"),
    ],
)
def test_an_embedding_of_another_kind_is_refused(tmp_path: Path, tensors: Any, message: str) -> None:
    """It would be compared with numbers that mean something else."""
    with pytest.raises(CompatibilityError, match=message) as caught:
        make_centroids([shipped(tmp_path, tensors)], Embedder(), {})
    assert caught.value.hint


def shipped(folder: Path, tensors: dict[str, torch.Tensor]) -> Any:
    """An expert that ships an embedding in the place of text."""
    path = folder / "quiet" / "samples.safetensors"
    path.parent.mkdir()
    save_file(tensors, path)
    samples = {"embedding": path.name, "digest": file_digest(path), "license": "CC0-1.0"}
    return make_expert(folder, "quiet", samples=samples)


def test_a_query_in_a_language_of_no_use_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the embedder's tokenizer; a router of another embedder says nothing."""
    monkeypatch.setattr(Embedder, "reading", lambda self, texts: Coverage(4, 3, 4, 3 * ("\u75c5" in texts[0])))
    centroids = {"general": torch.zeros(2), "law": torch.ones(2)}
    found = Router(Embedder(), centroids, fallback=False)
    warning = found.unread(["\u75c5"])
    assert warning is not None
    assert "cannot read 75% of the letters" in warning
    assert "--embedder multilingual" in warning
    assert found.unread(["illness"]) is None
    assert router(law=(1.0, 0.0)).unread(["\u75c5"]) is None


def test_what_cannot_be_looked_at_is_no_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    def reading(self: Embedder, texts: Any) -> Coverage:
        raise SourceError("not in the cache", hint="")

    monkeypatch.setattr(Embedder, "reading", reading)
    found = Router(Embedder(), {"general": torch.zeros(2), "law": torch.ones(2)}, fallback=False)
    assert found.unread(["\u75c5"]) is None
