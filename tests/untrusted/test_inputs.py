"""Small hostile inputs, each on the road that it takes to a user: read, or refused in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tomlkit
from support.manifests import install, make_expert, manifest
from support.weights import adapter

from cogen.checkpoints.adapter import read_adapter
from cogen.conformance import run_checks
from cogen.errors import CogenError
from cogen.evals.templates import render
from cogen.fusion.samples import sample_texts
from cogen.host import Host

BASE = {"peft_type": "LORA", "r": 1, "lora_alpha": 8, "target_modules": ["up_proj"]}
#: Name → (adapter_config.json, what the error names; "": it is read).
ADAPTERS = {
    "alpha NaN": (json.dumps(BASE | {"lora_alpha": float("nan")}), "lora_alpha = nan"),
    "a damaged expression": (json.dumps(BASE | {"alpha_pattern": {"(": 3}}), r"alpha_pattern .* '\('"),
    "patterns in a list": (json.dumps(BASE | {"alpha_pattern": ["a"]}), "alpha_pattern: expected numbers"),
    # Python's engine tries it for hours
    "a catastrophic expression": (json.dumps(BASE | {"alpha_pattern": {"(([a-z0-9_.]+)+)+!": 3}}), ""),
    "another one": (json.dumps(BASE | {"rank_pattern": {"(.*)*(.*)*(.*)*x": 3}}), "rank_pattern .* repeats"),
    "counted repeats": (json.dumps(BASE | {"alpha_pattern": {"(((a{99}){99}){99}){99}": 3}}), "too large"),
    "many patterns": (json.dumps(BASE | {"alpha_pattern": {f"(a|b)+{n}": 3 for n in range(20_000)}}), "too many steps"),
    "deep": (json.dumps(BASE)[:-1] + ', "x": ' + "[" * 9000 + "]" * 9000 + "}", "not a PEFT adapter"),
    "5,000 digits": (json.dumps(BASE)[:-1] + ', "x": ' + "9" * 5000 + "}", "not a PEFT adapter"),
    "a byte order mark": ("\ufeff" + json.dumps(BASE), ""),
    "half a pair": (json.dumps(BASE | {"revision": "\ud800"}), "not a PEFT adapter"),
}


@pytest.mark.parametrize(("config", "reason"), ADAPTERS.values(), ids=list(ADAPTERS))
def test_adapters(tmp_path: Path, config: str, reason: str) -> None:
    for name, content in {**adapter(), "adapter_config.json": config.encode()}.items():
        (tmp_path / name).write_bytes(content)
    if not reason:
        assert len(read_adapter(tmp_path).pairs) == 1
        return
    with pytest.raises(CogenError, match=reason) as caught:
        read_adapter(tmp_path)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("value", ["nan", "inf", "1e999", "9" * 5000, "'x'", "[" * 50 + "]" * 50])
def test_a_claim_that_is_no_number(site: Path, value: str) -> None:
    """Of a suite of an installed expert: its state is broken, with the field's name or that of the file."""
    document = manifest()
    document["suites"][0]["claim"] = {"value": "CLAIM", "documents": 30, "date": "2026-01-01", "harness": "x"}
    install(site, "power", toml=tomlkit.dumps(document).replace('"CLAIM"', value))
    (plugin,) = Host.discover().plugins
    assert plugin.state == "broken"
    assert "expert.toml" in (plugin.reason or "")
    assert (plugin.reason or "").isprintable()
    assert len(plugin.reason or "") < 300
    check = next(run_checks("power"))
    assert (check.name, check.ok) == ("manifest", False)


def test_a_template_bomb() -> None:
    """234 characters that would write 256 million."""
    template = "{{ text" + f".replace('a','{'a' * 40}')" * 5 + " }}"
    assert len(template) < 300
    with pytest.raises(CogenError, match=r"makes a text of more than 4,000,000 characters"):
        render(template, {"text": "abcabc"})


@pytest.mark.parametrize(
    ("line", "texts"),
    [
        ('{"text": "one line\u2028another line of text"}', ["one line\u2028another line of text"]),
        ('{"txt": "a"}', None),
    ],
)
def test_samples(tmp_path: Path, line: str, texts: list[str] | None) -> None:
    from support.manifests import digest

    content = line.encode()
    expert = make_expert(tmp_path, samples={"path": "s.jsonl", "digest": digest(content), "license": "CC0-1.0"})
    (expert.root / "s.jsonl").write_bytes(content)
    if texts is not None:
        assert sample_texts(expert) == texts
        return
    with pytest.raises(CogenError, match=r"power: s.jsonl line 1 has no text in the field 'text'"):
        sample_texts(expert)
