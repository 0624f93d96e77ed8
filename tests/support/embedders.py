"""A sentence-transformers folder of a few thousand random weights: real files, for tests without a network."""

from __future__ import annotations

import copy
from pathlib import Path

from support.tiny import tokenizer


def save_embedder(folder: Path) -> Path:
    """One layer of BERT over the tiny tokenizer, mean pooling; the same weights every time."""
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    words = copy.deepcopy(tokenizer())
    words.pad_token = words.eos_token
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=256,
    )
    with torch.random.fork_rng():
        torch.manual_seed(11)
        BertModel(config).save_pretrained(folder / "bert")
    words.save_pretrained(folder / "bert")
    layers = [Transformer(str(folder / "bert"), max_seq_length=128), Pooling(32)]
    SentenceTransformer(modules=layers, device="cpu").save(str(folder / "model"))
    return folder / "model"
