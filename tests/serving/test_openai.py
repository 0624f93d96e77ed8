"""The page docs/serving.md over a real socket: the endpoint answers OpenAI's own client."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.tiny import CHAT_TEMPLATE, save_model

pytest.importorskip("fastapi")
openai = pytest.importorskip("openai")
pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs" / "serving.md").read_text(encoding="utf-8")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = save_model(tmp_path / "composite", 7, "bfloat16")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE)
    return folder


def _example() -> str:
    """The Python of the page."""
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    return code


def test_the_example_of_the_page(model: Path) -> None:
    """`cogen serve` as a process, its --json document, the page's client, and an end by SIGTERM."""
    command = [sys.executable, "-m", "cogen", "--json", "serve", str(model), "--port", "0", "--engine", "transformers"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            lines = []
            while not lines or lines[-1] != "}\n":
                lines.append(process.stdout.readline())
                assert lines[-1], "it ended before it answered"
            found = json.loads("".join(lines))
            assert (found["model"], found["engine"]) == ("composite", "transformers")
            scope: dict[str, Any] = {}
            exec(
                _example().replace("http://127.0.0.1:8000/v1", found["url"]).replace("print(", "said("),
                scope | {"said": lambda text: scope.setdefault("said", text)},
            )
            assert isinstance(scope["said"], str)
            client = openai.OpenAI(base_url=found["url"], api_key="none", max_retries=0)
            assert [m.id for m in client.models.list().data] == ["composite"]
            stream = client.chat.completions.create(
                model="composite", messages=[{"role": "user", "content": "the grid"}], max_tokens=4, stream=True
            )
            pieces = [piece.choices[0].delta.content for piece in stream if piece.choices]
            assert len(pieces) >= 1
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) is not None
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_the_api_ends_what_it_started(model: Path) -> None:
    import cogen

    with cogen.serve(model, engine="transformers", port=0) as endpoint:
        client = openai.OpenAI(base_url=endpoint.url, api_key="none", max_retries=0)
        answer = client.chat.completions.create(
            model=endpoint.model, messages=[{"role": "user", "content": "the power"}], max_tokens=3, temperature=0
        )
        assert answer.choices[0].finish_reason in ("length", "stop")
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model="other", messages=[{"role": "user", "content": "x"}], max_tokens=1)
    with pytest.raises(openai.APIConnectionError):
        client.models.list()


def test_the_first_answer_is_that_of_the_model(model: Path) -> None:
    """Greedy: the engine's text is what transformers generates here."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    import cogen

    own, tokenizer = AutoModelForCausalLM.from_pretrained(model), AutoTokenizer.from_pretrained(model)
    messages = [{"role": "user", "content": "the voltage at every node"}]
    inputs = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        ids = own.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0)
    expected = tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    with cogen.serve(model, engine="transformers", port=0) as endpoint:
        client = openai.OpenAI(base_url=endpoint.url, api_key="none")
        answer = client.chat.completions.create(
            model=endpoint.model, messages=messages, max_tokens=8, temperature=0, seed=1
        )
    assert answer.choices[0].message.content.strip() == expected.strip()
