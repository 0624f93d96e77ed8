"""The tokenizer of a composite: the source's files as they are, or with tokens appended.

Appended tokens never change how the source's tokenizer splits a text that it can spell: ordinary ones (of another
model's BPE or Unigram) get an id and can be decoded, but no rule makes them. Only added tokens, such as
``<|im_start|>``, are found in a text, as they were in their own model.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.errors import CompatibilityError
from cogen.merging.vocabulary.template import FILE, FOLDER, OLD
from cogen.merging.vocabulary.tokens import TOKENIZER_FILES, Tokens, read_backend, read_settings

_FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}
#: Below every score of a Unigram piece by so much that it never pays.
_NEVER = 1e8


@dataclass(frozen=True)
class Appended:
    """A token that the source's tokenizer lacks. ``flags``: of an added token; None: an ordinary one."""

    id: int
    token: str
    flags: dict[str, Any] | None = None


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Every file of the tokenizer, byte for byte."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    copy_templates(source, folder)


def copy_templates(source: Path, folder: Path) -> None:
    for name in (FILE, OLD):
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    for file in sorted((source / FOLDER).glob("*.jinja")):
        (folder / FOLDER).mkdir(exist_ok=True)
        shutil.copyfile(file, folder / FOLDER / file.name)


def check_extendable(tokens: Tokens, appended: Sequence[Appended]) -> None:
    """:raises CompatibilityError: the tokenizer would split other texts differently with these tokens."""
    if any(entry.flags is None for entry in appended):
        model = read_backend(tokens.folder)["model"]
        kind = _kind(model)
        if kind == "WordPiece" or (model.get("ignore_merges") and _needs_ignoring(tokens.folder)):
            what = "WordPiece" if kind == "WordPiece" else "BPE that ignores merges"
            raise CompatibilityError(
                f"the tokenizer of {tokens.folder.name} ({what}) would split texts differently with more tokens",
                hint="use the base, or one model, as the source of the tokenizer",
            )


def write_appended(tokens: Tokens, appended: Sequence[Appended], folder: Path) -> None:
    """The source's tokenizer with more tokens. Only ``tokenizer.json`` and its settings: older files would disagree.

    :raises CompatibilityError: the library gives other ids than planned.
    """
    backend = append_tokens(read_backend(tokens.folder), tokens, appended)
    path = folder / "tokenizer.json"
    path.write_text(json.dumps(backend, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    settings = read_settings(tokens.folder)
    if "added_tokens_decoder" in settings:
        for entry in appended:
            if entry.flags is not None:
                settings["added_tokens_decoder"][str(entry.id)] = _declaration(entry.token, entry.flags)
    if settings:
        text = json.dumps(settings, indent=2, ensure_ascii=False) + "\n"
        (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")
    if (tokens.folder / "special_tokens_map.json").is_file():
        shutil.copyfile(tokens.folder / "special_tokens_map.json", folder / "special_tokens_map.json")
    copy_templates(tokens.folder, folder)
    _check(path, {**tokens.ids, **{entry.token: entry.id for entry in appended}})


def append_tokens(backend: dict[str, Any], tokens: Tokens, appended: Sequence[Appended]) -> dict[str, Any]:
    """``tokenizer.json`` with the tokens appended.

    The library numbers added tokens itself unless the model's vocabulary has them: so all are put there, the source's
    own as well, each with its id.
    """
    model = dict(backend["model"])
    everything = {**{token: tokens.ids[token] for token in tokens.added}, **{e.token: e.id for e in appended}}
    if isinstance(model["vocab"], list):
        model["vocab"] = _pieces(tokens, model["vocab"], everything)
    else:
        model["vocab"] = {**model["vocab"], **everything}
    if model.get("ignore_merges"):
        model["ignore_merges"] = not any(entry.flags is None for entry in appended)
    added = [*((tokens.ids[token], token, flags) for token, flags in tokens.added.items())]
    added += [(entry.id, entry.token, entry.flags) for entry in appended if entry.flags is not None]
    listed = [
        {"id": id, **_declaration(token, flags)} for id, token, flags in sorted(added, key=lambda entry: entry[0])
    ]
    return {**backend, "model": model, "added_tokens": listed}


def _declaration(token: str, flags: dict[str, Any]) -> dict[str, Any]:
    return {"content": token, **{flag: flags.get(flag, default) for flag, default in _FLAGS.items()}}


def _pieces(tokens: Tokens, pieces: list[Any], more: dict[str, int]) -> list[Any]:
    """A Unigram vocabulary, in which the id is the place in the list."""
    never = min((score for _, score in pieces), default=0.0) - _NEVER
    result, known = list(pieces), {piece for piece, _ in pieces}
    for token, id in sorted(more.items(), key=lambda item: item[1]):
        if token in known:
            continue
        if id != len(result):
            raise CompatibilityError(
                f"the tokenizer of {tokens.folder.name} has no token before the id {id}: nothing can be appended",
                hint="use another model as the source of the tokenizer",
            )
        result.append([token, never])
    return result


def _kind(model: dict[str, Any]) -> str:
    """The type of a tokenizer's model; older files leave it out."""
    if "type" in model:
        return str(model["type"])
    if isinstance(model["vocab"], list):
        return "Unigram"
    return "BPE" if "merges" in model else "WordPiece" if "continuing_subword_prefix" in model else "WordLevel"


def _needs_ignoring(folder: Path) -> bool:
    """Has a BPE tokens that merges do not make, so that they are found only as whole words?"""
    from tokenizers import Tokenizer

    backend = read_backend(folder)
    added = {entry["content"] for entry in backend.get("added_tokens", [])}
    model = {**backend["model"], "ignore_merges": False}
    merging = Tokenizer.from_str(json.dumps({**backend, "model": model, "added_tokens": []})).model
    return any(len(merging.tokenize(token)) != 1 for token in model["vocab"] if token not in added)


def _check(path: Path, expected: dict[str, int]) -> None:
    from tokenizers import Tokenizer

    found = Tokenizer.from_file(str(path)).get_vocab(with_added_tokens=True)
    if found != expected:
        token = min(t for t in found.keys() | expected.keys() if found.get(t) != expected.get(t))
        raise CompatibilityError(
            f"the tokenizer cannot be extended: {token!r} has the id {found.get(token)}, not {expected.get(token)}",
            hint="use the base, or one model, as the source of the tokenizer",
        )
