"""The readers that are fuzzed by :mod:`support.fuzzing`, and files of each that are right."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support import fuzz_answers

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Target:
    """``seeds``: files that are right. ``read``: reads the path of a changed one. ``form`` allows changes by value."""

    name: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    file: str = "input"
    form: str = "bytes"


def parse_toml(content: bytes) -> Any:
    return tomllib.loads(content.decode())


def dump(document: Any, form: str) -> bytes:
    if form == "json":
        return json.dumps(document, ensure_ascii=False).encode("utf-8", "surrogatepass")
    lines = document.items() if isinstance(document, dict) else [("value", document)]
    return "".join(f"{json.dumps(key)} = {_toml(inner)}\n" for key, inner in lines).encode("utf-8", "surrogatepass")


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {_toml(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(str(value) if not isinstance(value, str | int | bool) else value, ensure_ascii=False)


def _manifest(path: Path) -> object:
    from cogen.host.manifest import read_manifest

    reading = read_manifest(path)
    if reading.state != "ok":
        assert reading.reason
        assert "\n" not in reading.reason
    return reading


def _manifests(_: Path) -> list[bytes]:
    from support.manifests import manifest

    found = [plugin.read_bytes() for plugin in sorted(ROOT.glob("plugins/*/*/expert.toml"))[:2]]
    return [*found, dump(manifest(), "toml")]


def _fuse_recipe(path: Path) -> object:
    from cogen.fusion.recipe import read_fuse_recipe

    return read_fuse_recipe(path)


def _train_recipe(path: Path) -> object:
    from cogen.forge.recipe import read_recipe

    return read_recipe(path)


def _mergekit(path: Path) -> object:
    from cogen.merging.mergekit.recipe import read_recipe

    return read_recipe(path)


def _lock(path: Path) -> object:
    from cogen.artifacts.lock import read_lock

    return read_lock(path)


def _plan(path: Path) -> object:
    from cogen.fusion.plan import read_plan

    return read_plan(path)


def _route(path: Path) -> object:
    from cogen.fusion.route.manifest import read_route

    return read_route(path.parent)


def _old(name: str) -> Callable[[Path], list[bytes]]:
    return lambda _: [path.read_bytes() for path in sorted((ROOT / "tests/fusion/old").glob(f"*/{name}"))]


def _adapter(path: Path) -> object:
    from cogen.checkpoints.adapter import read_adapter
    from support.weights import adapter

    weights = path.parent / "adapter_model.safetensors"
    if not weights.exists():
        weights.write_bytes(adapter()["adapter_model.safetensors"])
    return read_adapter(path.parent)


def _adapters(_: Path) -> list[bytes]:
    from support.weights import adapter

    more = {
        "peft_type": "LORA",
        "r": 1,
        "lora_alpha": 2,
        "target_modules": ["up_proj"],
        "rank_pattern": {"up_proj": 1, "^model.layers.[0-9]+.mlp.(up|down)_proj": 2},
        "alpha_pattern": {".*proj": 3.5},
        "use_rslora": True,
        "init_lora_weights": "gaussian",
        "modules_to_save": None,
        "layers_to_transform": [0],
    }
    return [adapter()["adapter_config.json"], json.dumps(more).encode()]


def _samples(path: Path) -> object:
    from cogen.evals.samples import read_samples

    return read_samples(path, "power")


def _sample_files(_: Path) -> list[bytes]:
    from support.manifests import files

    return [
        files("power")["samples.jsonl"],
        '\ufeff{"text": "one\u2028two", "source": "a"}\r\n\r\n{"text": "b"}'.encode(),
    ]


def _suite_data(path: Path) -> object:
    return _suite(path, "test.jsonl")


def _suite_task(path: Path) -> object:
    return _suite(path, "task.yaml")


def _suite(path: Path, changed: str) -> object:
    """A suite of which one file is the input: its data, or its task."""
    import hashlib

    from cogen.evals.bound import BoundSuite
    from cogen.evals.documents import rows_of
    from cogen.evals.task import load_task
    from cogen.spec.suite import DataFile, Suite

    content = {"task.yaml": TASKS[1], "test.jsonl": DATA} | {changed: path.read_bytes()}
    for name, data in content.items():
        (path.parent / name).write_bytes(data)
    count = sum(1 for line in content["test.jsonl"].splitlines() if line.strip())
    digest = "sha256:" + hashlib.sha256(content["test.jsonl"]).hexdigest()
    file = DataFile(path="test.jsonl", digest=digest, documents=max(1, count), license="CC0-1.0")
    suite = Suite(id="heldout", title="x", task="task.yaml", metric="acc", dev=file, test=file)
    bound = BoundSuite("power", suite, path.parent)
    return rows_of(bound, load_task(bound), "test")


_DIGEST = "sha256:" + "0" * 64
_EXPERT = {
    **dict.fromkeys(("title", "distribution", "version", "publisher"), "x"),
    "id": "power",
    "license": "MIT",
    **dict.fromkeys(("spec_digest", "file_digest", "weights_digest"), _DIGEST),
}
ROUTE = json.dumps(
    {
        "version": 1,
        "cogen": "0.1.0",
        "embedder": {"source": "hf://a/b", "digest": _DIGEST},
        "fallback": None,
        "experts": [_EXPERT, _EXPERT | {"id": "zinc"}],
        "centroids": _DIGEST,
    }
).encode()
MERGEKIT = [
    b"merge_method: ties\nbase_model: a/base\nmodels:\n  - {model: a/one, parameters: {weight: 0.5, density: 0.3}}\n"
    b"  - model: a/two\n    parameters:\n      weight:\n        - {filter: mlp, value: [0, 0.5, 1]}\n"
    b"        - value: 1\n"
    b"parameters: {normalize: true}\ndtype: bfloat16\ntokenizer: {source: union, tokens: {'<s>': {source: a/one}}}\n",
    b"slices:\n  - sources:\n      - {model: a/one, layer_range: [0, 2]}\n      - {model: a/two, layer_range: [0, 2]}\n"
    b"merge_method: slerp\nbase_model: a/one\nparameters: {t: [0, 1]}\nchat_template: chatml\n",
]
DATA = b"".join(
    json.dumps({"question": f"what is {n}?", "choices": ["yes", "no", f"{n}"], "gold": n % 3}).encode() + b"\n"
    for n in range(3)
)
TASKS = [
    b"output_type: multiple_choice\ndoc_to_text: question\ndoc_to_target: gold\ndoc_to_choice: choices\n",
    b"task: heldout\ndataset_path: json\ndataset_kwargs:\n  data_files: {test: test.jsonl}\n"
    b"output_type: multiple_choice\n"
    b"doc_to_text: 'Q: {{ question | trim }} {% for c in choices %}{{ c | upper }} {% endfor %}'\n"
    b"doc_to_target: gold\ndoc_to_choice: '{{ choices }}'\ndescription: 'x {{ question[1:3] }}'\nnum_fewshot: 0\n"
    b"metric_list:\n  - {metric: acc, aggregation: mean, higher_is_better: true}\nmetadata: {version: 1.0}\n",
]


def _safetensors(path: Path) -> object:
    from cogen.checkpoints.safetensors_file import read_header, read_notes
    from cogen.wheels.safetensors_header import check_header

    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    try:
        check_header(content[8 : 8 + min(length, len(content))], len(content) - 8 - length)
        strict = True
    except (ValueError, RecursionError):  # as it says
        strict = False
    tensors = read_header(path)
    read_notes(path)
    assert all(info.stop <= len(content) for info in tensors.values())
    return strict


def _safetensors_files(_: Path) -> list[bytes]:
    import numpy
    from safetensors.numpy import save

    from support.weights import adapter

    tensors = {"a": numpy.ones((2, 3), numpy.float16), "b.c": numpy.zeros((0, 4), numpy.int64), "d": numpy.float32(1)}
    arrays = {name: numpy.asarray(tensor) for name, tensor in tensors.items()}
    return [adapter()["adapter_model.safetensors"], save(arrays, {"format": "pt", "note": "é"})]


def _gguf(path: Path) -> object:
    from cogen.checkpoints.gguf import _function

    return _function(path)


def _gguf_files(folder: Path) -> list[bytes]:
    """Heads of files of two architectures, with few tokens: changes meet keys and tensors, not the vocabulary."""
    import numpy as np
    from gguf import GGUFWriter

    found = []
    for arch in ("llama", "gemma3"):
        path = folder / f"{arch}.gguf"
        writer = GGUFWriter(path, arch)
        writer.add_context_length(64)
        writer.add_embedding_length(8)
        writer.add_block_count(1)
        writer.add_feed_forward_length(16)
        writer.add_head_count(2)
        writer.add_head_count_kv(1)
        writer.add_key_length(4)
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_freq_base(500.0)
        writer.add_string(f"{arch}.rope.scaling.type", "linear")
        writer.add_rope_scaling_factor(2.0)
        writer.add_tokenizer_model("gpt2")
        writer.add_token_list(["<s>", "a", "b", "é"])
        writer.add_token_types([3, 1, 1, 1])
        for name, shape in (("token_embd", (4, 8)), ("blk.0.ffn_up", (16, 8)), ("blk.0.attn_norm", (8,))):
            writer.add_tensor(f"{name}.weight", np.ones(shape, dtype=np.float32))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        found.append(path.read_bytes())
    return found


def _chat(path: Path) -> object:
    """A chat template of the input's text."""
    from cogen.checkpoints.chat_templates import _compiled
    from cogen.untrusted.border import border
    from cogen.untrusted.templates import Budget, render_limited

    text = path.read_bytes().decode("utf-8", "replace")
    turns = [{"role": "user", "content": "a" * 200}, {"role": "assistant", "content": "b\n\nc"}]
    with border("the template fails"):
        return render_limited(
            _compiled(text), {"messages": turns, "bos_token": "<s>", "eos_token": "</s>"}, Budget.of(len(text) + 200)
        )


def _chats(_: Path) -> list[bytes]:
    from cogen.merging.mergekit.templates import TEMPLATES

    odd = "{% macro m(n) %}{% for a in messages * n %}{{ a.content.split('a') | join('b') * n }}{% endfor %}"
    odd += "{% endmacro %}{{ m(3) ~ (m(2) | replace('b', m(1))) }}"
    return [text.encode() for text in (*TEMPLATES.values(), odd)]


TARGETS = {
    target.name: target
    for target in (
        Target("manifest", _manifests, _manifest, "expert.toml", "toml"),
        Target(
            "fuse recipe",
            lambda _: [path.read_bytes() for path in sorted((ROOT / "examples").glob("*.toml"))],
            _fuse_recipe,
            "fuse.toml",
            "toml",
        ),
        Target(
            "train recipe",
            lambda _: [path.read_bytes() for path in sorted(ROOT.glob("plugins/*/recipe.toml"))],
            _train_recipe,
            "recipe.toml",
            "toml",
        ),
        Target("mergekit recipe", lambda _: MERGEKIT, _mergekit, "merge.yml"),
        Target("route", lambda _: [ROUTE], _route, "route.json", "json"),
        Target("lock", _old("cogen.lock"), _lock, "cogen.lock", "json"),
        Target("plan", _old("plan.json"), _plan, "plan.json", "json"),
        Target("adapter config", _adapters, _adapter, "adapter_config.json", "json"),
        Target("samples", _sample_files, _samples, "samples.jsonl"),
        Target("suite data", lambda _: [DATA], _suite_data),
        Target("suite task", lambda _: TASKS, _suite_task),
        Target("safetensors header", _safetensors_files, _safetensors, "model.safetensors"),
        Target("GGUF header", _gguf_files, _gguf, "model.gguf"),
        Target("chat template", _chats, _chat, "chat_template.jinja"),
        Target("private figures", fuzz_answers.figure_files, fuzz_answers.figures, "figures.json", "json"),
        Target("index", fuzz_answers.index_files, fuzz_answers.index, "index.json", "json"),
        Target("registry", fuzz_answers.answer_files, fuzz_answers.answers, "answers.json", "json"),
        Target("config", fuzz_answers.config_files, fuzz_answers.config, "config.json", "json"),
    )
}
