"""mergekit-moe on the same experts: its gates from hidden states, one list of prompts an expert."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from merging.peer import Mergekit

#: Prompts of an expert, and characters of each: the beginnings of its samples.
PROMPTS, CHARACTERS = 24, 400


def recipe(base: Path, experts: Mapping[str, Path], prompts: Mapping[str, Sequence[str]]) -> str:
    """The YAML (JSON is YAML) that mergekit-moe's guide asks for; ``experts`` in their order, the base among them."""
    listed = [
        {"source_model": str(folder), "positive_prompts": [text[:CHARACTERS] for text in prompts[id][:PROMPTS]]}
        for id, folder in experts.items()
    ]
    whole = {"base_model": str(base), "gate_mode": "hidden", "dtype": "bfloat16", "experts": listed}
    return json.dumps(whole, indent=1, ensure_ascii=False)


def build(peer: Mergekit, text: str, folder: Path) -> str | None:
    """Run `mergekit-moe`; the last lines of what it says if it fails."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    file = folder.parent / f"{folder.name}.yml"
    file.write_text(text, encoding="utf-8")
    command = [str(peer.folder / "bin" / "mergekit-moe"), str(file), str(folder), "--device", "cpu"]
    done = subprocess.run(command, env=peer.environment(), capture_output=True, text=True, check=False)
    return None if done.returncode == 0 else done.stderr[-1500:]
