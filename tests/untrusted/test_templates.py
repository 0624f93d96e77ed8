"""Templates of others end within a budget, and ordinary ones mean what they mean to transformers."""

from __future__ import annotations

import itertools
import tracemalloc
from typing import Any

import pytest
from support.tiny import tokenizer

from cogen.checkpoints.chat_templates import RejectedError, render_chat
from cogen.errors import UnsafeError
from cogen.merging.mergekit.templates import TEMPLATES

_LOOPS = "{{% for a in range(9999) %}}{{% for b in range(9999) %}}{}{{% endfor %}}{{% endfor %}}"
_TWICE = "{% set a = [a, a] %}" * 40
BOMBS = {
    "replace": "{{ messages[0].content" + ".replace('a', 'a' * 40)" * 6 + " }}",
    "replace nothing": "{{ messages[0].content.replace('', 'b' * 4000).replace('b', 'c' * 4000) }}",
    "replace as a filter": "{{ messages[0].content" + " | replace('a', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa')" * 7 + " }}",
    "join": "{{ (('a' * 3000) | list) | join('b' * 3000) }}",
    "join as a method": "{{ ('b' * 3000).join(('a' * 3000) | list) }}",
    "times": "{{ 'x' * 10000000000 }}",
    "times times": "{{ 'x' * 4000 * 4000 }}",
    "a list times": "{{ [1] * 100000000 }}",
    "range": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "range, counted": "{% for a in range(99999) %}{{ range(99999) | list | length }}{% endfor %}",
    "silent loops": _LOOPS.format("{% if a == b %}{% endif %}"),
    "scans": "{% set t = 'a' * 3000000 %}{% for a in range(9999) %}{% if 'b' in t %}{% endif %}{% endfor %}",
    "slices": "{% set t = 'a' * 3000000 %}{% for a in range(9999) %}{% set u = t[1:] %}{% endfor %}",
    "doubling": "{% set a = 'x' %}" + "{% set a = a ~ a %}" * 40 + "{{ a }}",
    "adding": "{% set a = 'x' %}" + "{% set a = a + a %}" * 40 + "{{ a }}",
    "blocks": "{% set a = 'x' %}" + "{% set a %}{{ a }}{{ a }}{% endset %}" * 40 + "{{ a }}",
    "a list in a list": "{% set a = [] %}" + _TWICE + "{{ a }}",
    "a list in a list, as JSON": "{% set a = [] %}" + _TWICE + "{{ a | tojson }}",
    "a list in a list, as text": "{% set a = [] %}" + _TWICE + "{{ a | string }}",
    "a list in a list, compared": _TWICE.replace("[a, a]", "[]", 1)
    + _TWICE.replace("[a, a]", "[]", 1).replace("a = [a, a]", "b = [b, b]").replace("set a = []", "set b = []")
    + "{{ a == b }}",
    "a table in a table": "{% set a = {} %}" + "{% set a = {'x': a, 'y': a} %}" * 40 + "{{ a }}",
    "a macro that calls itself": "{% macro m(n) %}{{ m(n) }}{{ m(n) }}{% endmacro %}{{ m(1) }}",
    "a macro, twice": "{% macro m(n) %}{% if n %}{{ m(n - 1) ~ m(n - 1) }}{% endif %}{% endmacro %}{{ m(40) }}",
    "recursive loops": "{% for a in [1, 2] recursive %}{{ loop([1, 2]) }}{% endfor %}",
    "power": "{{ 9 ** 99999999 }}",
    "powers": "{{ ((9 ** 600) * (9 ** 600)) * (9 ** 600) }}",
    "centre": "{{ 'x' | center(9999999999) }}",
    "centre as a method": "{{ 'x'.center(9999999999) }}",
    "zeros": "{{ '1'.zfill(99999999) }}",
    "tabs": "{{ '\\t'.expandtabs(99999999) }}",
    "a formatted width": "{{ '%999999999d' % 1 }}",
    "a formatted width, given": "{{ '%*d' % (999999999, 1) }}",
    "a formatted width as a filter": "{{ '%999999999d' | format(1) }}",
    "a formatted width as a method": "{{ '{:999999999}'.format(1) }}",
    "indent": "{{ 'a\\nb\\nc' | indent(99999999) }}",
    "slices of nothing": "{{ [1] | slice(99999999) | list }}",
    "batches": "{{ [1] | batch(99999999, 'x') | list }}",
    "round": "{{ 1.5 | round(99999999) }}",
    "words of nobody": "{{ lipsum(n=99999999) }}",
    "sums of lists": "{{ ([[1, 2, 3]] * 90000) | sum(start=[]) | length }}",
    "outputs": "{% for a in range(99999) %}{{ 'x' * 3000 }}{% endfor %}",
    "cycles": "{% set c = cycler('a', 'b') %}" + _LOOPS.format("{{ c.next() }}"),
    "generators": _LOOPS.format("x").replace("range(9999)", "range(99999) | map('string')"),
    "names": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}{{ n.x }}",
}
CHATS = [
    [{"role": "user", "content": "What is a neuron?"}],
    [{"role": "system", "content": "Be brief. "}, {"role": "user", "content": "  Größe 電力\n"}],
    [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "{{ 7 * 7 }}"},
    ],
]
#: Templates in the manner of those of models: tools, blocks of reasoning, slices, JSON, namespaces, macros.
ORDINARY = {
    **TEMPLATES,
    "reversed": (
        "{%- set ns = namespace(multi=true, last=messages|length - 1) -%}{%- for m in messages[::-1] -%}"
        "{%- set index = (messages|length - 1) - loop.index0 -%}{%- if ns.multi and m.role == 'user' -%}"
        "{%- set ns.multi = false -%}{%- set ns.last = index -%}{%- endif -%}{%- endfor -%}{{ ns.last }}"
        "{%- for m in messages %}{{ loop.index }}/{{ loop.length }}{{ '' if loop.last else ', ' }}"
        "{{ m.content.split('a')[-1].lstrip('\\n') }}{%- endfor %}"
    ),
    "generation": "{% for m in messages %}{% generation %}{{ m['content'] | trim }}{% endgeneration %}{% endfor %}",
    "json": "{{ messages | tojson(indent=2) }}{{ messages[0] | tojson }}{{ {'a': 'é<&'} | tojson }}",
    "macro": "{% macro turn(m, n=2) %}<{{ m.role }}>{{ m.content[:n] ~ '…' }}{% endmacro %}"
    "{% for m in messages if m.role != 'system' %}{{ turn(m) }}{% break %}{% endfor %}",
    "filters": (
        "{{ messages | map(attribute='content') | join('|') | upper }}{{ bos_token }}{{ 'x'.join(['1', '2']) }}"
        "{{ messages | selectattr('role', 'equalto', 'user') | list | length }}"
        "{{ messages[0].content | replace('a', 'b') | indent(2) }}"
    ),
    "tests": "{% if tools is none and documents is not defined or tools is not defined %}a{% endif %}"
    "{{ messages[0].content is string }}{{ 'a' in messages[0].content }}{{ 3 in [1, 2] or 2 < 3 <= 3 }}",
    "filter block": "{% filter upper %}{% for m in messages %}{{ m.content }}{% endfor %}{% endfilter %}",
    "dict": "{% for key, value in messages[0].items() %}{{ key }}={{ value }}{% endfor %}"
    "{{ dict(a=1)['a'] + 2 * 3 - 4 // 3 }}",
}


def with_template(template: str) -> Any:
    made = tokenizer()
    made.chat_template = template
    return made


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    """One line, and at no time more than 200 MB of Python's objects."""
    made = with_template(BOMBS[name])
    tracemalloc.start()
    try:
        with pytest.raises((UnsafeError, RejectedError)) as caught:
            render_chat(made, [{"role": "user", "content": "a" * 234}], owner="power")
        assert tracemalloc.get_traced_memory()[1] < 200e6
    finally:
        tracemalloc.stop()
    assert caught.value.message.startswith("the chat template of power ")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(("name", "chat", "ask"), list(itertools.product(ORDINARY, CHATS, [True, False])))
def test_ordinary_templates(name: str, chat: list[dict[str, str]], ask: bool) -> None:
    """The same text as transformers', character by character; or both refuse."""
    made = with_template(ORDINARY[name])
    try:
        expected = made.apply_chat_template(chat, tokenize=False, add_generation_prompt=ask)
    except Exception:  # noqa: BLE001 - whatever it is
        with pytest.raises(RejectedError):
            render_chat(made, chat, ask=ask)
        return
    assert render_chat(made, chat, ask=ask) == expected


def test_a_template_that_takes_no_system_message() -> None:
    """As Gemma's: its own words, which conversation, and what helps."""
    made = with_template(
        "{% if messages[0]['role']=='system' %}{{ raise_exception('System role not supported') }}{% endif %}"
        "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    )
    with pytest.raises(RejectedError, match="chat template of power rejects system, user: System role not supported"):
        render_chat(made, CHATS[1], owner="power")
    assert render_chat(made, CHATS[0]) == "What is a neuron?"


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{{ cycler.__init__.__globals__.os.system('true') }}",
        "{% include 'x' %}",
        "{% for",
        "{{ nothing.there }}",
        "{{ 1 / 0 }}",
        "{{ messages[0].content.encode('utf-8') }}",
    ],
)
def test_what_is_refused(template: str) -> None:
    """Anything that a template raises is one line; nothing of the interpreter is reached."""
    made = with_template(template)
    with pytest.raises((UnsafeError, RejectedError), match="the chat template of power "):
        render_chat(made, CHATS[0], owner="power")


def test_an_attribute_that_is_not_there_is_nothing() -> None:
    """As Jinja's sandbox has it."""
    assert render_chat(with_template("{{ 'a' | attr('__class__') | string }}."), CHATS[0]) == "."


def test_long_chats() -> None:
    """A million characters of text in a thousand turns are no attack."""
    chat = [{"role": role, "content": "word " * 200} for _ in range(500) for role in ("user", "assistant")]
    text = render_chat(with_template(TEMPLATES["chatml"]), chat)
    assert text == with_template(TEMPLATES["chatml"]).apply_chat_template(chat, tokenize=False)
