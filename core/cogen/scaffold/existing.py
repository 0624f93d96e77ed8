"""A plugin around weights that a team has already: a fine-tuned model, a PEFT adapter, a repository on the Hub.

Everything that weights, tokenizer and configuration say is computed; what only their publisher knows is left open as
TODO, which `cogen check` lists.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cogen.checkpoints.describe import base_of, shape_facts, tokenizer_of, whole_folder
from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.facts import TOO_LARGE, WeightFacts, digest_of, facts_of, too_large
from cogen.checkpoints.finite import first_not_finite
from cogen.checkpoints.json_files import json_object
from cogen.checkpoints.locate import Located, locate
from cogen.errors import CogenError, CompatibilityError, UsageError
from cogen.files import atomic_folder
from cogen.reporter import SILENT, Reporter
from cogen.scaffold.copies import copy_model_file
from cogen.scaffold.descent import check_adapter_fits, check_descends
from cogen.scaffold.heldout import HeldOutText, write_suite
from cogen.scaffold.manifest import ModelDescription, manifest, manifest_text, project_text, readme_text
from cogen.spec.expert import ExpertSpec
from cogen.spec.unfinished import unfinished
from cogen.untrusted.paths import is_there
from cogen.wheels.sizes import WEIGHTS_IN_WHEEL

if TYPE_CHECKING:
    from cogen.spec.model import BaseRef

#: Files of a model folder that belong to the model: never pickles, code, logs or training state.
_MODEL_FILES = (
    *("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"),
    *("added_tokens.json", "vocab.json", "vocab.txt", "merges.txt", "tokenizer.model", "chat_template.jinja"),
    *("chat_template.json", "model.safetensors.index.json"),
)


@dataclass(frozen=True)
class NewExpert:
    """What :func:`create_from` wrote.

    ``weights``: "package" (they lie in it), "apart" (on this machine; `cogen publish` uploads them) or "pinned" (where
    they were found, which everybody can fetch). ``todo``: fields of expert.toml that only their publisher can fill in.
    """

    expert: ExpertSpec
    folder: Path
    weights: Literal["package", "apart", "pinned"]
    bytes: int
    todo: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Weights:
    """Weights that were found, their base, and the folder of the whole model (an adapter's base)."""

    found: Located
    folder: Path
    facts: WeightFacts
    base: BaseRef | None
    whole: Path


def create_from(
    id: str,
    folder: Path,
    source: str,
    *,
    base: str | None = None,
    title: str | None = None,
    publisher: str | None = None,
    license: str | None = None,
    heldout: HeldOutText | None = None,
    reporter: Reporter = SILENT,
) -> NewExpert:
    """Write a plugin ``id`` around the weights that ``source`` names into ``folder``, whole or not at all.

    :param source: a folder (model or PEFT adapter), a GGUF file, ``hf://org/repo[@revision]`` or ``pypi://…``.
    :param base: what they were trained from, in the same forms, or a known base's short name; default: what an adapter
        says of itself, and for a whole model none.
    :param license: SPDX expression of the weights; default: what a README beside them says.
    :param heldout: text to make a suite of.
    :raises UsageError: a wrong id, a folder that is not empty, an adapter whose base is not known.
    :raises SourceError, UnsafeError, CompatibilityError: weights that nobody could use.
    """
    from cogen.scaffold import check_folder, check_id, check_license, check_line

    check_id(id)
    check_folder(folder)
    for what, text in (("title", title), ("publisher", publisher)):
        if text is not None:
            check_line(what, text)
    license = check_license(license) if license is not None else None
    weights = _open(source, base, reporter)
    if (tensor := first_not_finite(weights.facts.tensors)) is not None:
        raise CompatibilityError(
            f"{tensor} of {weights.found.name} holds NaN or infinity: nobody can use these weights",
            hint="take an earlier checkpoint, or train again with a lower learning rate",
        )
    dtypes = [weights.facts.dtype, *([weights.base.dtype] if weights.base is not None else [])]
    if (reason := too_large(weights.folder, weights.facts, *dtypes)) is not None:
        raise CompatibilityError(f"nobody can use {weights.found.name}: {reason}", hint=TOO_LARGE)
    module = f"cogen_plugin_{id.replace('-', '_')}"
    title = title or id.replace("-", " ").capitalize()
    with atomic_folder(folder, replace=folder.exists()) as part:
        package = part / "src" / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text("", encoding="utf-8")
        place, model_source, digest = _place(weights, package)
        reporter.note("computing the weights digest")
        described = _describe(weights, model_source, digest, digest_of(weights.facts.tensors))
        suite = write_suite(heldout, id, title, part, package) if heldout is not None else None
        document = manifest(id, title, publisher, license, described, suite, _readmes(weights))
        spec = ExpertSpec.model_validate(document)
        todo = unfinished(spec)
        files = {
            package / "expert.toml": manifest_text(document, todo),
            part / "pyproject.toml": project_text(id, module, title, spec),
            part / "README.md": readme_text(spec, source, todo),
            part / ".gitignore": "/private/\n/weights/\n__pycache__/\n/dist/\n",
        }
        for path, text in files.items():
            path.write_text(text, encoding="utf-8")
    return NewExpert(spec, folder, place, weights.facts.bytes, tuple(todo), tuple(_notes(weights, place, suite)))


def _open(source: str, base: str | None, reporter: Reporter) -> _Weights:
    found = locate(source, reporter=reporter)
    if found.format == "peft":
        return _open_adapter(found, base, reporter)
    folder = whole_folder(found, reporter)
    facts = facts_of(folder)
    if base is None:
        return _Weights(found, folder, facts, None, folder)
    at = locate(base, reporter=reporter)
    known = base_of(at, reporter=reporter)
    check_descends(facts, facts_of(whole_folder(at, reporter)), found.name, known)
    return _Weights(found, folder, facts, known, folder)


def _open_adapter(found: Located, base: str | None, reporter: Reporter) -> _Weights:
    facts = facts_of(found.path)
    at = locate(base, reporter=reporter) if base is not None else _named_base(found, facts, reporter)
    known, whole = base_of(at, reporter=reporter), whole_folder(at, reporter)
    check_adapter_fits(facts, facts_of(whole), found.name, known.name)
    return _Weights(found, found.path, facts, known, whole)


def _named_base(found: Located, facts: WeightFacts, reporter: Reporter) -> Located:
    """The base that an adapter's configuration names.

    :raises UsageError: none, or one that cannot be found.
    """
    name = facts.base_name
    hint = "name it with --base: hf://org/repo, a folder, a GGUF file or a known base"
    if name is None:
        raise UsageError(f"the adapter {found.name} does not say which base it was trained from", hint=hint)
    revision = json_object(found.path / "adapter_config.json").get("revision")
    text = name
    if "://" not in name and not is_there(name):
        text = f"hf://{name}" + (f"@{revision}" if isinstance(revision, str) and revision else "")
    try:
        return locate(text, reporter=reporter)
    except CogenError as error:
        raise UsageError(
            f"the adapter {found.name} was trained from {name[:100]}, which cannot be opened: {error.message}",
            hint=hint,
        ) from error


def _place(weights: _Weights, package: Path) -> tuple[Literal["package", "apart", "pinned"], str, str]:
    """Where the weights go: (how, source URI, file digest).

    Weights in a repository or an index stay there. Small ones on this disk are copied into the package, large ones
    stay where they are until they are published. GGUF is not published from here: what it dequantizes to is.
    """
    found, facts = weights.found, weights.facts
    if found.public:
        return "pinned", found.source, file_digest(found.path)
    target = package / "weights"
    if facts.bytes > WEIGHTS_IN_WHEEL:
        if found.format == "gguf":
            raise CompatibilityError(
                f"{found.path.name} dequantizes to {facts.bytes:,} bytes, too much to copy",
                hint="convert it to a folder of safetensors first, and name that folder",
            )
        return "apart", found.source, file_digest(found.path)
    target.mkdir()
    if facts.format == "peft":
        config = json_object(weights.folder / "adapter_config.json")
        # The manifest pins the base; a path of this machine means nothing elsewhere.
        config["base_model_name_or_path"] = None
        text = json.dumps(config, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        (target / "adapter_config.json").write_text(text, encoding="utf-8")
        names: Sequence[str] = ()
    else:
        names = [name for name in _MODEL_FILES if (weights.folder / name).is_file()]
    shards = sorted({part.file for info in facts.tensors.values() for part in info.parts})
    for file in [*(weights.folder / name for name in names), *shards]:
        copy_model_file(file, weights.folder, target)
    return "package", f"package://{package.name}/weights", file_digest(target)


def _describe(weights: _Weights, source: str, digest: str, tensors_digest: str) -> ModelDescription:
    found, facts, base = weights.found, weights.facts, weights.base
    architecture, context = shape_facts(weights.whole)
    own = facts.format == "safetensors"
    revision = found.revision if source.startswith("hf://") else None
    if own and any((weights.whole / name).is_file() for name in ("tokenizer.json", "tokenizer.model", "vocab.json")):
        tokenizer = tokenizer_of(weights.whole, source, revision)
    elif base is not None:
        at = weights.whole if not own else whole_folder(locate_base(base))
        tokenizer = tokenizer_of(at, base.source, base.revision)
    else:
        raise UsageError(
            f"{found.name} holds no tokenizer", hint="copy the tokenizer's files into it, or name its --base"
        )
    return ModelDescription(
        name=found.name,
        source=source,
        revision=revision,
        format="peft" if not own else found.format if source == found.source else "safetensors",
        facts=facts,
        file_digest=digest,
        weights_digest=tensors_digest,
        architecture=architecture,
        context_length=context,
        relation=facts.relation or ("scratch" if base is None else "full"),
        base=base,
        tokenizer=tokenizer,
    )


def locate_base(base: BaseRef) -> Located:
    """A base that was described before, once more."""
    return locate(base.source if base.revision is None or "@" in base.source else f"{base.source}@{base.revision}")


def _readmes(weights: _Weights) -> list[Path]:
    """Folders whose README.md may say license and languages: of the weights first."""
    folder = weights.found.path
    return [folder if folder.is_dir() else folder.parent]


def _notes(weights: _Weights, place: str, suite: Any) -> list[str]:
    notes = []
    facts, base = weights.facts, weights.base
    if place == "apart":
        notes.append(f"{facts.bytes:,} bytes of weights stay in {weights.folder}: `cogen publish` uploads them")
    if base is not None and base.source.startswith("file://"):
        notes.append(
            f"the base {base.name} is a folder of this machine: before publishing, name one that others can fetch "
            "(--base hf://org/repo), or publish it first"
        )
    if base is not None and base.license == "unknown":
        notes.append(f"the license of the base {base.name} is not known: correct [model.base] license")
    if facts.format == "safetensors" and base is None:
        notes.append("without --base it is described as trained from scratch, and cannot be merged with others")
    if suite is None:
        notes.append("no suite: nothing says how good it is; `--suite texts.jsonl` makes one")
    return notes
