"""ollama's Modelfile: the template that was taken apart renders what the model's own template renders."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from support.tiny import chat_tokenizer

from cogen.exports.modelfile import find_format, go_template, stop_tokens, write_modelfile
from cogen.exports.source import open_source

_CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
_WITH_DEFAULT = (
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}" + _CHATML
)
_NUMBERED = "{% for m in messages %}{{ loop.index }} {{ m['role'] }}: {{ m['content'] }}\n{% endfor %}"
_NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no') }}{% endif %}" + _CHATML
_DATED = "{{ '<|begin|>' + strftime_now('%Y') }}" + _CHATML
_MERGED = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'system' %}{{ m['content'] + '\n' }}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
)


def _go(template: str, system: str | None, messages: list[dict[str, str]]) -> str:
    """What Go's template engine makes of the few actions that are written; its documentation is the source."""
    if system is not None and messages[0]["role"] != "system":
        messages = [{"role": "system", "content": system}, *messages]
    start, body, end = re.fullmatch(
        r"(.*?)\{\{ range \.Messages \}\}(.*)\{\{ end \}\}\{\{ end \}\}(.*)", template, re.S
    ).groups()
    branches = re.findall(r'\{\{ (?:else )?if eq \.Role "(\w+)" \}\}(.*?)(?=\{\{ else if|\Z)', body, re.S)
    around = {role: text.split("{{ .Content }}") for role, text in branches}
    return start + "".join(around[m["role"]][0] + m["content"] + around[m["role"]][1] for m in messages) + end


@pytest.mark.parametrize("template", [_CHATML, _WITH_DEFAULT, _MERGED])
def test_a_template_that_surrounds_messages(template: str) -> None:
    tokenizer = chat_tokenizer(template)
    found = find_format(tokenizer)
    assert found is not None
    assert found.system == ("Be kind." if template == _WITH_DEFAULT else None)
    turns = [
        {"role": "user", "content": "Größe?\n\nAnd 電力?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "{{ .Role }}"},
    ]
    for messages in (turns[:1], turns, [{"role": "system", "content": "Short."}, *turns]):
        own = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert _go(go_template(found), found.system, messages) == own


@pytest.mark.parametrize(
    "template", [_NUMBERED, _NO_SYSTEM, _DATED.replace("strftime_now('%Y')", "messages | length | string")]
)
def test_a_template_of_another_kind_is_left_out(template: str) -> None:
    assert find_format(chat_tokenizer(template)) is None


@pytest.mark.parametrize("unsafe", ['"""', "{{ .System }}"])
def test_text_that_would_leave_the_string_is_left_out(unsafe: str) -> None:
    template = _CHATML.replace("<|im_end|>\\n", "").replace("'\n' + m", "m")
    assert find_format(chat_tokenizer("{{ " + repr(unsafe) + " }}" + template)) is None


def test_the_file(model: Path) -> None:
    settings = {"eos_token_id": [0, 5], "do_sample": True, "temperature": 0.7, "top_k": 40, "repetition_penalty": 1.1}
    (model / "generation_config.json").write_text(json.dumps(settings))
    (model / "out").mkdir()
    notes = write_modelfile(open_source(model), "composite-Q8_0.gguf", model / "out")
    lines = (model / "out" / "Modelfile").read_text().splitlines()
    assert lines[0] == "FROM ./composite-Q8_0.gguf"
    assert {'PARAMETER stop "<|endoftext|>"', "PARAMETER temperature 0.7", "PARAMETER top_k 40"} <= set(lines)
    assert "PARAMETER repeat_penalty 1.1" in lines
    assert notes["template"] is True
    assert notes["stop"][0] == "<|endoftext|>"
    assert len(notes["stop"]) == 2


def test_stop_tokens_come_once_and_from_all_places() -> None:
    tokenizer = chat_tokenizer()
    assert stop_tokens(tokenizer, {"eos_token_id": [0]}, {"eos_token_id": 0}) == ["<|endoftext|>"]
    assert len(stop_tokens(tokenizer, {"eos_token_id": 3}, {"eos_token_id": [4, 3]})) == 3


@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(10**9) %}{% for b in range(10**9) %}x{% endfor %}{% endfor %}",
        "{{ 'x' * 10**9 }}",
        "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    ],
)
def test_a_template_without_an_end(template: str) -> None:
    """Rendered within the limits of every other chat template, and left out."""
    assert find_format(chat_tokenizer(template)) is None


def test_a_stop_token_of_several_lines_is_no_instruction(model: Path) -> None:
    """What a publisher calls the end of a text cannot write other lines of a Modelfile."""
    path = model / "tokenizer.json"
    tokenizer = json.loads(path.read_text())
    name = tokenizer["added_tokens"][0]["content"]
    evil = "end\nADAPTER /etc/passwd"
    path.write_text(path.read_text().replace(json.dumps(name), json.dumps(evil)))
    settings = model / "tokenizer_config.json"
    settings.write_text(settings.read_text().replace(json.dumps(name), json.dumps(evil)))
    (model / "out").mkdir()
    write_modelfile(open_source(model), "x.gguf", model / "out")
    text = (model / "out" / "Modelfile").read_text()
    assert "ADAPTER" not in re.sub(r'""".*?"""', "", text, flags=re.DOTALL)  # inside it is the template's text
