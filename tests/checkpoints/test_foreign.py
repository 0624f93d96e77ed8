"""Models and tokenizers that hooks of plugins made: the same objects, whose failures name plugin and expert."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.manifests import install, make_expert
from support.sites import site
from support.tiny import llama, logits, tokenizer

from cogen.checkpoints.foreign import guarded_model, guarded_tokenizer
from cogen.checkpoints.load import load_expert, load_expert_tokenizer
from cogen.errors import CogenError, PluginError
from cogen.host import Host

__all__ = ["site"]


class Odd(torch.nn.Module):
    """A model whose forward pass is given."""

    config = SimpleNamespace(vocab_size=300)

    def __init__(self, answer: Callable[[Any], Any]) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, input_ids: Any = None, **_: Any) -> Any:
        return self.answer(input_ids)


def fail(error: BaseException) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        raise error

    return answer


def of(value: Any, **more: Any) -> Callable[[Any], Any]:
    return lambda ids: SimpleNamespace(logits=value, **more)


IDS = torch.tensor([[1, 2, 3]])
RIGHT = torch.zeros(1, 3, 300)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (fail(RuntimeError("inside\nforward")), r"failed: RuntimeError: inside forward \(test_foreign.py:\d+\)"),
        (fail(SystemExit(0)), "failed: SystemExit: 0"),
        (fail(MemoryError()), "failed: MemoryError"),
        (lambda ids: None, "gave no logits"),
        (lambda ids: (RIGHT,), "gave no logits"),
        (of(RIGHT.long()), r"gave logits of shape \(1, 3, 300\), where \(texts, tokens, vocabulary\) of floats"),
        (of(RIGHT[0]), r"gave logits of shape \(3, 300\)"),
        (of(RIGHT.repeat(2, 1, 1)), "gave logits of 2 texts for 1"),
        (of(RIGHT * torch.nan), "gave NaN as logits"),
        (of(RIGHT, hidden_states=None), "gave no hidden states"),
    ],
)
def test_a_forward_pass_that_is_wrong(answer: Callable[[Any], Any], reason: str) -> None:
    model = guarded_model(Odd(answer), "cogen-plugin-odd", "odd")
    with pytest.raises(PluginError, match=f"^cogen-plugin-odd: the model of odd {reason}") as caught:
        model(input_ids=IDS, output_hidden_states="hidden" in reason)
    assert caught.value.plugin == "cogen-plugin-odd"
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), CogenError("a line", hint=None), torch.OutOfMemoryError("CUDA out of memory")]
)
def test_what_is_not_the_plugins_fault_passes(error: BaseException) -> None:
    model = guarded_model(Odd(fail(error)), "cogen-plugin-odd", "odd")
    with pytest.raises(type(error)) as caught:
        model(input_ids=IDS)
    assert caught.value is error


def test_infinity_is_no_mistake() -> None:
    """Columns of padding are -inf in some models."""
    found = RIGHT.clone()
    found[..., -4:] = -torch.inf
    assert guarded_model(Odd(of(found)), "p", "odd")(input_ids=IDS).logits is found


def test_a_model_stays_what_it_is() -> None:
    """The same object with the same numbers; its class goes by the same name and is one of the same class."""
    model = llama()
    before, kind = logits(model), type(model)
    found = guarded_model(model, "cogen-plugin-odd", "odd")
    assert found is model
    assert isinstance(found, kind)
    assert type(found).__name__ == "LlamaForCausalLM"
    assert torch.equal(logits(found), before)
    assert found.generate(IDS, max_new_tokens=2, do_sample=False, pad_token_id=0).shape == (1, 5)
    assert torch.equal(logits(copy.deepcopy(found)), before)
    assert type(guarded_model(found, "cogen-plugin-odd", "odd")) is type(found)
    assert not hasattr(kind, "_cogen_guarded")


def test_what_cannot_be_extended() -> None:
    with pytest.raises(PluginError, match="cogen-plugin-odd: the model of odd is a dict"):
        guarded_model({}, "cogen-plugin-odd", "odd")


def test_a_tokenizer_that_fails() -> None:
    class Broken(type(tokenizer())):  # type: ignore[misc]
        def decode(self, *_: Any, **__: Any) -> str:
            raise KeyError("token")

    broken = copy.deepcopy(tokenizer())
    broken.__class__ = Broken
    found = guarded_tokenizer(broken, "cogen-plugin-odd", "odd")
    assert found("the grid")["input_ids"] == tokenizer()("the grid")["input_ids"]
    assert len(found) == len(tokenizer())
    with pytest.raises(PluginError, match=r"^cogen-plugin-odd: the tokenizer of odd failed: KeyError: 'token'"):
        found.decode([1])


HOOK = """
import cogen, torch, types

class Model(torch.nn.Module):
    config = types.SimpleNamespace(vocab_size=300)
    def forward(self, input_ids, **_):
        raise ZeroDivisionError("no forward pass")

class Tokenizer:
    def __call__(self, text): raise RuntimeError("no tokens")
    def decode(self, ids): return ""

@cogen.hookimpl
def cogen_load_model(spec, device, dtype): return Model()

@cogen.hookimpl
def cogen_load_tokenizer(spec): return Tokenizer()
"""


def test_by_the_hooks(site: Any, tmp_path: Any) -> None:
    """What `eval`, routers and teachers get is guarded."""
    install(site, "odd", init=HOOK)
    host, spec = Host.discover(), make_expert(tmp_path, "power").spec
    checkpoint: Any = None
    model = load_expert(host, spec, checkpoint, "float32")
    with pytest.raises(PluginError, match=r"^cogen-plugin-odd: the model of power failed: ZeroDivisionError"):
        model(IDS)
    found = load_expert_tokenizer(host, spec, checkpoint)
    with pytest.raises(PluginError, match=r"^cogen-plugin-odd: the tokenizer of power failed: RuntimeError: no tokens"):
        found("a text")
