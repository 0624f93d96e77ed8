"""The files of a plugin around weights that were found: expert.toml, pyproject.toml and README.md."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.describe import languages_of, license_of, line
from cogen.checkpoints.facts import WeightFacts
from cogen.spec.base import PLUGIN_API
from cogen.spec.expert import ExpertSpec

if TYPE_CHECKING:
    from cogen.scaffold.heldout import WrittenSuite
    from cogen.spec.model import BaseRef, TokenizerSpec

#: A valid SPDX expression that nobody takes for a license: `cogen check` finds the marker in it.
TODO_LICENSE = "LicenseRef-TODO"
#: What each open field asks for; written behind it as a comment.
_ASKED = {
    "license": "SPDX expression of the weights, such as Apache-2.0",
    "publisher": "who publishes it",
    "summary": "one line: what it knows",
    "domains": "one or more",
    "languages": "BCP 47 tags, such as en or zh",
}


@dataclass(frozen=True)
class ModelDescription:
    """Everything in ``[model]`` and ``[tokenizer]``, computed."""

    name: str
    source: str
    revision: str | None
    format: str
    facts: WeightFacts
    file_digest: str
    weights_digest: str
    architecture: str
    context_length: int
    relation: str
    base: BaseRef | None
    tokenizer: TokenizerSpec


def manifest(
    id: str,
    title: str,
    publisher: str | None,
    license: str | None,
    described: ModelDescription,
    suite: WrittenSuite | None,
    readmes: Sequence[Path],
) -> dict[str, Any]:
    """``expert.toml`` as a document; fields that only the publisher knows say TODO."""
    license = license or next(filter(None, map(license_of, readmes)), TODO_LICENSE)
    languages = next(filter(None, map(languages_of, readmes)), ("TODO",))
    document: dict[str, Any] = {
        "schema_version": 2,
        "plugin_api": PLUGIN_API,
        "id": id,
        "title": title,
        "summary": "TODO: one line that says what this expert knows",
        "publisher": publisher or "TODO",
        "domains": ["TODO"],
        "languages": list(languages),
        "license": license,
        "derivatives": "TODO",
        "model": _model(title, described),
        "tokenizer": described.tokenizer.model_dump(mode="json", exclude_none=True),
        "data": _card(list(languages), suite),
        "suites": [suite.suite] if suite is not None and suite.suite is not None else [],
    }
    return document if document["suites"] else {key: value for key, value in document.items() if key != "suites"}


def _model(title: str, described: ModelDescription) -> dict[str, Any]:
    facts, base = described.facts, described.base
    what = {"ffn": "LoRA on the feed-forward layers", "adapter": "LoRA", "full": "full fine-tune"}
    of = f": {what[described.relation]} of {base.name}" if base is not None else ""
    found = {
        "name": line(f"{title}{of}"),
        "source": described.source,
        "revision": described.revision,
        "format": described.format,
        "dtype": facts.dtype,
        "file_digest": described.file_digest,
        "weights_digest": described.weights_digest,
        "architecture": described.architecture,
        "parameters": facts.parameters,
        "context_length": described.context_length,
        "relation": described.relation,
        "base": base.model_dump(mode="json", exclude_none=True) if base is not None else None,
    }
    return {key: value for key, value in found.items() if value is not None}


def _card(languages: list[str], suite: WrittenSuite | None) -> dict[str, Any]:
    return {
        "sources": [suite.source] if suite is not None else "unknown",
        "languages": languages,
        "collected": "TODO: when the training texts were collected, or unknown",
        "preprocessing": "TODO: what was done to the training texts, or unknown",
        "split": "unknown",
        "training": "unknown",
        "synthetic_share": "unknown",
        "personal_data": suite.personal_data if suite is not None else "unknown",
        "decontaminated_against": "TODO: which held-out text was kept out of the training texts, or unknown",
        "biases": "TODO: known biases, or unknown",
        "limitations": "TODO: what it does badly, or unknown",
        "not_for": "TODO: what nobody should use it for, or unknown",
    }


def manifest_text(document: dict[str, Any], todo: Sequence[str]) -> str:
    """``expert.toml`` with a comment behind each open field at the top."""
    import tomlkit

    written: Any = tomlkit.parse(tomlkit.dumps(document))
    for name, asked in _ASKED.items():
        if any(field.partition("[")[0] == name for field in todo):
            written[name].comment(asked)
    head = (
        "# The manifest of this expert: docs/fields.md explains each field. What it says of weights is computed;\n"
        "# `cogen check --fix` computes them again. What says TODO is yours to fill in.\n"
    )
    return head + tomlkit.dumps(written)


def project_text(id: str, module: str, title: str, spec: ExpertSpec) -> str:
    """``pyproject.toml`` of a package of data; source archives hold what is named, and never a private suite."""
    import tomlkit

    project: dict[str, Any] = {
        "name": f"cogen-plugin-{id}",
        "version": "0.1.0",
        "description": f"{title}: a domain expert for CoGen",
        "readme": "README.md",
        "requires-python": ">=3.11",
        "dependencies": ["cogen-core"],
        "entry-points": {"cogen": {id: module}},
    }
    build = {
        "wheel": {"packages": [f"src/{module}"]},
        "sdist": {"only-include": [f"src/{module}", "README.md", "pyproject.toml"]},
    }
    document = {
        "build-system": {"requires": ["hatchling>=1.27"], "build-backend": "hatchling.build"},
        "project": project,
        "tool": {"hatch": {"build": {"targets": build}}},
    }
    return tomlkit.dumps(document)


def readme_text(spec: ExpertSpec, source: str, todo: Sequence[str]) -> str:
    """``README.md``: the next steps."""
    model = spec.model
    what = f"{model.relation} of {model.base.name}" if model.base is not None else "trained from scratch"
    lines = [
        f"# cogen-plugin-{spec.id}",
        "",
        "A domain expert for [CoGen](https://pypi.org/project/cogen-core/), made by `cogen new --from`: "
        f"{model.parameters:,} parameters, {model.dtype}, {what}.",
        "",
        f"1. Fill in what says TODO in `src/*/expert.toml` ({len(todo)} fields).",
        "2. `cogen check .` names what is missing or wrong; `cogen check . --fix` computes what can be computed.",
        "3. `cogen publish` builds, signs and uploads it.",
        "",
    ]
    return "\n".join(lines)
