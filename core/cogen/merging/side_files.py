"""What lies beside a model's weights, configuration and tokenizer: processors, chat templates by name, pooling.

A composite takes them from the model that gives it its configuration. What has weights of its own (a dense layer behind
the pooling of a sentence-transformers model) or is of no known kind is left behind, and named.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

#: Templates by other names than "default", as transformers writes them.
TEMPLATES = "additional_chat_templates"
#: Of sentence-transformers: which folders hold the steps behind the model.
MODULES = "modules.json"
#: Files beside a model that say how it is used.
FILES = (
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "feature_extractor_config.json",
    "chat_template.json",
    MODULES,
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
#: Nobody misses these: weights at the top are what is merged, and the rest describes the donor or is CoGen's own.
_WEIGHTS = (".safetensors", ".bin", ".pt", ".pth", ".gguf", ".h5", ".msgpack", ".ot", ".ckpt", ".pkl", ".pickle")
_DESCRIBES = (".md", ".lock", ".html", ".png", ".jpg", ".py", ".yml", ".yaml", ".sha256")
_OWN = ("gguf.json", "merge.json", "export.json", "route.json", "publisher-figures.jsonl", "config.json.bak")
_MOST = 1000


def copied_side_files(source: Path) -> list[str]:
    """Paths in a model folder that a composite takes over, sorted."""
    found = {name for name in FILES if (source / name).is_file()}
    found |= {f"{TEMPLATES}/{file.name}" for file in sorted((source / TEMPLATES).glob("*.jinja")) if file.is_file()}
    for module in _modules(source):
        if not _has_weights(source / module):
            found |= {f"{module}/{file.name}" for file in sorted((source / module).glob("*.json")) if file.is_file()}
    return sorted(found)


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy them; those of a module with weights stay behind, and with them the list of modules that names it."""
    left = [module for module in _modules(source) if _has_weights(source / module)]
    for name in copied_side_files(source):
        if left and name == MODULES:
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, folder / name)


def left_behind(source: Path, files: tuple[str, ...]) -> list[str]:
    """Paths that a composite does not take over, sorted.

    :param files: what is copied besides them: configuration and tokenizer.
    """
    copied = {*copied_side_files(source), *files}
    if any(_has_weights(source / module) for module in _modules(source)):
        copied.discard(MODULES)
    return sorted(name for name in _listed(source) if name not in copied and not _uninteresting(name))


def left_behind_note(source: Path, files: tuple[str, ...], whose: str) -> list[str]:
    """A note for a plan, or nothing."""
    names = left_behind(source, files)
    if not names:
        return []
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [f"left behind of {whose}: {shown}"]


def _modules(source: Path) -> list[str]:
    """Sub-folders that modules.json names; nothing that leads out of the folder."""
    try:
        listed = json.loads((source / MODULES).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    paths = [m.get("path") for m in listed if isinstance(m, dict)] if isinstance(listed, list) else []
    plain = [path for path in paths if isinstance(path, str) and path]
    return sorted({path for path in plain if Path(path).name == path and path not in (".", "..")})


def _has_weights(folder: Path) -> bool:
    return folder.is_dir() and any(file.suffix in _WEIGHTS for file in folder.iterdir())


def _listed(source: Path) -> Iterator[str]:
    for number, file in enumerate(sorted(source.rglob("*"))):
        if number >= _MOST:
            return
        if file.is_file():
            yield file.relative_to(source).as_posix()


def _uninteresting(name: str) -> bool:
    path = Path(name)
    top = len(path.parts) == 1
    if any(part.startswith(".") for part in path.parts) or path.suffix in _DESCRIBES:
        return True
    if path.name.upper().startswith(("LICENSE", "LICENCE", "NOTICE", "USE_POLICY")):
        return True
    return top and (path.suffix in _WEIGHTS or name in _OWN or name.endswith(".index.json"))
