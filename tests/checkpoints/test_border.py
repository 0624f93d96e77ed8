"""Other people's libraries on other people's files: whatever they raise is one line that names the file."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from support.manifests import install, make_expert
from support.sites import site
from support.tiny import llama, tokenizer

from cogen.checkpoints.load import load_expert, load_expert_tokenizer, load_model, load_tokenizer
from cogen.checkpoints.model import open_folder
from cogen.errors import CogenError, CompatibilityError, PluginError, SourceError
from cogen.host import Host
from cogen.untrusted.border import border

__all__ = ["site"]


class PanicException(BaseException):
    """What a library in Rust raises: not an Exception."""


class Silent(Exception):
    def __str__(self) -> str:
        raise ValueError


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("first line\nsecond line"), "first line"),
        (ValueError("\n\n  later  line \n"), "later line"),
        (KeyError("model"), "KeyError 'model'"),
        (AssertionError(), "AssertionError"),
        (RecursionError("maximum"), "it is nested too deeply"),
        (MemoryError(), "it needs more memory than there is"),
        (SystemExit(0), "0"),
        (PanicException("index out of bounds"), "index out of bounds"),
        (FileNotFoundError(errno.ENOENT, "No such file", "x"), "[Errno 2] No such file: 'x'"),
        (ImportError("No module named 'sentencepiece'"), "No module named 'sentencepiece'"),
        (Silent(), "Silent"),
        (ValueError("x" * 1000), "x" * 300 + "…"),
    ],
)
def test_what_becomes_a_line(error: BaseException, reason: str) -> None:
    with pytest.raises(SourceError) as caught, border("a.json of power cannot be read", hint="fetch it again"):
        raise error
    assert caught.value.message == f"a.json of power cannot be read: {reason}"
    assert (caught.value.hint, caught.value.__cause__) == ("fetch it again", error)


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        GeneratorExit(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
        CompatibilityError("as it is"),
    ],
)
def test_what_passes(error: BaseException) -> None:
    with pytest.raises(type(error)) as caught, border("x"):
        raise error
    assert caught.value is error


def test_the_plugin_is_named() -> None:
    with (
        pytest.raises(CompatibilityError, match=r"^cogen-plugin-x: it fails: no$"),
        border("it fails", make=CompatibilityError, plugin="cogen-plugin-x"),
    ):
        raise ValueError("no")


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    llama().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def copy(good: Path, target: Path, **changed: bytes) -> Path:
    target.mkdir()
    for path in good.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    for name, content in changed.items():
        (target / name.replace("__", ".")).write_bytes(content)
    return target


TOKENIZERS: dict[str, bytes] = {
    "not JSON": b"{",
    "a list": b"[]",
    "empty": b"",
    "no model": b'{"version": "1.0"}',
    "another model": b'{"version": "1.0", "model": {"type": "of the future"}}',
    "a vocabulary of texts": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": "b"}, "merges": []}}',
    "negative ids": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}',
    "merges of nothing": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["x y"]}}',
    "deep": b'{"a":' * 100_000,
    "binary": bytes(range(256)),
    "half a pair": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {"\\ud800": 0}, "merges": []}}',
    "a damaged expression": json.dumps(
        {
            "version": "1.0",
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(((("}, "behavior": "Isolated", "invert": False},
            "model": {"type": "BPE", "vocab": {"a": 0}, "merges": []},
        }
    ).encode(),
    "added tokens that are none": b'{"version": "1.0", "added_tokens": [3], "model": {"type": "BPE", "vocab": {}}}',
}


@pytest.mark.parametrize("content", TOKENIZERS.values(), ids=list(TOKENIZERS))
def test_damaged_tokenizers(good: Path, tmp_path: Path, content: bytes) -> None:
    folder = copy(good, tmp_path / "bad", tokenizer__json=content)
    with pytest.raises(CogenError, match=r"the tokenizer of power \(bad\)") as caught:
        load_tokenizer(folder, "power")
    assert "\n" not in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        {"model_type": "of_the_future"},
        {"model_type": 3},
        {"architectures": 3},
        {"hidden_size": "a"},
        {"num_attention_heads": 0},
        {"num_attention_heads": 5},
        {"hidden_size": 32.5},
        {"hidden_act": "of the future"},
        {"rope_parameters": {"rope_type": "of the future"}},
        {"rope_parameters": "x"},
        {"vocab_size": 17},
        {"num_hidden_layers": 3},
        {"quantization_config": {"quant_method": "of the future"}},
        {"torch_dtype": "of the future"},
    ],
)
def test_damaged_configurations(good: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    config = json.loads((good / "config.json").read_bytes()) | change
    folder = copy(good, tmp_path / "bad", config__json=json.dumps(config).encode())
    try:
        model = load_model(open_folder(folder), "float32", "power")
    except CogenError as error:
        message = error.message
    else:
        message = None
        assert model.config.hidden_size == 32
    assert message is None or ("bad" in message and "\n" not in message)


def test_loaders_of_plugins(site: Path, good: Path, tmp_path: Path) -> None:
    """What is not a model or a tokenizer is the plugin's mistake."""
    text = "import cogen\n@cogen.hookimpl\ndef cogen_load_model(spec): return 'a model'\n"
    text += "@cogen.hookimpl\ndef cogen_load_tokenizer(spec): return 3\n"
    install(site, "loader", init=text)
    host, spec, checkpoint = Host.discover(), make_expert(tmp_path).spec, open_folder(good)
    with pytest.raises(PluginError, match="cogen-plugin-loader: cogen_load_model gave no model for power: a str"):
        load_expert(host, spec, checkpoint, "float32")
    with pytest.raises(PluginError, match="cogen_load_tokenizer gave no tokenizer for power: a int"):
        load_expert_tokenizer(host, spec, checkpoint)
