"""Tiny models with tokenizers of several kinds, and composites of them made by the engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from support.tiny import llama

from cogen.checkpoints.load import load_tokenizer
from cogen.checkpoints.model import Checkpoint, open_folder
from cogen.merging.engine import Copy, Engine, Merge, OutputTensor
from cogen.merging.methods.linear import linear
from cogen.merging.operands import Stored
from cogen.merging.vocabulary import Vocabulary, VocabularyConfig, apply_changes, plan_vocabulary
from cogen.merging.writer import write_outputs

Model = Callable[..., Checkpoint]


@pytest.fixture
def model(tmp_path: Path) -> Model:
    """``model(name, tokenizer, …)``: a tiny Llama of its own random weights, one row a token if ``rows`` isn't given.

    ``tokenizer=None``: none is saved.
    """
    count = 0

    def make(
        name: str, of: Any = None, *, rows: int | None = None, tied: bool = True, dtype: str = "float32", **changes: Any
    ) -> Checkpoint:
        nonlocal count
        count += 1
        size = rows if rows is not None else max(of.get_vocab().values()) + 1
        folder = tmp_path / name
        llama(100 + count, dtype, vocab_size=size, tie_word_embeddings=tied, **changes).save_pretrained(folder)
        if of is not None:
            of.save_pretrained(folder)
        return open_folder(folder)

    return make


Compose = Callable[..., Path]


@pytest.fixture
def compose(tmp_path: Path) -> Compose:
    """``compose(checkpoints, choice, base=…, weights=…)``: the weighted average, written as a composite would be."""

    def make(
        checkpoints: Sequence[Checkpoint],
        choice: VocabularyConfig,
        *,
        base: int | None = None,
        weights: Sequence[float] | None = None,
        name: str = "out",
        threads: int = 2,
    ) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        with Engine(threads) as engine:
            vocabulary = plan_vocabulary(checkpoints, choice, engine.files, base)
            shares = tuple(weights or [1.0] * len(checkpoints))
            write_outputs(_outputs(checkpoints, vocabulary, shares, engine), engine, folder)
        _write_configs(checkpoints[vocabulary.anchor].folder, vocabulary, folder)
        vocabulary.write(folder)
        return folder

    return make


def _outputs(
    checkpoints: Sequence[Checkpoint], vocabulary: Vocabulary, weights: tuple[float, ...], engine: Engine
) -> list[OutputTensor]:
    outputs, anchor = [], checkpoints[vocabulary.anchor]
    for name in sorted({*anchor.tensors, *vocabulary.names}):
        ours = vocabulary.is_vocabulary_tensor(vocabulary.anchor, name)
        names = [vocabulary.stored_name(m, name) if ours else name for m in range(len(checkpoints))]
        stored = [
            Stored(engine.files, checkpoint, own, f"{i}")
            for i, (checkpoint, own) in enumerate(zip(checkpoints, names, strict=True))
        ]
        operands = [vocabulary.operand(m, name, operand) if ours else operand for m, operand in enumerate(stored)]
        work: Copy | Merge = Merge(linear, None, tuple(operands), weights)
        outputs.append(OutputTensor(name, stored[vocabulary.anchor].dtype, tuple(operands[0].shape), work))
    return outputs


def _write_configs(source: Path, vocabulary: Vocabulary, folder: Path) -> None:
    for name, changes in (
        ("config.json", vocabulary.config_changes),
        ("generation_config.json", vocabulary.generation_changes),
    ):
        own = json.loads((source / name).read_text()) if (source / name).is_file() else {}
        if own or changes:
            (folder / name).write_text(json.dumps(apply_changes(own, changes)))


@pytest.fixture
def rows_of() -> Callable[..., torch.Tensor]:
    """``rows_of(checkpoints, choice, model, …)``: one model's tensor for the composite's vocabulary, float64."""

    def read(
        checkpoints: Sequence[Checkpoint],
        choice: VocabularyConfig,
        index: int,
        name: str = "model.embed_tokens.weight",
        base: int | None = None,
    ) -> torch.Tensor:
        with Engine(1) as engine:
            vocabulary = plan_vocabulary(checkpoints, choice, engine.files, base)
            own = Stored(engine.files, checkpoints[index], vocabulary.stored_name(index, name), "m")
            operand = vocabulary.operand(index, name, own)
            size = 1
            for extent in operand.shape:
                size *= extent
            return operand.read(0, size, torch.float64).reshape(operand.shape)

    return read


@pytest.fixture
def agrees() -> Callable[[Path], int]:
    """Tensors, configurations and tokenizer of a composite agree with each other; gives its number of rows."""

    def check(folder: Path) -> int:
        checkpoint, tokenizer = open_folder(folder), load_tokenizer(folder)
        size = int(checkpoint.config["vocab_size"])
        for name in ("model.embed_tokens.weight", "lm_head.weight"):
            if name in checkpoint.tensors:
                assert checkpoint.tensors[name].shape[0] == size
        assert max(tokenizer.get_vocab().values()) < size
        assert ("lm_head.weight" in checkpoint.tensors) is (checkpoint.config["tie_word_embeddings"] is False)
        return size

    return check
