"""A whole expert plugin to start from.

It ships a real LoRA adapter whose second factors are zero: an expert that equals its base until it is trained, and says
so. Its texts are 48 paragraphs about everyday things (CC0), written for this purpose. What only its publisher can
decide, every license above all, says TODO; with license and publisher given, it passes `cogen check` as it is.
"""

from __future__ import annotations

import json
import string
from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import file_digest
from cogen.errors import UsageError
from cogen.files import atomic_folder
from cogen.reporter import SILENT, Reporter
from cogen.scaffold.adapter import StartingBase, starting_base, write_adapter
from cogen.scaffold.project import LICENSE_PLACEHOLDER, TODO, license_text
from cogen.spec.expert import ExpertSpec
from cogen.text.starters import starter_texts

_HERE = Path(__file__).parent
#: Parts of the starter texts, in the order of the file.
_TEST, _DEV = 30, 10
_STARTER = "written for CoGen's scaffold, dedicated to the public domain"
#: The source of these texts, in the data card and in each of their lines.
_SOURCE = "CoGen starter texts"
#: Languages that are written in traditional and in simplified characters, by the first part of their tag.
_CHINESE = frozenset({"zh", "cmn", "yue", "wuu", "nan", "hak", "gan", "lzh"})
_FOLD_CHINESE = """\
# Compare traditional and simplified characters as one, so that copies in the others are found; what is trained on stays
# as it is written. Needs pip install "cogen-core[chinese]".
fold_chinese = true
"""


def create(
    id: str,
    folder: Path,
    *,
    base: str,
    title: str,
    publisher: str = TODO,
    license: str = TODO,
    language: str = "en",
    reporter: Reporter = SILENT,
) -> Path:
    """Write the plugin ``id`` into ``folder``, whole or not at all, and return the folder.

    :param base: see :func:`cogen.scaffold.adapter.starting_base`.
    :param license: SPDX expression of the model, for manifest, recipe and pyproject.toml.
    :param language: BCP 47 tag of the texts, for manifest and recipe.
    :raises UsageError: the id is not one, the base is not there, license or language is none, or the folder is there
        and not empty.
    """
    check_id(id)
    check_folder(folder)
    license = check_license(license)
    check_language(language)
    check_line("title", title)
    check_line("publisher", publisher)
    start = starting_base(base, reporter)
    base = start.name
    module = f"cogen_plugin_{id.replace('-', '_')}"
    values = {"id": id, "module": module, "task": module, "base": base, "title": title, "publisher": publisher}
    values |= {"license": license, "project_license": LICENSE_PLACEHOLDER if license == TODO else license}
    chinese = language.lower().partition("-")[0] in _CHINESE
    values |= {"language": language, "fold_chinese": _FOLD_CHINESE if chinese else ""}
    with atomic_folder(folder, replace=folder.exists()) as part:
        for name in ("pyproject.toml", "README.md", "TRAINING.md", "recipe.toml"):
            _fill(name, part / name, values)
        _fill("gitignore", part / ".gitignore", values)
        if (terms := license_text(license)) is not None:
            _write(part / "LICENSE", terms)
        _fill("test_expert.py", part / "tests" / "test_expert.py", values)
        texts = starter_texts()
        for number, text in enumerate(texts[_TEST + _DEV :], 1):
            _write(part / "texts" / f"starter-{number:02}.txt", text + "\n")
        _package(part / "src" / module, values, texts, start)
    return folder


def check_license(license: str) -> str:
    """:raises UsageError: it is no SPDX expression."""
    from pydantic import TypeAdapter, ValidationError

    from cogen.spec.base import License

    try:
        return str(TypeAdapter(License).validate_python(license))
    except ValidationError:
        raise UsageError(
            f"{license!r} is not an SPDX license expression",
            hint="for example Apache-2.0, CC-BY-4.0 or LicenseRef-Ours",
        ) from None


def check_language(language: str) -> None:
    """:raises UsageError: it is no language tag."""
    from pydantic import TypeAdapter, ValidationError

    from cogen.spec.base import Language

    try:
        TypeAdapter(Language).validate_python(language)
    except ValidationError:
        raise UsageError(f"{language!r} is not a language tag", hint="a BCP 47 tag, such as en, zh or zh-TW") from None


def check_id(id: str) -> None:
    """:raises UsageError: it cannot be the id of an expert."""
    from pydantic import TypeAdapter, ValidationError

    from cogen.spec.base import ExpertId

    try:
        TypeAdapter(ExpertId).validate_python(id)
    except ValidationError:
        raise UsageError(
            f"{id!r} cannot be the id of an expert", hint="2 to 40 of a-z, 0-9 and -, beginning with a letter"
        ) from None


def check_folder(folder: Path) -> None:
    """:raises UsageError: something is there already."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} is there already", hint="name another folder with -o, or remove it")


def check_line(what: str, text: str) -> None:
    """:raises UsageError: it cannot stand in a template."""
    if not text.strip() or len(text) > 200 or any(character in text for character in '"\\$\r\n'):
        raise UsageError(
            f"{text!r} cannot be the {what}", hint="one line of up to 200 characters without quotes, \\ and $"
        )


def _package(root: Path, values: dict[str, str], texts: Sequence[str], start: StartingBase) -> None:
    _write(root / "__init__.py", "")
    _fill("heldout.yaml", root / "suites" / "heldout.yaml", values)
    _texts(root / "suites" / "test.jsonl", texts[:_TEST])
    _texts(root / "suites" / "dev.jsonl", texts[_TEST : _TEST + _DEV])
    _texts(root / "samples.jsonl", texts[_TEST + _DEV :])
    parameters, weights_digest = write_adapter(root / "weights", start.modules)
    document = _manifest(root, values, texts, parameters, weights_digest, start)
    ExpertSpec.model_validate(document)
    import tomlkit

    header = "# The manifest of this expert. `cogen schema` explains it, `cogen train` fills most of it in.\n"
    _write(root / "expert.toml", header + tomlkit.dumps(document))


def _manifest(
    root: Path, values: dict[str, str], texts: Sequence[str], parameters: int, digest: str, start: StartingBase
) -> dict[str, Any]:
    base, tokenizer = start.ref, start.tokenizer
    sample_bytes = sum(len(text.encode()) for text in texts[_TEST + _DEV :])

    def data(path: str, documents: int) -> dict[str, Any]:
        return {"path": path, "digest": file_digest(root / path), "documents": documents, "license": "CC0-1.0"}

    return {
        "schema_version": 1,
        "plugin_api": 1,
        "id": values["id"],
        "title": values["title"],
        "summary": f"Not trained yet: equals its base {base.name} until `cogen train` has run",
        "publisher": values["publisher"],
        "domains": [values["id"]],
        "languages": [values["language"]],
        "license": values["license"],
        "derivatives": "allowed",
        "model": {
            "name": f"{values['title']} adapter",
            "source": f"package://{root.name}/weights",
            "format": "peft",
            "dtype": "float32",
            "file_digest": file_digest(root / "weights"),
            "weights_digest": digest,
            "architecture": start.architecture,
            "parameters": parameters,
            "context_length": start.context,
            "relation": "ffn",
            "base": base.model_dump(mode="json", exclude_none=True),
        },
        "tokenizer": tokenizer.model_dump(mode="json", exclude_none=True),
        "samples": {"path": "samples.jsonl", "digest": file_digest(root / "samples.jsonl"), "license": "CC0-1.0"},
        "data": {
            "sources": [
                {
                    "name": _SOURCE,
                    "uri": "file://texts",
                    "license": "CC0-1.0",
                    "license_evidence": _STARTER,
                    "revision": "unknown",
                    "archive_digest": "unknown",
                    "documents": len(texts) - _TEST - _DEV,
                    "bytes": sample_bytes,
                    "tokens": "unknown",
                    "share": 1.0,
                    "heldout": True,
                }
            ],
            "languages": ["en"],
            "collected": date.today().isoformat(),
            "preprocessing": "none: nothing has been trained on yet, the one source is a placeholder",
            "split": "unknown",
            "training": "unknown",
            "synthetic_share": 1.0,
            "personal_data": "none",
            "decontaminated_against": "its own suite: no document and no run of 13 words in common with the samples",
            "biases": "unknown",
            "limitations": "Not trained: it knows what its base knows.",
            "not_for": "Anything, until it has been trained.",
        },
        "suites": [
            {
                "id": "heldout",
                "title": f"Held-out text: {values['title']} (starter texts)",
                "task": "suites/heldout.yaml",
                "metric": "bits_per_byte",
                "dev": data("suites/dev.jsonl", _DEV),
                "test": data("suites/test.jsonl", _TEST),
            }
        ],
    }


def _texts(path: Path, texts: Sequence[str]) -> None:
    lines = (json.dumps({"text": text, "source": _SOURCE, "license": "CC0-1.0"}, ensure_ascii=False) for text in texts)
    _write(path, "".join(line + "\n" for line in lines))


def _fill(template: str, path: Path, values: dict[str, str]) -> None:
    text = (_HERE / "template" / f"{template}.in").read_text(encoding="utf-8")
    _write(path, string.Template(text).safe_substitute(values))


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
