"""The tokens of a model folder, from its files alone wherever there is a ``tokenizer.json``."""

from __future__ import annotations

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.merging.vocabulary.alphabet import Alphabet, alphabet_of, token_bytes
from cogen.untrusted.border import border
from cogen.untrusted.json_text import parse_object

#: Files that make a tokenizer, in the order of transformers' preference.
TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
)
_AGAIN = "fetch the model again"
_VOCABULARIES = tuple(name for name in TOKENIZER_FILES if "config" not in name and "added" not in name)


@dataclass(frozen=True)
class Tokens:
    """What a tokenizer knows.

    :param ids: every token, added ones too, and its id.
    :param added: those that are found in a text before it is split, with their flags as in ``tokenizer.json``
        (``special``, ``lstrip`` …).
    """

    folder: Path
    ids: dict[str, int]
    added: dict[str, dict[str, Any]] = field(default_factory=dict)
    alphabet: Alphabet = "text"

    @functools.cached_property
    def by_id(self) -> dict[int, str]:
        return {id: token for token, id in self.ids.items()}

    def spelling(self, token: str) -> bytes:
        """The bytes of the text that a token stands for."""
        return token.encode(errors="surrogatepass") if token in self.added else token_bytes(token, self.alphabet)

    @functools.cached_property
    def spellings(self) -> dict[bytes, int]:
        """The ids by what they stand for; of several the lowest."""
        found: dict[bytes, int] = {}
        for token, id in sorted(self.ids.items(), key=lambda item: item[1]):
            found.setdefault(self.spelling(token), id)
        return found

    def find(self, token: str, other: Tokens) -> int | None:
        """The id here of a token of ``other``: by its name, or by its text where the two write text differently."""
        if self.alphabet == other.alphabet or token in other.added:
            return self.ids.get(token)
        return self.spellings.get(other.spelling(token))


def has_tokenizer(folder: Path) -> bool:
    return any((folder / name).is_file() for name in _VOCABULARIES)


def read_tokens(folder: Path) -> Tokens:
    """The tokens of a folder for which :func:`has_tokenizer` is true.

    :raises SourceError: its files are damaged.
    :raises CompatibilityError: it is of a kind whose tokens cannot be listed.
    """
    backend = read_backend(folder)
    with border(f"the tokenizer of {folder.name} is damaged", hint=_AGAIN):
        vocabulary = backend["model"]["vocab"]
        if isinstance(vocabulary, list):  # Unigram: [piece, score] in the order of the ids
            vocabulary = {piece: id for id, (piece, _) in enumerate(vocabulary)}
        ids = dict(vocabulary)
        added = {}
        for entry in [*backend.get("added_tokens", []), *_declared_tokens(folder)]:
            flags = dict(entry)
            token, id = flags.pop("content"), flags.pop("id")
            if token not in added:
                ids[token] = id
            added[token] = flags
        if not all(isinstance(id, int) and id >= 0 for id in ids.values()):
            raise ValueError("an id is not a number")
    return Tokens(folder, ids, added, alphabet_of(backend))


def tokens_of(checkpoints: Sequence[Checkpoint], rows: Sequence[int], preferred: Sequence[int]) -> tuple[Tokens, ...]:
    """A model without a tokenizer has that of the first preferred one that has one, if it has as many rows."""
    has = [has_tokenizer(checkpoint.folder) for checkpoint in checkpoints]
    usual = next((model for model in preferred if has[model]), None)
    if usual is None:
        raise CompatibilityError(
            f"{checkpoints[preferred[0]].folder.name} has no tokenizer", hint="remove the tokenizer option"
        )
    read = functools.cache(read_tokens)
    found = []
    for model, checkpoint in enumerate(checkpoints):
        if not has[model] and rows[model] != rows[usual]:
            raise CompatibilityError(
                f"{checkpoint.folder.name} has no tokenizer, and {rows[model]:,} rows where "
                f"{checkpoints[usual].folder.name} has {rows[usual]:,}",
                hint="copy its tokenizer into its folder",
            )
        found.append(read(checkpoint.folder if has[model] else checkpoints[usual].folder))
    return tuple(found)


def read_backend(folder: Path) -> dict[str, Any]:
    """``tokenizer.json``, or what transformers makes of older files."""
    if not (folder / "tokenizer.json").is_file():
        from cogen.checkpoints.load import load_tokenizer

        backend = getattr(load_tokenizer(folder), "backend_tokenizer", None)
        if backend is None:
            raise CompatibilityError(
                f"the tokenizer of {folder.name} has no tokenizer.json and cannot be turned into one",
                hint="use another model as the source of the tokenizer",
            )
        return dict(json.loads(backend.to_str()))
    with border(f"the tokenizer of {folder.name} is damaged", hint=_AGAIN):
        found: dict[str, Any] = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
        if not isinstance(found.get("model", {}).get("vocab"), (dict, list)):
            raise ValueError("it has no vocabulary")
    return found


def read_settings(folder: Path, name: str = "tokenizer_config.json") -> dict[str, Any]:
    """A JSON object beside the tokenizer; empty where there is none."""
    if not (folder / name).is_file():
        return {}
    with border(f"{folder.name} has a damaged {name}", hint=_AGAIN):
        # Its longest text is 10^30 tokens where nobody knows: any number may stand there.
        return parse_object((folder / name).read_bytes(), any_number=True)


def _declared_tokens(folder: Path) -> list[dict[str, Any]]:
    """Added tokens of ``tokenizer_config.json``: their flags win over those of ``tokenizer.json``."""
    entries = read_settings(folder).get("added_tokens_decoder") or {}
    return [{**entry, "id": int(id)} for id, entry in sorted(entries.items(), key=lambda item: int(item[0]))]
