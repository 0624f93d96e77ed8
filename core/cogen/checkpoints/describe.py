"""What a manifest says of a model that lies somewhere: name, digests, dtype, license, tokenizer, all of it computed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Literal

import yaml

from cogen.checkpoints.bases import BASES
from cogen.checkpoints.digests import file_digest, tokenizer_digest
from cogen.checkpoints.facts import WeightFacts, config_facts, digest_of, facts_of
from cogen.checkpoints.gguf import converted
from cogen.checkpoints.json_files import json_object
from cogen.checkpoints.locate import Located
from cogen.errors import CompatibilityError, SourceError
from cogen.reporter import SILENT, Reporter
from cogen.spec.model import BaseRef, Dtype, TokenizerSpec
from cogen.untrusted.printable import one_line

_KINDS: dict[str, Literal["bpe", "unigram", "wordpiece"]] = {
    "BPE": "bpe",
    "Unigram": "unigram",
    "WordPiece": "wordpiece",
}
#: Characters of a README that are read for its metadata.
_README = 1 << 16
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*")
#: What a GGUF file is dequantized into, unless a manifest says otherwise.
GGUF_DTYPE: Dtype = "bfloat16"


def whole_folder(found: Located, reporter: Reporter = SILENT) -> Path:
    """The folder of a whole model: of a GGUF file, what it dequantizes to.

    :raises CompatibilityError: it is an adapter.
    """
    if found.format == "peft":
        raise CompatibilityError(
            f"{found.path.name} is an adapter, not a whole model", hint="name the model that it was trained from"
        )
    if found.format == "gguf":
        return converted(found.path, file_digest(found.path), GGUF_DTYPE, reporter)
    return found.path


def base_of(found: Located, *, reporter: Reporter = SILENT) -> BaseRef:
    """``[model.base]`` for a whole model; reads every byte of it.

    :raises SourceError, CompatibilityError: it cannot be opened, or is an adapter.
    """
    for known, _ in BASES.values():
        if known.source == found.source:
            return known
    folder = whole_folder(found, reporter)
    facts = facts_of(folder)
    reporter.note(f"computing the digests of {found.name} ({facts.bytes:,} bytes)")
    return BaseRef(
        name=line(found.name, 200),
        source=found.source,
        revision=found.revision,
        format=found.format,
        dtype=dtype_of(facts, found.name),
        file_digest=file_digest(found.path),
        weights_digest=digest_of(facts.tensors),
        license=license_of(folder) or "unknown",
        upstream=found.repository if found.format == "safetensors" else None,
    )


def tokenizer_of(folder: Path, source: str, revision: str | None) -> TokenizerSpec:
    """``[tokenizer]`` for the tokenizer in a model's folder, which others find at ``source``.

    :raises SourceError: there is none. :raises UnsafeError: it wants remote code.
    """
    from cogen.checkpoints.load import load_tokenizer

    tokenizer = load_tokenizer(folder)
    return TokenizerSpec(
        source=source,
        revision=revision,
        digest=tokenizer_digest(tokenizer),
        kind=tokenizer_kind(tokenizer),
        vocab_size=len(tokenizer),
    )


def tokenizer_kind(tokenizer: Any) -> Literal["bpe", "unigram", "wordpiece", "byte", "char"]:
    """Of a fast tokenizer, by its model."""
    return _KINDS.get(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["type"], "char")


def dtype_of(facts: WeightFacts, name: str) -> Dtype:
    """:raises CompatibilityError: a dtype that a manifest cannot name."""
    if facts.dtype == "float32":
        return "float32"
    if facts.dtype == "float16":
        return "float16"
    if facts.dtype == "bfloat16":
        return "bfloat16"
    raise CompatibilityError(
        f"the weights of {name} are {facts.dtype}", hint="convert them to bfloat16, float16 or float32 first"
    )


def shape_facts(folder: Path) -> tuple[str, int]:
    """(architecture, context length) of a whole model's config.json.

    :raises SourceError: it does not say which architecture it is.
    """
    architecture, context = config_facts(json_object(folder / "config.json"))
    if architecture is None:
        raise SourceError(
            f"config.json of {folder.name} names no architecture", hint="save it with transformers' save_pretrained"
        )
    return architecture, context or 1024


def metadata(folder: Path) -> dict[str, Any]:
    """The metadata at the top of a folder's README.md, as the Hub has it; empty where there is none."""
    try:
        with (folder / "README.md").open(encoding="utf-8") as file:
            parts = file.read(_README).split("---", 2)
        value = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
    except (OSError, ValueError, yaml.YAMLError, RecursionError, ArithmeticError, LookupError, AttributeError):
        return {}
    return value if isinstance(value, dict) else {}


def license_of(folder: Path) -> str | None:
    """The SPDX expression that a folder's README.md names; ``None``: none that is one."""
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    named = metadata(folder).get("license")
    if not isinstance(named, str):
        return None
    try:
        return str(canonicalize_license_expression(named))
    except InvalidLicenseExpression:
        return None


def languages_of(folder: Path) -> tuple[str, ...]:
    """BCP 47 tags that a folder's README.md names."""
    named = metadata(folder).get("language")
    tags = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return tuple(tag for tag in tags if isinstance(tag, str) and _LANGUAGE.fullmatch(tag))


def line(text: str, most: int = 300) -> str:
    """One line of printable text."""
    return one_line(text, most) or "unnamed"
