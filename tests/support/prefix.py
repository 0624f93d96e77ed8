"""Mixtures with routing prefix in tests: worlds whose heads are wide enough, and what their streams should hold."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from support.families import Zoo

#: A kernel needs some pairs of dimensions, and frequencies that are slow enough.
LONG: dict[str, Any] = {
    "rope_parameters": {"rope_type": "default", "rope_theta": 1e5},
    "max_position_embeddings": 8192,
    "head_dim": 64,
    "pad_token_id": 1,  # a padding token has an embedding of zeros, and the prefix token is another one
}
#: Family → what else it needs. Qwen3's own norms bound the scores of a head: its weights are large enough in real
#: models, and so they are here; with a widened stream they keep their epsilon only up to its size.
WORLDS: dict[str, dict[str, Any]] = {
    "llama": LONG,
    "llama-tied": LONG,
    "mistral": LONG,
    "qwen2": LONG,
    "qwen3": LONG | {"rms_norm_eps": 1e-6},
}
PREFIX = 0


def world_of(world: Any, family: str, **changes: Any) -> Any:
    """A base of this family that routing prefix takes, with experts over it; Qwen3 with larger norms of its heads.

    :param world: of ``tests/fusion/conftest.py``.
    """
    options = WORLDS[family] | changes
    kind = WideNorms if family == "qwen3" else Zoo
    return kind(world, family, options.pop("dtype", "float32"), **options)


class WideNorms(Zoo):
    """Norms of queries and keys as large as those of real models."""

    factor = 3.0

    def model(self, seed: int = 7) -> Any:
        import torch

        found = super().model(seed)
        with torch.no_grad():
            for name, parameter in found.named_parameters():
                if name.endswith(("q_norm.weight", "k_norm.weight")):
                    parameter.mul_(self.factor)
        return found


#: What the samples of experts speak of; beside the general text of the tests.
FIELDS = {
    "e1": "the grid operator measures voltage and current at every node of the power network ",
    "e2": "a patient with fever and pain was given one dose of the drug by the nurse at night ",
    "e3": "we heat steel, zinc and glass quickly; they crack where crystals have big flaws ",
}


def spoken(world: Any, id: str, seed: int = 1, *, kind: str = "ffn", field: str | None = None, **changes: Any) -> Any:
    """An expert whose samples are of a field of their own.

    :param field: what its samples repeat; default: that of :data:`FIELDS`.
    :param kind: how the world makes experts: ffn, anchored.
    """
    import hashlib

    file = world.world.folder / id / "field.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps({"text": (field or FIELDS[id]) * 12}) + "\n" for _ in range(8)))
    digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
    samples = {"path": file.name, "digest": digest, "license": "CC0-1.0"}
    return getattr(world, kind)(id, seed, **{"samples": samples} | changes)


def field_ids(*fields: str, length: int = 48) -> list[int]:
    """The prefix token, and one text after another, each of ``length`` tokens."""
    from support.tiny import tokenizer

    found = [PREFIX]
    for id in fields:
        found += tokenizer()(FIELDS[id] * 40, add_special_tokens=False)["input_ids"][:length]
    return found


def rows_of(folder: Path) -> dict[str, np.ndarray]:
    """The content of the router file."""
    from safetensors.numpy import load_file

    found: dict[str, np.ndarray] = load_file(folder / "router/router.safetensors")
    return found


def details_of(folder: Path) -> dict[str, Any]:
    """What the plan in the lock has of strategy moe."""
    found: dict[str, Any] = json.loads((folder / "cogen.lock").read_text())["plan"]["details"]
    return found


def evidence_of(folder: Path) -> np.ndarray:
    """Of every token for every expert in the order of the slots, shape (vocabulary, experts), float64; of more experts
    than the extra head carries, the features that they share."""
    rows = rows_of(folder)
    if ".features" in rows:
        return rows[".features"].astype(np.float64)
    return np.stack([rows[id] for id in details_of(folder)["slots"] if id != "base"], 1).astype(np.float64)


def expected(folder: Path, ids: Sequence[int], window: int | None = None) -> np.ndarray:
    """Mean evidence of every expert at every position, by the closed form: shape (tokens, experts), float64.

    :param folder: of the composite, whose router file has evidence and amplitudes; ``window``: of the attention.
    """
    config = json.loads((folder / "config.json").read_text())
    amplitudes = rows_of(folder)[".kernel"].astype(np.float64)
    half, evidence = len(amplitudes), evidence_of(folder)
    frequencies = config["rope_parameters"]["rope_theta"] ** (-np.arange(half) / half)
    planned = details_of(folder)["prefix"]
    mass = np.log(planned["mass"]) + amplitudes.sum()
    # Where norms make all keys as long, a mark's is shared between the kernel and the mark.
    shared = np.sqrt(0.5) if config["model_type"] == "qwen3_moe" else 1.0
    tokens = np.asarray(ids)
    found = []
    for t in range(len(tokens)):
        first = 0 if window is None else max(0, t - window + 1)
        distances = t - np.arange(first, t + 1)
        scores = np.cos(np.outer(distances, frequencies)) @ amplitudes
        scores = np.where(tokens[first : t + 1] == planned["turn"], shared * scores, scores)
        sunk = tokens[first : t + 1] == PREFIX
        scores = np.where(sunk, mass * np.cos(distances * frequencies[-1]), scores)
        if tokens[t] == PREFIX:  # its query is zero, so that all keys count alike
            scores = np.zeros_like(scores)
        weights = np.exp(scores - scores.max())
        weights /= weights.sum()
        own = np.where(sunk[:, None], 0.0, evidence[tokens[first : t + 1]])
        found.append(weights @ own)
    return np.array(found)


#: Marks the user's messages, by a letter that no text of the tests has.
TURNS = (
    "{% for m in messages %}{{ ('¶' if m['role'] == 'user' else m['role'] + ': ') + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
)


def with_turns(zoo: Any, template: str = TURNS) -> Any:
    """The same world, whose base has a chat template."""
    (zoo.world.folder / "base" / "chat_template.jinja").write_text(template, encoding="utf-8")
    return zoo


def forgotten(model: Any, folder: Path, ids: Sequence[int], window: int | None = None) -> np.ndarray:
    """Mean evidence in the second layer, where what stands before a turn is taken out: shape (tokens, experts).

    By the closed form, but for sizes of the stream before that layer, which are the model's.
    """
    import torch

    planned, rows = details_of(folder)["prefix"], rows_of(folder)
    hidden, seen = details_of(folder)["hidden"], []
    norm = model.model.layers[1].input_layernorm
    handle = norm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0][0, :, :hidden].double()))
    with torch.no_grad():
        model(input_ids=torch.tensor([list(ids)]))
    handle.remove()
    sizes = seen[0].square().mean(1).sqrt().numpy()
    relative = rows[".attended"][1] / sizes
    amplitudes, tokens, mean = rows[".kernel"].astype(np.float64), np.asarray(ids), expected(folder, ids, window)
    config = json.loads((folder / "config.json").read_text())
    frequencies = config["rope_parameters"]["rope_theta"] ** (-np.arange(len(amplitudes)) / len(amplitudes))
    mass = np.exp((np.cos(np.outer(np.arange(2048), frequencies)) - 1) @ amplitudes).sum()
    normed = hasattr(model.model.layers[1].self_attn, "q_norm")
    found = mean.copy()
    for t in range(len(tokens)):
        first = 0 if window is None else max(0, t - window + 1)
        here = np.arange(first, t + 1)
        turned = np.cos(np.outer(t - here, frequencies)) @ amplitudes
        scores = turned if normed else relative[t] * relative[here] * (turned - amplitudes.sum())
        scores = np.where(tokens[here] == PREFIX, 0.0, scores)
        scores = np.zeros_like(scores) if tokens[t] == PREFIX else scores
        weights = np.exp(scores - scores.max())
        values = np.where(
            (tokens[here] == planned["turn"])[:, None], mean[here] * (rows[".mark"] / sizes[here])[:, None], 0.0
        )
        found[t] -= planned["reset"] * mass * (weights / weights.sum()) @ values
    return found


def in_stream(model: Any, folder: Path, layer: int = 0, **inputs: Any) -> np.ndarray:
    """Mean evidence as it stands in the stream before a layer's experts: shape (batch, tokens, experts or features)."""
    import torch

    details, usual = details_of(folder), rows_of(folder)[".stream"]
    evidences = evidence_of(folder).shape[1]
    start = details["hidden"] + 2 + evidences
    share = 2.0**-8 * 2.0 ** round(float(np.log2(usual[0])))
    seen: list[Any] = []
    norm = model.model.layers[layer].post_attention_layernorm
    handle = norm.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0].detach()))
    try:
        with torch.no_grad():
            model(**inputs)
    finally:
        handle.remove()
    found: np.ndarray = seen[0][..., start : start + evidences].double().numpy() / share
    return found
