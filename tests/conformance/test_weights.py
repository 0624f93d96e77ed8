"""The checks that open weights and run the model, each where it holds and where it doesn't."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.manifests import digest, manifest
from support.tiny import save_model, tokenizer
from support.tokenizers import wordpieces

from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.load import load_model, load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.conformance import Level, run_checks
from cogen.conformance.result import Failed
from cogen.conformance.tokens import check_round_trip
from cogen.evals import run_suites, suites_of
from cogen.host import Host

Make = Callable[..., Path]


def outcome(level: Level = "smoke") -> dict[str, str]:
    """Failed checks: name → message."""
    return {check.name: check.message for check in run_checks("power", level) if check.ok is False}


def claimed(value: float) -> list[dict[str, Any]]:
    suites = manifest("power")["suites"]
    suites[0]["claim"] = {"value": value, "documents": 30, "date": "2026-01-01", "harness": "ours"}
    return suites


def test_a_whole_expert(whole: Make) -> None:
    """Everything holds; what was found is told."""
    whole()
    checks = {check.name: check for check in run_checks("power", "full")}
    assert all(check.ok for check in checks.values())
    assert [*checks][-5:] == ["weights", "tokenizer", "round trip", "run heldout", "claim heldout"]
    assert checks["round trip"].message == (
        "40 of 40 texts come back from their tokens unchanged, and so do all probes"
    )
    assert checks["claim heldout"].message.endswith("nothing is claimed")


@pytest.mark.parametrize(("factor", "held"), [(1.0, True), (1.019, True), (0.981, True), (1.03, False), (0.97, False)])
def test_claims_hold_within_two_percent(whole: Make, factor: float, held: bool) -> None:
    """Measured again on the test part in float32."""
    whole()
    host = Host.discover()
    expert = host.expert("power")
    (result,) = run_suites(
        lambda: _model(expert.spec.model.source),
        tokenizer(),
        suites_of(expert),
        model_digest="m",
        tokenizer_digest="t",
        split="test",
        level="full",
        dtype="float32",
        use_cache=False,
    )
    path = expert.root / "expert.toml"
    claim = f"[suites.claim]\nvalue = {result.value * factor}\ndocuments = 30\ndate = '2026-01-01'\nharness = 'ours'\n"
    path.write_text(path.read_text() + claim)
    assert ("claim heldout" in outcome("full")) is not held


def test_what_the_manifest_says_of_the_weights(whole: Make) -> None:
    """Nothing else is opened when the weights are not those."""
    whole(model={"parameters": 5})
    names = [check.name for check in run_checks("power", "full")]
    assert names[-2:] == ["weights", "claims"]
    assert "the manifest says parameters = 5" in outcome()["weights"]


def test_what_the_manifest_says_of_the_tokenizer(whole: Make) -> None:
    """Its size; its digest is compared first."""
    whole(words={"vocab_size": 299})
    assert outcome() == {"tokenizer": f"the tokenizer has {len(tokenizer())} entries, not 299"}


@pytest.mark.parametrize(
    ("value", "check", "text"),
    [
        (torch.nan, "weights", "model.norm.weight of Tiny holds NaN or infinity"),
        (3e38, "run heldout", "the model gives nan"),
    ],
)
def test_a_model_that_is_not_finite(whole: Make, tmp_path: Path, value: float, check: str, text: str) -> None:
    """All digests are right, and still nothing can be measured with it: weights that are none, or that overflow."""
    folder = save_model(tmp_path / "broken")
    file = folder / "model.safetensors"
    tensors = load_file(file)
    tensors["model.norm.weight"] = torch.full_like(tensors["model.norm.weight"], value)
    save_file(tensors, file, {"format": "pt"})
    whole(
        model={
            "source": f"file://{folder}",
            "file_digest": file_digest(folder),
            "weights_digest": open_folder(folder).weights_digest,
        }
    )
    assert text in outcome()[check]


def test_a_tokenizer_that_does_not_undo_itself(whole: Make, tmp_path: Path) -> None:
    """Without its decoder, a byte-level tokenizer writes Ġ for a space."""
    folder = save_model(tmp_path / "undecoded")
    path = folder / "tokenizer.json"
    document = json.loads(path.read_text())
    document["decoder"] = None
    path.write_text(json.dumps(document))
    whole(
        model={"source": f"file://{folder}", "file_digest": file_digest(folder)},
        words={"digest": tokenizer_digest(load_tokenizer(folder))},
    )
    assert "comes back as" in outcome()["round trip"]
    assert "run heldout" not in {check.name for check in run_checks("power", "smoke")}


def test_a_token_without_a_row(whole: Make, tmp_path: Path) -> None:
    """A tokenizer of another model has ids that this one has no rows for."""
    whole()
    expert = Host.discover().expert("power")
    with pytest.raises(Failed, match="the model has rows for 70"):
        check_round_trip(expert, tokenizer(), 70)


def test_characters_that_are_unknown(whole: Make) -> None:
    """Bits per byte would not count them; a tokenizer that only changes the case is told of, not refused."""
    texts = [f"The Grid number {'grid ' * n}" for n in range(30)]
    content = "".join(json.dumps({"text": text.strip()}) + "\n" for text in texts).encode()
    suites = manifest("power")["suites"]
    suites[0]["test"] |= {"digest": digest(content)}
    dev = "".join(json.dumps({"text": f"Grid {'the ' * n}grid"}) + "\n" for n in range(10)).encode()
    suites[0]["dev"] |= {"digest": digest(dev)}
    root = whole(suites=suites)
    (root / "suites" / "test.jsonl").write_bytes(content)
    (root / "suites" / "dev.jsonl").write_bytes(dev)
    expert = Host.discover().expert("power")
    output = check_round_trip(expert, uncased("the", "grid", "number"), 9999)
    assert output.startswith("0 of 40 texts come back from their tokens unchanged; not kept: accents, scripts")
    with pytest.raises(Failed, match=r"document 1 of suites/test\.jsonl holds characters that are unknown"):
        check_round_trip(expert, uncased("the", "grid"), 9999)


def uncased(*words: str) -> Any:
    """BERT's, which writes everything in lower case."""
    from tokenizers import decoders, normalizers

    made = wordpieces(words)
    made.backend_tokenizer.normalizer = normalizers.Lowercase()
    made.backend_tokenizer.decoder = decoders.WordPiece()
    return made


def _model(source: str) -> Any:
    return load_model(open_folder(Path(source.removeprefix("file://"))), "float32")
