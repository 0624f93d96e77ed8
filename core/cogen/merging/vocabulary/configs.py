"""What changes in a composite's configuration together with its vocabulary."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from cogen.checkpoints.model import Checkpoint
from cogen.merging.vocabulary.tensors import Layout, sizes
from cogen.merging.vocabulary.tokens import Tokens, read_settings

#: Keys whose values are ids of tokens: numbers, lists, lists of lists.
_IDS = re.compile(r"_token_ids?$|_token_index$|^(begin_)?suppress_tokens$|^bad_words_ids$")


def apply_changes(config: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with changes put over it, nested ones too."""
    result = dict(config)
    for key, value in changes.items():
        inner = result.get(key)
        result[key] = apply_changes(inner, value) if isinstance(value, dict) and isinstance(inner, dict) else value
    return result


def size_changes(config: Mapping[str, Any], layout: Layout, size: int) -> dict[str, Any]:
    """``vocab_size``, wherever it stands for the size of this vocabulary."""
    places = list(sizes(config))
    if not places:
        return {} if size == layout.rows else {"vocab_size": size}
    old = next((value for _, value in places if value == layout.rows), places[0][1])
    changes: dict[str, Any] = {}
    for path, value in places:
        if value == old != size:
            _put(changes, (*path, "vocab_size"), size)
    return changes


def untied_changes(config: Mapping[str, Any], path: tuple[str, ...] = ()) -> dict[str, Any]:
    """``tie_word_embeddings`` off, at the top and wherever else it is on: a default might be on."""
    changes: dict[str, Any] = {}
    if not path and config.get("tie_word_embeddings") is not False:
        changes["tie_word_embeddings"] = False
    for key, value in config.items():
        if isinstance(value, dict) and (inner := untied_changes(value, (*path, key))):
            changes[key] = inner
        elif path and key == "tie_word_embeddings" and value is not False:
            changes[key] = False
    return changes


def id_changes(
    config: Mapping[str, Any], theirs: Mapping[str, Any], move: Callable[[int], int | None]
) -> dict[str, Any]:
    """Ids of special tokens for another tokenizer: what the tokenizer's own model says of a key, else the same token.

    :param theirs: the configuration of the model that the tokenizer comes from.
    :param move: the new id of an old one; None where the token is gone.
    """
    changes: dict[str, Any] = {}
    for key, value in config.items():
        own = theirs.get(key)
        if isinstance(value, dict):
            if inner := id_changes(value, own if isinstance(own, Mapping) else {}, move):
                changes[key] = inner
        elif _IDS.search(key):
            new = own if key in theirs else _move_ids(value, move)
            if new != value:
                changes[key] = new
    for key in theirs.keys() - config.keys():
        if _IDS.search(key) and theirs[key] is not None:
            changes[key] = theirs[key]
    return changes


def generation_of(checkpoint: Checkpoint) -> dict[str, Any]:
    """``generation_config.json``, empty where there is none."""
    return read_settings(checkpoint.folder, "generation_config.json")


def mover(old: Tokens | None, new: Tokens | None) -> Callable[[int], int | None]:
    """From ids of one tokenizer to those of another, by the names of the tokens."""

    def move(id: int) -> int | None:
        if old is None or new is None or id not in old.by_id:
            return None
        return new.ids.get(old.by_id[id])

    return move


def join_changes(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Nested dictionaries with the keys of both."""
    result = dict(first)
    for key, value in second.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = join_changes(result[key], value) if both else value
    return result


def _move_ids(value: Any, move: Callable[[int], int | None]) -> Any:
    """Lists lose what is gone; a list that had something and has nothing left is None, as is a single id."""
    if isinstance(value, list):
        kept = [new for item in value if (new := _move_ids(item, move)) is not None]
        return kept or (None if value else [])
    return move(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _put(changes: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for key in path[:-1]:
        changes = changes.setdefault(key, {})
    changes[path[-1]] = value
