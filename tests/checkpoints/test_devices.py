"""Where models run: one function decides. A GPU is played by torch's answers; no figure here comes from one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from support.tiny import save_model

import cogen
from cogen import devices
from cogen.checkpoints.load import load_model
from cogen.checkpoints.model import open_folder
from cogen.errors import UsageError
from cogen.evals.settings import Settings
from cogen.training.trainer import common_arguments, one_gpu, set_threads


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("COGEN_DEVICE", raising=False)
    monkeypatch.setattr(devices, "_choice", devices._Choice())
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two GPUs of 40 GB, as torch describes them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda name=None: "Fake 40")
    monkeypatch.setattr(
        torch.cuda, "get_device_properties", lambda name: SimpleNamespace(total_memory=40_000_000_000), raising=False
    )


class TestDevice:
    def test_without_a_gpu(self) -> None:
        assert devices.device() == devices.device(deciding=True) == "cpu"
        assert devices.mark() == devices.mark(deciding=True) == []
        for asked in ("cuda", "cuda:0", "cuda:7"):
            wrong = pytest.raises(UsageError, match=f"there is no device {asked}: this process sees no GPU")
            with wrong, devices.compute(asked):
                devices.device()

    @pytest.mark.usefixtures("gpus")
    def test_with_gpus(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Models go there by themselves; what decides weights only if that was asked for."""
        assert devices.device() == "cuda:0"
        assert devices.device(deciding=True) == "cpu"
        for asked, found in (("auto", "cuda:0"), ("cpu", "cpu"), ("cuda", "cuda:0"), ("cuda:1", "cuda:1")):
            with devices.compute(asked):
                assert devices.device() == devices.device(deciding=True) == found
            monkeypatch.setenv("COGEN_DEVICE", asked)
            assert devices.device() == devices.device(deciding=True) == found
            monkeypatch.delenv("COGEN_DEVICE")
        assert devices.device() == "cuda:0"
        wrong = pytest.raises(UsageError, match="there is no device cuda:2: this process sees 2 of them")
        with wrong, devices.compute("cuda:2"):
            devices.device()

    def test_what_is_no_device(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("gpu", "cuda:", "cuda:x", "cpu:0", "", "CUDA"):
            with pytest.raises(UsageError, match="unknown device"):
                devices.check_device(name)
        monkeypatch.setenv("COGEN_DEVICE", "gpu")
        with pytest.raises(UsageError, match="unknown device 'gpu'"):
            devices.device()

    def test_mps_only_where_it_is(self) -> None:
        with devices.compute("mps"), pytest.raises(UsageError, match="there is no device mps"):
            devices.device()

    @pytest.mark.usefixtures("gpus")
    def test_a_block_ends(self) -> None:
        """Also by an error, and inside of another."""
        with devices.compute("cuda:1"):
            with pytest.raises(ZeroDivisionError), devices.compute("cpu"):
                raise ZeroDivisionError
            assert devices.device() == "cuda:1"
            with devices.compute(threads=2):
                assert devices.device() == "cuda:1"
        assert devices.device() == "cuda:0"
        assert cogen.compute is devices.compute


@pytest.mark.usefixtures("gpus")
class TestIdentity:
    """Figures of a GPU are other figures: no key of the cache is that of a CPU's."""

    def test_settings(self) -> None:
        cpu = Settings(dtype="bfloat16")
        assert "device" not in cpu.key()  # as it was: old results are found
        gpu = Settings.here(dtype="bfloat16", max_length=512)
        assert (gpu.device, gpu.batch_size, gpu.max_length) == ("cuda Fake 40", 6, 512)
        assert gpu.key()["device"] == "cuda Fake 40"
        with devices.compute("cpu"):
            assert Settings.here(dtype="bfloat16") == cpu

    def test_mark(self) -> None:
        assert devices.mark() == ["device", "cuda Fake 40"]
        assert devices.mark(deciding=True) == []
        with devices.compute("cuda"):
            assert devices.mark(deciding=True) == ["device", "cuda Fake 40"]

    def test_a_lock_says_what_decided_its_weights(self) -> None:
        from cogen.artifacts.lock import software_versions

        assert "device" not in software_versions()
        with devices.compute("cuda"):
            assert software_versions()["device"] == "cuda Fake 40"

    def test_texts_at_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for size, texts in ((4e9, 1), (24e9, 4), (150e9, 16)):
            found = SimpleNamespace(total_memory=int(size))
            monkeypatch.setattr(torch.cuda, "get_device_properties", lambda name, found=found: found)
            assert devices.batch_size("cuda:0") == texts
        assert devices.batch_size("cpu") == devices.batch_size("mps") == 1


class TestModels:
    def test_goes_there(self, tmp_path: Any) -> None:
        """To the device that is named, to the chosen one otherwise: torch's `meta` stands for one."""
        save_model(tmp_path / "m", 1, "bfloat16")
        checkpoint = open_folder(tmp_path / "m")
        assert load_model(checkpoint, "bfloat16").device.type == "cpu"
        assert load_model(checkpoint, "bfloat16", device="meta").device.type == "meta"

    @pytest.mark.parametrize("deciding", [False, True])
    def test_the_chosen_one(self, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, deciding: bool) -> None:
        save_model(tmp_path / "m", 1, "bfloat16")
        checkpoint = open_folder(tmp_path / "m")
        monkeypatch.setattr(devices, "_resolve", lambda asked: "meta")
        found = load_model(checkpoint, "bfloat16", deciding=deciding)
        assert found.device.type == ("cpu" if deciding else "meta")

    def test_an_unknown_one_is_an_error_before_anything_is_read(self, tmp_path: Any) -> None:
        save_model(tmp_path / "m", 1, "bfloat16")
        checkpoint = open_folder(tmp_path / "m")
        (tmp_path / "m" / "model.safetensors").unlink()
        with devices.compute("cuda:3"), pytest.raises(UsageError, match="there is no device"):
            load_model(checkpoint, "bfloat16")

    def test_a_hook_gets_the_device(self) -> None:
        from cogen.checkpoints.load import load_expert

        seen: dict[str, Any] = {}
        plugin: Any = SimpleNamespace(distribution="cogen-plugin-own")
        model = torch.nn.Linear(1, 1)
        model.config = SimpleNamespace()  # type: ignore[assignment]
        hooks: Any = SimpleNamespace(first_of=lambda name, **given: seen.update(given) or (plugin, model))
        host: Any = SimpleNamespace(hooks=hooks)
        spec: Any = SimpleNamespace(id="own")
        nothing: Any = None
        assert load_expert(host, spec, nothing, "bfloat16") is model
        assert seen == {"spec": spec, "device": "cpu", "dtype": "bfloat16"}


class TestTraining:
    def test_on_a_cpu(self) -> None:
        found = common_arguments()
        assert (found["use_cpu"], found["bf16"]) == (True, True)

    @pytest.mark.usefixtures("gpus")
    def test_on_one_gpu(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """On the one that was chosen, and not on all of them; a launcher's processes have their own."""
        taken: list[str] = []
        monkeypatch.setattr(torch.cuda, "set_device", taken.append)
        with devices.compute("cuda:1"):
            found = common_arguments()
            assert (found["use_cpu"], found["bf16"]) == (False, True)
            arguments = one_gpu(SimpleNamespace(_n_gpu=2))
            assert (arguments._n_gpu, arguments._setup_devices) == (1, torch.device("cuda:1"))
            monkeypatch.setenv("WORLD_SIZE", "2")
            assert vars(one_gpu(SimpleNamespace(_n_gpu=2))) == {"_n_gpu": 2}
        with devices.compute("cpu"):
            assert common_arguments()["use_cpu"]
        assert taken == ["cuda:1"]


class TestThreads:
    def test_of_this_process_and_its_children(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in devices.THREAD_VARIABLES:
            monkeypatch.setenv(name, "7")
        torch.set_num_threads(2)
        with devices.compute(threads=3):
            assert torch.get_num_threads() == 3
            assert {os.environ[name] for name in devices.THREAD_VARIABLES} == {"3"}
            assert set_threads(0) == 3
            assert set_threads(5) == 3  # what the command says, whatever the recipe does
            from cogen.merging.engine import Engine

            with Engine() as engine:
                assert engine.threads == 3
            with Engine(2) as engine:
                assert engine.threads == 2
        assert torch.get_num_threads() == 2
        assert {os.environ[name] for name in devices.THREAD_VARIABLES} == {"7"}
        assert set_threads(5) == 5

    @pytest.mark.parametrize("count", [0, -1, 4097, 10**20])
    def test_too_few_or_too_many(self, count: int) -> None:
        with pytest.raises(UsageError, match="threads must be from 1 to 4,096"), devices.compute(threads=count):
            pass
