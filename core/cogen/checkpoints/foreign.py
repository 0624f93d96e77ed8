"""Models and tokenizers that a plugin's hook made: what their methods raise, or answer that is none, names the plugin.

They are used in many places, from lm_eval to a training's teachers, and anything may come out of a forward pass that
somebody else wrote. The object stays what it is and gets a subclass of its class, so that everybody who asks for its
class, its name or its attributes finds them.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from cogen.errors import PluginError, failure
from cogen.untrusted.border import passes

#: Attribute of the subclasses that are made here.
_MARK = "_cogen_guarded"
#: Methods that are called on models and tokenizers of others, where they have them.
_OF_MODEL = ("__call__", "generate")
_OF_TOKENIZER = (
    "__call__",
    "encode",
    "decode",
    "batch_decode",
    "apply_chat_template",
    "convert_ids_to_tokens",
    "__len__",
)


def guarded_model(model: Any, plugin: str, expert: str) -> Any:
    """The model itself, whose forward pass ends in logits or in one line.

    :param plugin: distribution whose hook made it. :param expert: id of the expert.
    :raises PluginError: its class cannot be extended.
    """
    return _guarded(model, _OF_MODEL, plugin, f"the model of {expert}", _check_output)


def guarded_tokenizer(tokenizer: Any, plugin: str, expert: str) -> Any:
    """The tokenizer itself, whose methods end in one line where they fail."""
    return _guarded(tokenizer, _OF_TOKENIZER, plugin, f"the tokenizer of {expert}", None)


def _guarded(
    value: Any,
    methods: tuple[str, ...],
    plugin: str,
    what: str,
    check: Callable[[str, Any, dict[str, Any]], str | None] | None,
) -> Any:
    kind = type(value)
    if _MARK in vars(kind):  # the plugin keeps it, and answers with it again
        return value
    found = {name: getattr(kind, name) for name in methods if callable(getattr(kind, name, None))}
    own: dict[str, Any] = {name: _method(name, method, plugin, what, check) for name, method in found.items()}
    own |= {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    try:
        value.__class__ = type(kind.__name__, (kind,), own | {"__slots__": (), _MARK: True})
    except Exception as error:
        raise PluginError(
            plugin,
            f"{plugin}: {what} is a {kind.__name__}, whose failures could not be told from those of others",
            hint="make it an instance of a class that is written in Python, as torch.nn.Module is",
        ) from error
    return value


def _method(
    name: str,
    method: Callable[..., Any],
    plugin: str,
    what: str,
    check: Callable[[str, Any, dict[str, Any]], str | None] | None,
) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *arguments: Any, **options: Any) -> Any:
        try:
            answer = method(self, *arguments, **options)
        except BaseException as error:
            if passes(error) or _no_memory(error):
                raise
            raise _error(plugin, f"{what} failed: {failure(error)}") from error
        if check is not None and (wrong := check(name, answer, options)) is not None:
            raise _error(plugin, f"{what} {wrong}")
        return answer

    return call


def _error(plugin: str, problem: str) -> PluginError:
    return PluginError(plugin, f"{plugin}: {problem}", hint=f"report it to the authors of {plugin}")


def _no_memory(error: BaseException) -> bool:
    """Of a device: it has a line of its own, and says nothing about the model."""
    import torch

    return isinstance(error, torch.OutOfMemoryError)


def _check_output(name: str, answer: Any, options: dict[str, Any]) -> str | None:
    """What is wrong with the answer of a forward pass; ``None``: nothing."""
    import torch

    if name != "__call__" or options.get("return_dict") is False:
        return None
    logits = getattr(answer, "logits", None)
    if not isinstance(logits, torch.Tensor) or not logits.is_floating_point() or logits.dim() != 3:
        kind = f"logits of shape {tuple(logits.shape)}" if isinstance(logits, torch.Tensor) else "no logits"
        return f"gave {kind}, where (texts, tokens, vocabulary) of floats is needed"
    ids = options.get("input_ids")
    if isinstance(ids, torch.Tensor) and ids.dim() == 2 and logits.shape[0] != ids.shape[0]:
        return f"gave logits of {logits.shape[0]} texts for {ids.shape[0]}"
    if bool(logits.isnan().any()):
        return "gave NaN as logits"
    if options.get("output_hidden_states") and not getattr(answer, "hidden_states", None):
        return "gave no hidden states, which its forward pass was asked for"
    return None
