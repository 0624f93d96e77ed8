"""A route behind an endpoint: `transformers serve` with every expert, and the router in front of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder, open_weights
from cogen.errors import CompatibilityError, DigestError
from cogen.fusion.route.manifest import read_route
from cogen.fusion.route.router import open_router
from cogen.reporter import SILENT
from cogen.serving import experts
from cogen.serving.experts import expert_folders, model_folder
from cogen.serving.serve import plan_command, serving


@pytest.fixture
def route(world: Any, host: Any, tmp_path: Path) -> tuple[Path, Any]:
    """Two experts over one base, as `cogen fuse --strategy route` leaves them."""
    from cogen.api.fusion import fuse

    own = host(world.expert("e1", 1), world.expert("e2", 2))
    folder = tmp_path / "fields"
    fuse(strategy="route", output=folder, level="none", host=own)
    return folder, own


def test_an_adapter_is_added_once_and_gives_the_experts_function(route: tuple[Path, Any]) -> None:
    _, own = route
    spec = own.expert("e1").spec
    checkpoint = open_weights(spec.model)
    notes: list[str] = []

    class Noting:
        def describe(self, label: str) -> None: ...
        def advance(self, n: float = 1) -> None: ...
        def note(self, text: str) -> None:
            notes.append(text)

    folder = model_folder(checkpoint, "e1", Noting())
    assert model_folder(checkpoint, "e1", Noting()) == folder
    assert notes == ["adding the adapter of e1 to its base, once"]
    ids = torch.arange(1, 40)[None]
    with torch.no_grad():
        expected = load_model(checkpoint, "float32")(ids).logits
        assert torch.equal(load_model(open_folder(folder), "float32")(ids).logits, expected)


@pytest.mark.parametrize("name", ["config.json", "chat_template.jinja", "model.safetensors", ".served.json"])
def test_what_was_altered_in_the_cache_is_not_served(route: tuple[Path, Any], name: str) -> None:
    checkpoint = open_weights(route[1].expert("e1").spec.model)
    file = model_folder(checkpoint, "e1", SILENT) / name
    data = file.read_bytes() if file.exists() else b""
    file.write_bytes(data[:-1] if name != "config.json" else data.replace(b"silu", b"relu"))
    if not data:
        file.write_text("{{ messages }}")
    with pytest.raises(DigestError, match="the model of e1 in the cache") as caught:
        model_folder(checkpoint, "e1", SILENT)
    assert "made again" in str(caught.value.hint) or "cache clear" in str(caught.value.hint)


def test_another_chat_template_is_another_model(route: tuple[Path, Any]) -> None:
    """Of a base with the same weights and configuration: the one in the cache would be served."""
    checkpoint = open_weights(route[1].expert("e1").spec.model)
    first = model_folder(checkpoint, "e1", SILENT)
    (checkpoint.folder / "chat_template.jinja").write_text("{{ messages }}")
    second = model_folder(checkpoint, "e1", SILENT)
    assert second != first
    assert (second / "chat_template.jinja").read_text() == "{{ messages }}"
    assert not (first / "chat_template.jinja").exists()


def test_every_expert_has_a_folder_by_its_id(route: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    folder, own = route
    manifest = read_route(folder)
    with expert_folders(own, manifest, SILENT) as place:
        assert {path.name for path in place.iterdir()} == {"base", "e1", "e2"}
        assert all((path / "config.json").is_file() for path in place.iterdir())
    assert not place.exists()
    monkeypatch.setattr(experts, "own_loaders", lambda host: ["odd-plugin 1.0"])
    with (
        pytest.raises(CompatibilityError, match=r"odd-plugin 1\.0 loads models with code of its own"),
        expert_folders(own, manifest, SILENT),
    ):
        pass


def test_the_command_of_a_route_names_no_model(route: tuple[Path, Any]) -> None:
    pytest.importorskip("openai")
    line = plan_command(route[0], None, "127.0.0.1", 8000, ["--device", "cpu"]).arguments
    assert line[1:] == (
        *("-m", "transformers.cli.transformers", "serve", "--host", "127.0.0.1", "--port", "0", "--device", "cpu"),
    )


def test_an_ensemble_is_refused_by_name(world: Any, host: Any, tmp_path: Path) -> None:
    pytest.importorskip("openai")
    from cogen.api.fusion import fuse

    own = host(world.expert("e1", 1), world.expert("e2", 2))
    fuse(strategy="route", ensemble="posterior", output=tmp_path / "all", level="none", host=own)
    with (
        pytest.raises(CompatibilityError, match="all answers with all experts together") as error,
        serving(tmp_path / "all", port=0, registry=lambda: own),
    ):
        pass
    assert "cogen chat" in error.value.hint


@pytest.mark.slow
def test_questions_reach_the_expert_that_the_router_chooses(route: tuple[Path, Any]) -> None:
    """Over a socket, with OpenAI's client; each answer is what the chosen expert writes when it is named itself."""
    openai = pytest.importorskip("openai")
    folder, own = route
    router = open_router(folder, read_route(folder))
    questions = [" ".join(f"{id}train0word{n}" for n in range(3)) for id in ("e1", "e2")]
    assert [decision.expert for decision in router.choose(questions)] == ["e1", "e2"]
    with serving(folder, port=0, registry=lambda: own) as endpoint:
        client = openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0)
        assert {m.id for m in client.models.list().data} == {"fields", "base", "e1", "e2"}
        for expert, question in zip(("e1", "e2"), questions, strict=True):
            options = {"prompt": question, "max_tokens": 6, "temperature": 0}
            answer = client.completions.with_raw_response.create(model=endpoint.model, **options)
            assert answer.headers["x-cogen-expert"] == expert
            named = client.completions.create(model=expert, **options)
            assert answer.parse().choices[0].text == named.choices[0].text
        with pytest.raises(openai.NotFoundError):
            client.completions.create(model="gpt", prompt="x", max_tokens=1)
