"""What is written: a plain checkpoint that others can load, whole or not at all, the same bits every time."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from support.runs import carry_out, execute_plan
from support.tiny import logits, save_adapter

from cogen.artifacts.lock import read_lock
from cogen.checkpoints.common_form import write_common_form
from cogen.checkpoints.load import applied, load_model
from cogen.checkpoints.model import open_folder
from cogen.checkpoints.safetensors_writer import SafetensorsWriter
from cogen.errors import CogenError, PlanError, UsageError
from cogen.fusion.build import merge_job
from cogen.fusion.merge.lookup import resolve_method
from cogen.fusion.merge.measure import _with
from cogen.fusion.merge.outputs import planned_outputs, write_candidate, write_composite
from cogen.fusion.plan import check_unmoved
from cogen.fusion.planner import make_plan
from cogen.fusion.recipe import FuseRecipe
from cogen.merging import writer
from cogen.merging.engine import Engine
from cogen.merging.methods.task_arithmetic import task_arithmetic
from cogen.runs.replay import recipe_of

NONE = FuseRecipe(level="none", scale=0.6)


def build(folder: Path, host: Any, recipe: FuseRecipe = NONE) -> tuple[Any, Any, Path]:
    """Plan and write; the plan, its inputs and the folder."""
    plan, inputs = make_plan(host, recipe)
    folder.mkdir(parents=True)
    method = resolve_method(host, plan.method, plan.parameters)
    write_composite(merge_job(plan, inputs, method), {"scale": plan.scales[0]}, folder)
    return plan, inputs, folder


def candidate(file: Path, plan: Any, inputs: Any, method: Any, scale: float) -> Path:
    """The merged tensors alone, as a search writes them."""
    with Engine() as running:
        write_candidate(planned_outputs(merge_job(plan, inputs, method), running, {"scale": scale}), running, file)
    return file


def weights_of(folder: Path) -> dict[str, str]:
    """SHA-256 of every file that holds weights."""
    return {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in sorted(folder.glob("*.safetensors"))}


class TestComposite:
    """A folder that transformers loads without having heard of us."""

    def test_untouched_tensors_are_byte_identical(self, world: Any, host: Any, tmp_path: Path) -> None:
        """And those that are merged are the method's value, rounded once."""
        plan, inputs, folder = build(tmp_path / "out", host(world.expert("e1", 1), world.expert("e2", 2)))
        found, base = load_file(folder / "model.safetensors"), load_file(world.folder / "base" / "model.safetensors")
        assert found.keys() == base.keys()
        changed = [
            name for name in base if not torch.equal(found[name].view(torch.int16), base[name].view(torch.int16))
        ]
        assert sorted(changed) == sorted(name for name in base if ".mlp." in name)
        assert len(changed) == plan.changed_tensors
        for name in changed:
            anchor, *experts = (c.read(name, torch.float32) for c in (inputs.base, *inputs.experts.values()))
            assert torch.equal(found[name], task_arithmetic(anchor, experts, [1.0, 1.0], scale=0.6).bfloat16())

    def test_companions_come_from_the_base(self, world: Any, host: Any, tmp_path: Path) -> None:
        """Config and tokenizer, in the form that most engines read; nothing else of the base's folder."""
        world.base()
        (world.folder / "base" / "LICENSE.exe").write_text("x")
        _, _, folder = build(tmp_path / "out", host(world.expert("e1", 1)))
        beside = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"}
        weights = {"model.safetensors", "model.safetensors.index.json"}
        assert {path.name for path in folder.iterdir()} == beside | weights
        shutil.copytree(world.folder / "base", tmp_path / "common")
        write_common_form(tmp_path / "common")
        for name in beside:
            assert (folder / name).read_bytes() == (tmp_path / "common" / name).read_bytes()
        assert (folder / "tokenizer.json").read_bytes() == (world.folder / "base" / "tokenizer.json").read_bytes()

    @pytest.mark.parametrize("method", ["linear", "task_arithmetic", "ties"])
    @pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
    def test_one_expert_at_weight_one_is_that_expert(
        self, world: Any, host: Any, tmp_path: Path, method: str, dtype: str
    ) -> None:
        """As it is evaluated alone, as an adapter or whole; its logits too."""
        parameters = {"density": 1.0} if method == "ties" else {}
        for id, full in (("e1", False), ("e2", True)):
            machine = host(world.expert(id, 3, base=world.base(dtype=dtype), full=full))
            recipe = FuseRecipe(level="none", scale=1.0, method=method, parameters=parameters)
            _, inputs, folder = build(tmp_path / f"out-{id}", machine, recipe)
            (expert,) = inputs.experts.values()
            found = load_file(folder / "model.safetensors")
            for name in expert.names():
                assert torch.equal(found[name].view(torch.uint8), applied(expert, name).view(torch.uint8)), name
            assert torch.equal(logits(load_model(open_folder(folder), dtype)), logits(load_model(expert, dtype)))

    def test_the_order_of_experts_changes_nothing(self, world: Any, host: Any, tmp_path: Path) -> None:
        """The written file is the same to the byte, for every method."""
        experts = [world.expert(f"e{i}", i) for i in (1, 2, 3)]
        for method in ("linear", "task_arithmetic", "ties"):
            found = set()
            for i, order in enumerate((["e1", "e2", "e3"], ["e3", "e1", "e2"], ["e2", "e3", "e1"])):
                weights = {id: {"e1": 0.3, "e2": 1.0, "e3": 0.7}[id] for id in order}
                recipe = FuseRecipe(level="none", scale=0.6, method=method, experts=weights)
                found.add(str(weights_of(build(tmp_path / f"{method}{i}", host(*experts), recipe)[2])))
            assert len(found) == 1

    def test_it_loads_without_cogen(self, world: Any, host: Any, tmp_path: Path) -> None:
        """In a process that cannot import us: the logits of the model that was measured."""
        plan, inputs, folder = build(tmp_path / "out", host(world.expert("e1", 1), world.expert("e2", 2)))
        code = (
            "import sys, json, importlib.util\n"
            "sys.path = [p for p in sys.path if 'core' not in p.split('/')]\n"
            "sys.meta_path = [f for f in sys.meta_path if 'editable' not in str(f).lower()]\n"
            "assert importlib.util.find_spec('cogen') is None\n"
            "import torch\nfrom transformers import AutoModelForCausalLM, AutoTokenizer\n"
            f"model = AutoModelForCausalLM.from_pretrained({str(folder)!r})\n"
            f"assert len(AutoTokenizer.from_pretrained({str(folder)!r})) == 300\n"
            "out = model(input_ids=torch.arange(24)[None] * 7 % 300).logits.float()\n"
            f"torch.save(out, {str(tmp_path / 'logits.pt')!r})\n"
        )
        env = {**os.environ, "HF_HUB_OFFLINE": "1"}
        run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, env=env, check=False)
        assert run.returncode == 0, run.stderr
        file = candidate(tmp_path / "c.safetensors", plan, inputs, resolve_method(host(), plan.method, {}), 0.6)
        measured = _with(inputs.base, file, "bfloat16")
        theirs = torch.load(tmp_path / "logits.pt", weights_only=True)
        torch.testing.assert_close(theirs, logits(measured), rtol=0, atol=0)

    def test_shards_load_the_same(self, world: Any, host: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beyond the limit of a file: an index, the same tensors and digest, the same model."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        _, _, one = build(tmp_path / "one", machine)
        monkeypatch.setattr(writer, "SHARD_BYTES", 20_000)
        _, _, many = build(tmp_path / "many", machine)
        names = sorted(path.name for path in many.glob("*.safetensors"))
        assert len(names) > 2
        assert names[0] == f"model-00001-of-{len(names):05d}.safetensors"
        assert open_folder(many).weights_digest == open_folder(one).weights_digest
        index = json.loads((many / "model.safetensors.index.json").read_text())
        assert sorted(set(index["weight_map"].values())) == names
        assert torch.equal(
            logits(load_model(open_folder(many), "float32")), logits(load_model(open_folder(one), "float32"))
        )

    def test_candidates_are_what_would_be_written(self, world: Any, host: Any, tmp_path: Path) -> None:
        """The search measures exactly the composite's tensors, for every scale."""
        recipe = FuseRecipe(level="quick", scale=(0.3, 0.6))
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        plan, inputs = make_plan(machine, recipe)
        method = resolve_method(machine, plan.method, {})
        for scale in plan.scales:
            file = candidate(tmp_path / f"{scale}.safetensors", plan, inputs, method, scale)
            folder = tmp_path / f"{scale}"
            folder.mkdir()
            write_composite(merge_job(plan, inputs, method), {"scale": scale}, folder)
            written, tried = load_file(folder / "model.safetensors"), load_file(file)
            assert len(tried) == plan.changed_tensors
            assert all(torch.equal(written[name], tensor) for name, tensor in tried.items())


class TestFuse:
    """From plan to folder, through :func:`cogen.runs.execute.execute`."""

    def run(self, machine: Any, recipe: FuseRecipe, output: Path, **options: Any) -> Any:
        return carry_out(machine, recipe, output, **options)

    @pytest.fixture
    def machine(self, world: Any, host: Any) -> Any:
        return host(world.expert("e1", 1), world.expert("e2", 2))

    def test_everything_that_a_run_leaves(self, machine: Any, tmp_path: Path) -> None:
        """A search over two scales, the matrix, lock, card and report; the best trial's scale is used."""
        outcome = self.run(machine, FuseRecipe(level="quick", scale=(0.1, 0.4)), tmp_path / "out")
        assert [t.scale for t in outcome.trials] == [0.1, 0.4]
        assert outcome.scale == min(outcome.trials, key=lambda t: (t.objective, t.scale)).scale
        assert outcome.matrix is not None
        assert sorted(outcome.matrix.cells) == ["base", "composite", "e1", "e2"]
        lock = read_lock(tmp_path / "out" / "cogen.lock")
        assert lock.weights_digest == open_folder(tmp_path / "out").weights_digest
        assert {"README.md", "cogen.lock", "report.html"} <= {p.name for p in (tmp_path / "out").iterdir()}

    def test_a_replayed_lock_gives_the_same_bits(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """At 1 and at 2 threads with every cache deleted; without searching."""
        first = self.run(machine, FuseRecipe(level="none", scale=0.37, method="ties"), tmp_path / "out")
        lock, threads = read_lock(tmp_path / "out" / "cogen.lock"), torch.get_num_threads()
        found = [weights_of(tmp_path / "out")]
        try:
            for count in (1, 2):
                monkeypatch.setenv("COGEN_CACHE", str(tmp_path / f"cache{count}"))
                torch.set_num_threads(count)
                plan, inputs = make_plan(machine, recipe_of(lock.plan, scale=lock.scale))
                check_unmoved(lock.plan, plan, "the lock")
                again = execute_plan(machine, plan, inputs, tmp_path / f"{count}", replay=lock)
                found.append(weights_of(tmp_path / f"{count}"))
                assert (again.scale, again.lock.weights_digest) == (first.scale, first.lock.weights_digest)
        finally:
            torch.set_num_threads(threads)
        assert found[0] == found[1] == found[2]

    def test_other_bits_than_the_locks_are_refused(self, machine: Any, tmp_path: Path) -> None:
        """A replay that gives anything else writes nothing."""
        self.run(machine, NONE, tmp_path / "out")
        lock = read_lock(tmp_path / "out" / "cogen.lock")
        wrong = lock.model_copy(update={"files": lock.files | {"model.safetensors": "sha256:" + "0" * 64}})
        with pytest.raises(PlanError, match=r"not reproducible: model\.safetensors") as caught:
            self.run(machine, NONE, tmp_path / "again", replay=wrong)
        assert caught.value.hint
        assert not (tmp_path / "again").exists()
        assert not list(tmp_path.glob(".again*"))

    @pytest.mark.parametrize("old", [False, True])
    def test_a_failure_in_the_middle(
        self, machine: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool
    ) -> None:
        """Leaves no folder, or the old composite as it was."""
        if old:
            self.run(machine, FuseRecipe(level="none", scale=0.1), tmp_path / "out")
        before = weights_of(tmp_path / "out")
        real, calls = SafetensorsWriter.write_part, []

        def failing(self: Any, name: str, *rest: Any) -> None:
            calls.append(name)
            if len(calls) == 4:
                raise OSError(28, "No space left on device")
            real(self, name, *rest)

        monkeypatch.setattr(SafetensorsWriter, "write_part", failing)
        with pytest.raises(CogenError, match="the disk is full: 1 MB are needed"):
            self.run(machine, NONE, tmp_path / "out")
        assert (tmp_path / "out").exists() == old
        assert weights_of(tmp_path / "out") == before
        assert not list(tmp_path.glob(".out*"))
        monkeypatch.setattr(SafetensorsWriter, "write_part", real)
        self.run(machine, NONE, tmp_path / "out")
        assert weights_of(tmp_path / "out") != before

    def test_a_folder_that_is_not_ours_is_never_replaced(self, machine: Any, tmp_path: Path) -> None:
        """A file, or a folder with other things in it."""
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "thesis.tex").write_text("x")
        (tmp_path / "file").write_text("x")
        for name in ("out", "file"):
            with pytest.raises(UsageError) as caught:
                self.run(machine, NONE, tmp_path / name)
            assert caught.value.hint
        assert (tmp_path / "out" / "thesis.tex").read_text() == "x"


class TestMethodsOfTwo:
    """slerp and its kin: from the first expert to the second, or from the base to the only one."""

    def weights(self, folder: Path, machine: Any, **recipe_of: Any) -> dict[str, torch.Tensor]:
        _, _, folder = build(folder, machine, FuseRecipe(level="none", **recipe_of))
        return load_file(folder / "model.safetensors")

    def test_the_order_of_the_wishes_is_kept(self, world: Any, host: Any, tmp_path: Path) -> None:
        """t = 0 is the first named, t = 1 the second, whatever their digests are."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        for i, order in enumerate((("e1", "e2"), ("e2", "e1"))):
            for t, wanted in zip((0.0, 1.0), order, strict=True):
                alone = self.weights(
                    tmp_path / f"{wanted}{i}", machine, experts={wanted: 1.0}, method="linear", scale=1.0
                )
                recipe_of = {"experts": dict.fromkeys(order, 1.0), "method": "slerp", "parameters": {"t": t}}
                found = self.weights(tmp_path / f"{i}{t}", machine, **recipe_of)
                assert all(torch.equal(found[n].view(torch.int16), alone[n].view(torch.int16)) for n in found)

    def test_one_expert_is_paired_with_its_base(self, world: Any, host: Any, tmp_path: Path) -> None:
        """t = 0 is the base; the plan says so."""
        machine = host(world.expert("e1", 1))
        found = self.weights(tmp_path / "out", machine, method="slerp", parameters={"t": 0.0})
        base = load_file(world.folder / "base" / "model.safetensors")
        assert all(torch.equal(found[n].view(torch.int16), base[n].view(torch.int16)) for n in base)
        plan, _ = make_plan(machine, FuseRecipe(level="none", method="nearswap", parameters={"t": 0.1}))
        assert plan.why == "one expert: nearswap goes from its base to it"

    def test_weights_that_would_be_ignored_are_refused(self, world: Any, host: Any) -> None:
        """The arc between two models is t's alone."""
        machine = host(world.expert("e1", 1), world.expert("e2", 2))
        recipe = FuseRecipe(level="none", method="slerp", parameters={"t": 0.5}, experts={"e1": 1.0, "e2": 2.0})
        with pytest.raises(UsageError, match="slerp takes no weights"):
            make_plan(machine, recipe)

    def test_three_are_refused(self, world: Any, host: Any) -> None:
        """By name, before anything is read."""
        machine = host(*(world.expert(f"e{i}", i) for i in (1, 2, 3)))
        with pytest.raises(UsageError, match="slerp merges 2 models, not 3"):
            make_plan(machine, FuseRecipe(level="none", method="slerp", parameters={"t": 0.5}))


@pytest.mark.parametrize("strategy", ["merge", "moe"])
@pytest.mark.parametrize("change", [{"alpha": 1e6}, {"alpha": float("nan")}, {"alpha_pattern": {"up_proj": 1e38}}])
def test_weights_that_are_no_numbers_are_not_written(
    world: Any, host: Any, tmp_path: Path, strategy: str, change: dict[str, Any]
) -> None:
    """An alpha that is none is named; one that the base's float16 cannot hold, by a tensor. No folder appears."""
    save_adapter(tmp_path / "weights-e2", 2, **change)
    base = world.base(dtype="float16")
    machine = host(world.expert("e1", 1, base=base), world.expert("e2", 2, base=base))
    options = {"method": "task_arithmetic", "scale": 1.0} if strategy == "merge" else {"routing": "hidden"}
    with pytest.raises(CogenError) as caught:
        carry_out(machine, FuseRecipe(level="none", strategy=strategy, **options), tmp_path / "out")
    named = "would hold NaN or infinity" if change == {"alpha": 1e6} else "alpha"
    assert named in caught.value.message
    assert caught.value.hint
    assert not [path for path in tmp_path.iterdir() if "out" in path.name]
