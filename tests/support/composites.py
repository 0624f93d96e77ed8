"""One tiny composite of every kind that CoGen writes, large enough for the kernels of serving engines."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.families import Zoo
from support.lexicons import END, START, save_expert
from support.prefix import FIELDS, WORLDS, WideNorms, field_ids, spoken, with_turns
from support.tiny import save_model
from support.world import FakeHost, World

#: Head sizes of vLLM's kernels are multiples of 32, and quantised blocks of llama.cpp have 32 numbers.
SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "head_dim": 32,
    "initializer_range": 0.1,
    "rms_norm_eps": 1e-5,
}
#: A base that no default of a configuration describes: engines that miss its ``rope_theta`` compute something else.
THETA: dict[str, Any] = {"rope_parameters": {"rope_type": "default", "rope_theta": 1e5}}
#: Some general text, so that routers are made in a moment.
GENERAL = [
    "the current of a river and the power of the wind",
    "every network has a node that nobody measures",
    "Größe und Gewicht — eine Frage der Zeit 😀",
    "at the market they sell apples, pears and plums; the grid of the roof is made of iron",
]
_READERS = ("routing.anchors", "fusion.moe.routers", "fusion.moe.mixture", "routing.token_counts")
_READERS += ("fusion.moe.train_routers", "fusion.moe.prefix.rows")


@contextmanager
def small_world(cache: Path) -> Iterator[None]:
    """No general suite, a short general text, one thread and a cache of its own."""
    import pytest
    import torch

    threads = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COGEN_CACHE", str(cache))
        patch.setattr("cogen.fusion.merge.inputs.general_suites", list)
        for module in _READERS:
            patch.setattr(f"cogen.{module}.calibration_texts", lambda: list(GENERAL))
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(threads)


def _zoo(folder: Path, family: str, **changes: Any) -> Zoo:
    folder.mkdir(parents=True, exist_ok=True)
    own = {} if family == "llama-scaled" else THETA
    own = own | ({"sliding_window": 64} if family == "mistral" else {})
    return Zoo(World(folder), family, "float32", **(SIZES | own | changes))


def _experts(zoo: Zoo) -> list[Any]:
    """Two whole models that differ from the base in their feed-forward blocks."""
    return [zoo.full(id, _feed_forward(zoo, seed)) for id, seed in (("e1", 21), ("e2", 22))]


def _feed_forward(zoo: Zoo, seed: int) -> Any:
    import torch

    found, other = zoo.model(), zoo.model(seed)
    with torch.no_grad():
        for (name, parameter), (_, own) in zip(found.named_parameters(), other.named_parameters(), strict=True):
            if ".mlp." in name:
                parameter.add_(0.5 * (own - parameter))
    return found


def _fuse(experts: list[Any], folder: Path, **recipe: Any) -> Path:
    from cogen.fusion.recipe import FuseRecipe
    from support.runs import carry_out

    carry_out(FakeHost(*experts), FuseRecipe(**({"level": "none"} | recipe)), folder)
    return folder


def merged(family: str, folder: Path, **changes: Any) -> Path:
    """A dense model out of two."""
    zoo = _zoo(folder.with_name(f"{folder.name}-world"), family, **changes)
    return _fuse(_experts(zoo), folder, strategy="merge", method="linear", scale=1.0)


def stacked(family: str, folder: Path, **recipe: Any) -> Path:
    """A mixture whose routers read the state of one token."""
    zoo = _zoo(folder.with_name(f"{folder.name}-world"), family)
    return _fuse(_experts(zoo), folder, **{"strategy": "moe", "routing": "hidden"} | recipe)


def prefixed(family: str, folder: Path) -> Path:
    """A mixture with prefix routing that forgets at turns: a wider stream, and one more key-value head."""
    place = folder.with_name(f"{folder.name}-world")
    place.mkdir(parents=True, exist_ok=True)
    kind = WideNorms if family == "qwen3" else Zoo
    own = {"qwen2": {"hidden_size": 256}, "mistral": {"sliding_window": 64}}
    options = SIZES | WORLDS[family] | own.get(family, {})
    zoo = with_turns(kind(World(place), family, "float32", **options))
    experts = [_speaking(zoo, id, seed) for id, seed in (("e1", 21), ("e2", 22))]
    return _fuse(experts, folder, strategy="moe", routing="prefix")


def _speaking(zoo: Zoo, id: str, seed: int) -> Any:
    class Full:
        """Makes an expert that is a whole model where ``spoken`` asks for an adapter."""

        world = zoo.world

        @staticmethod
        def ffn(id: str, seed: int, **changes: Any) -> Any:
            return zoo.full(id, _feed_forward(zoo, seed), **changes)

    return spoken(Full, id, seed, field=FIELDS[id])


def adapted(folder: Path) -> Path:
    """A LoRA merged into its base."""
    import torch
    from peft import LoraConfig, get_peft_model

    from cogen.checkpoints.adapter import read_adapter
    from cogen.checkpoints.model import open_folder
    from cogen.merging.lora.merge import write_merged

    zoo = _zoo(folder.with_name(f"{folder.name}-world"), "llama-tied")
    torch.manual_seed(1)
    lora = get_peft_model(zoo.model(), LoraConfig(r=4, target_modules=["up_proj", "q_proj"], init_lora_weights=False))
    lora.save_pretrained(zoo.world.folder / "adapter")
    folder.mkdir()
    write_merged(open_folder(zoo.world.folder / "base"), [read_adapter(zoo.world.folder / "adapter")], [1.0], folder)
    return folder


def distilled(folder: Path) -> Path:
    """What a distillation writes of its student."""
    from cogen.checkpoints.model import open_folder
    from cogen.fusion.distill.run import write_student

    zoo = _zoo(folder.with_name(f"{folder.name}-world"), "llama-tied")
    folder.mkdir()
    write_student(_feed_forward(zoo, 21), open_folder(zoo.world.folder / "base"), folder)
    return folder


def united(folder: Path) -> Path:
    """A merge of models with other tokens, whose tokenizer has those of both."""
    place = folder.with_name(f"{folder.name}-world")
    place.mkdir(parents=True, exist_ok=True)
    world = World(place)
    save_model(place / "base", 7, "float32", **SIZES)
    experts = [
        save_expert(world, id, added=added, dtype="float32", **SIZES)
        for id, added in (("e1", []), ("e2", [START, END]))
    ]
    return _fuse(experts, folder, strategy="merge", method="linear", scale=0.6, tokenizer="union")


#: Kind of composite → what writes one into a folder that does not exist yet.
KINDS: dict[str, Callable[[Path], Path]] = {
    **{
        f"merge of {name}": functools.partial(merged, family)
        for name, family in (
            ("Llama", "llama"),
            ("Llama, tied embeddings", "llama-tied"),
            ("Llama, scaled rope", "llama-scaled"),
            ("Mistral", "mistral"),
            ("Qwen2", "qwen2"),
            ("Qwen3", "qwen3"),
            ("OLMo-2", "olmo2"),
        )
    },
    "merge of Mistral, short window": functools.partial(merged, "mistral", sliding_window=6),
    "merge, tokenizers united (Llama)": united,
    "adapter merged (Llama)": adapted,
    "distilled (Llama)": distilled,
    **{
        f"mixture, hidden: {name}": functools.partial(stacked, family)
        for name, family in (
            ("Mixtral of Llama", "llama"),
            ("Mixtral of Mistral", "mistral"),
            ("Qwen2-MoE", "qwen2"),
            ("Qwen3-MoE", "qwen3"),
            ("FlexOlmo", "olmo2"),
        )
    },
    "mixture, hidden: Qwen2-MoE, all experts": functools.partial(stacked, "qwen2", top_k=3),
    **{
        f"mixture, prefix: {name}": functools.partial(prefixed, family)
        for name, family in (
            ("Mixtral of Llama", "llama"),
            ("Mixtral of Mistral", "mistral"),
            ("Qwen2-MoE", "qwen2"),
            ("Qwen3-MoE", "qwen3"),
        )
    },
}


def some_ids() -> list[int]:
    """The prefix token and text of two fields: no token of it is unknown to all experts of the mixtures."""
    return field_ids("e1", "e2", length=20)


def made(kind: str, folder: Path) -> Path:
    """A composite of this kind, in a world of its own."""
    with small_world(folder.with_name("cache")):
        return KINDS[kind](folder)
