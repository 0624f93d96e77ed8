"""`cogen check --fix`: what can be computed is written into ``expert.toml``; comments, order and all else stay."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.facts import compare, facts_of
from cogen.errors import CogenError, SpecError
from cogen.files import atomic_write
from cogen.host.manifest import read_manifest, validate
from cogen.reporter import SILENT, Reporter
from cogen.spec.expert import ExpertSpec
from cogen.spec.model import WeightsRef

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_ZERO = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Change:
    """One field, as it was (``None``: missing) and as it is."""

    field: str
    old: Any
    new: Any

    def __str__(self) -> str:
        return f"{self.field}: {self.old if self.old is not None else '(missing)'} → {self.new}"


def fix_manifest(path: Path, reporter: Reporter = SILENT) -> tuple[Change, ...]:
    """Compute everything that can be computed, and write the manifest if something differs; whole or not at all.

    :raises SpecError: it cannot be read, or is wrong in what nobody can compute; nothing is written then.
    """
    import tomlkit

    reading = read_manifest(path)
    try:
        document: Any = tomlkit.parse(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:  # tomlkit's errors are ValueErrors
        raise SpecError(reading.reason or f"{path} cannot be read", hint=reading.hint) from error
    # Placeholders stand for computed fields that are missing or not digests, so that the rest can be validated.
    plain = document.unwrap()
    filled = copy.deepcopy(plain)
    _reconcile(filled)
    for table, name, value in _computed(filled):
        if not _well_formed(table.get(name), value):
            table[name] = value
    found = validate(filled)
    if found.document is None:
        raise SpecError(found.reason or "the manifest is not valid", hint=found.hint)
    spec = ExpertSpec.model_validate(found.document)
    changes = []
    for field, new in _facts(spec, path.parent, reporter):
        old = _get(plain, field)
        if old != new:
            _set(document, field, new)
            changes.append(Change(_named(field), old, new))
    if changes:
        after = validate(document.unwrap())
        if after.document is None:
            raise SpecError(f"mended, it would not be valid: {after.reason}", hint=after.hint)
        atomic_write(path, tomlkit.dumps(document).encode())
    return tuple(changes)


def _reconcile(document: dict[str, Any]) -> None:
    """A relation that its format excludes would stop the validation: both are computed, so any fitting one will do."""
    model = document.get("model")
    if isinstance(model, dict) and model.get("format") == "peft":
        if model.get("relation") not in ("adapter", "ffn", "anchored"):
            model["relation"] = "adapter"
    elif isinstance(model, dict):
        model["relation"] = "full" if "base" in model else "scratch"


def _computed(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str, Any]]:
    """(table, field, a placeholder) of each field that is computed."""
    model = document.get("model")
    if isinstance(model, dict):
        yield from ((model, name, _ZERO) for name in ("file_digest", "weights_digest"))
        yield model, "parameters", 1
        yield model, "architecture", "unknown"
        yield model, "context_length", 1
    if isinstance(tokenizer := document.get("tokenizer"), dict):
        yield tokenizer, "digest", _ZERO
        yield tokenizer, "vocab_size", 1
    suites = document.get("suites")
    for suite in suites if isinstance(suites, list) else ():
        for split in ("dev", "test"):
            if isinstance(suite, dict) and isinstance(data := suite.get(split), dict):
                yield data, "digest", _ZERO
                yield data, "documents", 1
    for name, field in (("samples", "digest"), ("router", "file_digest")):
        if isinstance(table := document.get(name), dict):
            yield table, field, _ZERO


def _well_formed(value: Any, like: Any) -> bool:
    if like == _ZERO:
        return isinstance(value, str) and _DIGEST.fullmatch(value) is not None
    if isinstance(like, int):
        return isinstance(value, int) and not isinstance(value, bool) and value > 0
    return isinstance(value, str) and bool(value.strip())


def _facts(spec: ExpertSpec, root: Path, reporter: Reporter) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """(path of a field, its right value); fields that are right already may be among them."""
    for number, suite in enumerate(spec.suites):
        for split, data in (("dev", suite.dev), ("test", suite.test)):
            file = _file(root, data.path)
            yield ("suites", number, split, "digest"), file_digest(file)
            yield ("suites", number, split, "documents"), _lines(file)
    if spec.samples is not None:
        yield ("samples", "digest"), file_digest(_file(root, spec.samples.path or spec.samples.embedding or ""))
    for kind in ("token_counts", "states", "embedding"):
        if spec.statistics is not None and (numbers := getattr(spec.statistics, kind)) is not None:
            yield ("statistics", kind, "digest"), file_digest(_file(root, numbers.path))
    own = f"package://{root.name}/"
    if spec.router is not None and spec.router.source.startswith(own):
        yield ("router", "file_digest"), file_digest(_file(root, spec.router.source.removeprefix(own)))
    yield from _of_weights(spec, root, reporter)


def _of_weights(spec: ExpertSpec, root: Path, reporter: Reporter) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    model = spec.model
    folder = _weights(model, root)
    if folder is not None:
        yield ("model", "file_digest"), file_digest(folder)
        facts = facts_of(folder)
        relation = model.relation
        if model.format != "gguf" and (model.format == "peft") != (facts.format == "peft"):
            relation = facts.relation or ("full" if model.base is not None else "scratch")
        model = model.model_copy(update={"format": facts.format, "relation": relation})
        yield from ((("model", name), getattr(model, name)) for name in ("format", "relation"))
        for wrong in compare(model, folder):
            if wrong.found is None:
                raise SpecError(wrong.message, hint=wrong.hint.partition(", or let")[0])
            yield ("model", wrong.field), wrong.found
    else:
        reporter.note(f"the weights {model.source} are not in the package: what the manifest says of them stays")
    if model.base is None and folder is None:
        return
    if find_spec("transformers") is None:
        reporter.note('tokenizer and base were not opened: pip install "cogen-core[fuse]"')
        return
    yield from _of_opened(spec, root, folder, reporter)


def _of_opened(
    spec: ExpertSpec, root: Path, folder: Path | None, reporter: Reporter
) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """What only the base, or the folder of a whole model, knows: configuration and tokenizer."""
    from cogen.checkpoints.describe import shape_facts, tokenizer_kind
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_tokenizer

    model = spec.model
    try:
        whole = folder if folder is not None and model.format == "safetensors" else None
        if model.base is not None:
            base, tensors = _base(model.base, root, reporter)
            if tensors != model.base.weights_digest:
                yield ("model", "base", "weights_digest"), tensors
            whole = whole or base
        if whole is None:
            return
        tokenizer = load_tokenizer(whole)
        architecture, context = shape_facts(whole)
    except CogenError as error:
        reporter.note(f"tokenizer and base were not compared: {error.message}")
        return
    yield ("tokenizer", "digest"), tokenizer_digest(tokenizer)
    yield ("tokenizer", "vocab_size"), len(tokenizer)
    yield ("tokenizer", "kind"), tokenizer_kind(tokenizer)
    yield ("model", "architecture"), architecture
    if model.context_length > context or model.context_length == 1:
        yield ("model", "context_length"), context


def _base(base: WeightsRef, root: Path, reporter: Reporter) -> tuple[Path, str]:
    """Folder and weights digest of a base, whose bytes are those that the manifest names.

    :raises CogenError: it cannot be fetched, or is another file: which base was meant, only its publisher knows.
    """
    from cogen.checkpoints.digests import check_file
    from cogen.checkpoints.facts import digest_of
    from cogen.checkpoints.gguf import converted
    from cogen.checkpoints.quantized import model_tensors
    from cogen.checkpoints.sources import fetch

    path = _weights(base, root)
    if path is None:
        path = fetch(base.source, revision=base.revision, digest=base.file_digest, reporter=reporter)
    check_file(path, base.file_digest, base.source)
    folder = converted(path, base.file_digest, base.dtype, reporter) if base.format == "gguf" else path
    return folder, digest_of(model_tensors(folder))


def _weights(ref: WeightsRef, root: Path) -> Path | None:
    """Weights in the package, or in a folder that file:// names; ``None``: they are elsewhere, or GGUF."""
    from urllib.parse import unquote

    own = f"package://{root.name}/"
    if ref.source.startswith(own):
        path = root / ref.source.removeprefix(own)
    elif ref.source.startswith("file://"):
        path = Path(unquote(ref.source.removeprefix("file://")))
        if not path.is_absolute():
            parents = (folder for folder in root.parents if (folder / "pyproject.toml").is_file())
            path = next(parents, root) / path
    else:
        return None
    return path if path.is_dir() else None


def _file(root: Path, path: str) -> Path:
    file = root / path
    if not file.is_file():
        raise SpecError(f"{path} is missing", hint="put it back, or take it out of expert.toml")
    return file


def _lines(file: Path) -> int:
    with file.open("rb") as lines:
        return sum(bool(line.strip()) for line in lines)


def _named(field: tuple[str | int, ...]) -> str:
    """("suites", 0, "dev", "digest") as suites[0].dev.digest."""
    return re.sub(r"\.(\d+)", r"[\1]", ".".join(map(str, field)))


def _get(document: Any, field: tuple[str | int, ...]) -> Any:
    for key in field:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return None
    return document


def _set(document: Any, field: tuple[str | int, ...], value: Any) -> None:
    for key in field[:-1]:
        document = document[key]
    document[field[-1]] = value
