"""Any number of synthetic expert plugins over one tiny random base, as pip would install them: real files and digests.

An expert is a LoRA adapter of random numbers, samples of its own distribution of words, and a held-out suite. Nothing
is trained: what is measured is what the host, the planner and the engine do with that many.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: Words of the made-up language, and how many of them are an expert's own.
WORDS, OWN = 3000, 40
HIDDEN, FFN, LAYERS, HEADS, GROUPS, VOCABULARY = 64, 128, 2, 4, 2, 4096
RANK = 4
_SYLLABLES = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "xo", "zu")
_TASK = """\
task: heldout
dataset_path: json
dataset_kwargs:
  data_files: {validation: suites/dev.jsonl, test: suites/test.jsonl}
validation_split: validation
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - metric: bits_per_byte
    aggregation: bits_per_byte
    higher_is_better: false
metadata:
  version: 1.0
"""
_MANIFEST = """\
schema_version = 1
plugin_api = 1
id = "{id}"
title = "Synthetic expert {id}"
summary = "A synthetic expert for benchmarks"
publisher = "The benchmark"
domains = ["synthetic"]
languages = ["en"]
license = "Apache-2.0"
derivatives = "allowed"

[model]
name = "Adapter {id}"
source = "package://{module}/weights"
format = "peft"
dtype = "bfloat16"
file_digest = "{file}"
weights_digest = "{weights}"
architecture = "LlamaForCausalLM"
parameters = {parameters}
context_length = 1024
relation = "ffn"

[model.base]
name = "A tiny random base"
source = "{base}"
format = "safetensors"
dtype = "bfloat16"
license = "Apache-2.0"
file_digest = "{base_file}"
weights_digest = "{base_weights}"

[tokenizer]
source = "{base}"
digest = "{tokenizer}"
kind = "bpe"
vocab_size = {vocabulary}

[samples]
path = "samples.jsonl"
digest = "{samples}"
license = "CC0-1.0"

[data]
languages = ["en"]
collected = "2026"
preprocessing = "none"
split = "unknown"
training = "unknown"
synthetic_share = 1.0
personal_data = "none"
decontaminated_against = "unknown"
biases = "unknown"
limitations = "random weights"
not_for = "anything but benchmarks"

[[data.sources]]
name = "Made-up words"
uri = "file://texts"
license = "CC0-1.0"
license_evidence = "made up by the benchmark"
revision = "unknown"
archive_digest = "unknown"
documents = 60
bytes = 60000
tokens = 15000
share = 1.0
heldout = true

[[suites]]
id = "heldout"
title = "Held-out words"
task = "suites/heldout.yaml"
metric = "bits_per_byte"

[suites.dev]
path = "suites/dev.jsonl"
digest = "{dev}"
documents = 10
license = "CC0-1.0"

[suites.test]
path = "suites/test.jsonl"
digest = "{test}"
documents = 30
license = "CC0-1.0"
"""


def id_of(number: int) -> str:
    """Of a synthetic expert."""
    return f"x{number:04}"


def word(number: int) -> str:
    """The same for the same number; three syllables, four from 3,375 on."""
    return "".join(_SYLLABLES[number // 15**place % 15] for place in range(3 if number < 3375 else 4))


def text_of(draw: random.Random, own: list[int], words: int) -> str:
    """Words of which a quarter are an expert's own, and the others are drawn by Zipf's law from all."""
    found = [draw.choice(own) if draw.random() < 0.25 else int(WORDS ** draw.random()) for _ in range(words)]
    return " ".join(word(number) for number in found)


def make_base(folder: Path) -> dict[str, str]:
    """A random Llama with a tokenizer of its own; returns what manifests say of it."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    from cogen.checkpoints.digests import file_digest, tokenizer_digest
    from cogen.checkpoints.model import open_folder

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    draw = random.Random(0)
    backend.train_from_iterator([text_of(draw, list(range(WORDS)), 2000) for _ in range(20)], trainer)
    make: Any = PreTrainedTokenizerFast
    tokenizer = make(tokenizer_object=backend, bos_token="<|endoftext|>", eos_token="<|endoftext|>")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        intermediate_size=FFN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=1024,
        initializer_range=0.3,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=0,
    )
    LlamaForCausalLM(config).bfloat16().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return {
        "base": f"file://{folder}",
        "base_file": file_digest(folder),
        "base_weights": open_folder(folder).weights_digest,
        "tokenizer": tokenizer_digest(tokenizer),
    }


def install(site: Path, count: int, base: Mapping[str, str]) -> None:
    """Write ``count`` distributions into ``site``."""
    for number in range(count):
        _install(site, number, base)


def _install(site: Path, number: int, base: Mapping[str, str]) -> None:
    from cogen.checkpoints.digests import file_digest
    from cogen.checkpoints.digests import weights_digest as digest_of
    from cogen.checkpoints.safetensors_file import read_bytes, read_folder

    id = id_of(number)
    module = f"cogen_plugin_{id}"
    package = site / module
    (package / "suites").mkdir(parents=True)
    (package / "__init__.py").touch()
    draw = random.Random(number)
    own = draw.sample(range(WORDS), OWN)
    facts: dict[str, Any] = {}
    for name, path, count in (
        ("samples", "samples.jsonl", 60),
        ("dev", "suites/dev.jsonl", 10),
        ("test", "suites/test.jsonl", 30),
    ):
        content = "".join(json.dumps({"text": text_of(draw, own, 120)}) + "\n" for _ in range(count)).encode()
        (package / path).write_bytes(content)
        facts[name] = "sha256:" + hashlib.sha256(content).hexdigest()
    (package / "suites" / "heldout.yaml").write_text(_TASK)
    facts["parameters"] = _adapter(package / "weights", number)
    tensors = read_folder(package / "weights")
    shapes = [(info.name, info.dtype, info.shape) for info in tensors.values()]
    manifest = _MANIFEST.format(
        id=id,
        module=module,
        file=file_digest(package / "weights"),
        weights=digest_of(shapes, lambda name: read_bytes(tensors[name])),
        vocabulary=VOCABULARY,
        **facts,
        **base,
    )
    (package / "expert.toml").write_text(manifest)
    info = site / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: cogen-plugin-{id}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[cogen]\n{id} = {module}\n")


def _adapter(folder: Path, seed: int) -> int:
    """A LoRA adapter of the feed-forward layers as peft would write it; returns its parameters."""
    import torch
    from safetensors.torch import save_file

    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for layer in range(LAYERS):
        for part in ("gate_proj", "up_proj", "down_proj"):
            rows, columns = (HIDDEN, FFN) if part == "down_proj" else (FFN, HIDDEN)
            for letter, shape in (("A", (RANK, columns)), ("B", (rows, RANK))):
                name = f"base_model.model.model.layers.{layer}.mlp.{part}.lora_{letter}.weight"
                tensors[name] = (torch.randn(shape, generator=generator) * 0.1).to(torch.bfloat16)
    folder.mkdir()
    save_file(tensors, folder / "adapter_model.safetensors", {"format": "pt"})
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": RANK,
        "lora_alpha": 2 * RANK,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": ["down_proj", "gate_proj", "up_proj"],
        "base_model_name_or_path": None,
        "inference_mode": True,
    }
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return sum(tensor.numel() for tensor in tensors.values())
