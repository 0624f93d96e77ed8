"""Every file of a package is one that the manifest names, or one that every package has: nothing travels unnoticed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from cogen.conformance.private_text import keeps_text
from cogen.conformance.result import Failed
from cogen.errors import SpecError
from cogen.host import Expert
from cogen.host.manifest import MANIFEST, referenced_files
from cogen.spec.expert import ExpertSpec

#: What a package may hold beside what its manifest names: code and what describes it.
_CODE = frozenset({".py", ".pyi", ".pyc", ".typed"})
_ABOUT = re.compile(r"(README|LICEN[CS]E|NOTICE|COPYING|AUTHORS|SOURCES|CHANGELOG)([._-].*)?", re.IGNORECASE)
#: Data, whatever its name begins with: NOTICE.jsonl tells nothing about a package.
_DATA = frozenset({".jsonl", ".json", ".ndjson", ".csv", ".tsv", ".xml", ".parquet", ".arrow", ".safetensors", ".gguf"})
#: Files of weights and tokenizers: a folder of weights is pinned as a whole, and holds nothing else.
_MODEL = re.compile(
    r".*\.(safetensors|gguf|model|jinja)|.*\.index\.json|[\w.-]*config\.json"
    r"|(tokenizer|special_tokens_map|added_tokens|vocab|modules|chat_template)\.json|(merges|vocab)\.txt"
)
#: A private suite lies in a folder of this name, described by a file of that name.
_PRIVATE, _DESCRIBED = "private", ("private.yaml", "salt")


def files_of(root: Path) -> Iterator[str]:
    """Path of every file below a package's folder, but for what Python compiles."""
    for path in sorted(root.rglob("*")):
        name = path.relative_to(root).as_posix()
        if path.is_file() and "__pycache__" not in name.split("/"):
            yield name


def is_model_file(name: str) -> bool:
    """Is a file of this name of weights or of a tokenizer, as the libraries write them?"""
    return _MODEL.fullmatch(name) is not None


def check_named(expert: Expert) -> str:
    """:raises Failed: a private suite lies in the package, or a file that is not code and that no manifest names.

    The second only where the card says how far the text of its sources may go, or that it may hold personal data:
    other packages may hold anything.
    """
    named = {PurePosixPath(one) for one in _named(expert)}
    strict, count = keeps_text(expert.spec.data), 0
    for name in files_of(expert.root):
        path = PurePosixPath(name)
        if _is_private(path):
            raise Failed(
                f"{name} is of a private suite, and lies in the package that is published",
                f"move {_PRIVATE}/ out of the package: it belongs beside recipe.toml",
            )
        within = not named.isdisjoint(path.parents) and is_model_file(path.name)
        if path in named or within or path.suffix in _CODE or _is_about(path):
            continue
        count += 1
        if strict:
            raise Failed(
                f"{name} would be published, and the manifest does not name it",
                "leave it out of the package, or put it beside the package in a folder of its own",
            )
    return f"{count} beside those that the manifest names" if count else "the manifest names every file"


def check_upload(spec: ExpertSpec, names: Iterable[str]) -> None:
    """Files of a folder of weights that are to be uploaded.

    :raises SpecError: one is not of a model, and the card says how far the text of its sources may go, or that it may
        hold personal data.
    """
    for name in names if keeps_text(spec.data) else ():
        path = PurePosixPath(name)
        if not is_model_file(path.name) and not _is_about(path):
            raise SpecError(
                f"{spec.id}: {name} would be uploaded with the weights, and is not a file of a model",
                hint="leave it out of the folder that [model] source names",
            )


def _is_about(path: PurePosixPath) -> bool:
    return _ABOUT.fullmatch(path.name) is not None and path.suffix.lower() not in _DATA


def _is_private(path: PurePosixPath) -> bool:
    return path.name in _DESCRIBED or (_PRIVATE in path.parts[:-1] and path.suffix not in _CODE)


def _named(expert: Expert) -> Iterator[str]:
    """Files and folders that the manifest names, itself included."""
    package = expert.root.name
    yield MANIFEST
    yield from referenced_files(expert.document, package)
    base = expert.spec.model.base
    if base is not None and base.source.startswith(own := f"package://{package}/"):
        yield base.source.removeprefix(own)
