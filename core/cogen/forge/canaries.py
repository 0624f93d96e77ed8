"""The canaries of a recipe: documents that training reads, and that stand in nothing that is kept or counted."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

from cogen.errors import TrainError
from cogen.forge.blocks import IGNORED, separator_id
from cogen.forge.chats import LabeledTokens
from cogen.forge.private_folder import PRIVATE, claim
from cogen.forge.recipe import TrainRecipe
from cogen.privacy.canaries import canary_digest, canary_texts, read_salt, secrets_of

T = TypeVar("T")


@dataclass(frozen=True)
class Canaries:
    """Random secrets and their token ids as documents; ``digest`` is salted, and may be published."""

    secrets: tuple[str, ...]
    encoded: tuple[tuple[int, ...], ...]
    repeats: int
    seed: int
    digest: str

    def __bool__(self) -> bool:
        return bool(self.secrets)

    @property
    def statement(self) -> str:
        """One line for the data card."""
        return f"{len(self.secrets)} random secrets, {self.repeats} times each, {self.digest}"

    def among(self, documents: Sequence[Sequence[int]], tokens: int) -> list[Sequence[int]]:
        """The documents with each canary between some of the first that fill ``tokens``: all are read."""
        return self.mixed(documents, self.encoded, tokens, len)

    def among_chats(self, chats: Sequence[LabeledTokens], length: int, count: int) -> list[LabeledTokens]:
        """Conversations that are packed whole into ``count`` blocks of ``length`` tokens, and canaries between them.

        :raises TrainError: a canary is longer than a block.
        """
        longest = max(map(len, self.encoded), default=0)
        if longest > length:
            raise TrainError(
                f"canaries have up to {longest} tokens, and sequence_length is {length}",
                hint="raise sequence_length, or set canaries = 0 under [audit]",
            )
        own = [LabeledTokens(list(ids), [IGNORED, *ids[1:]]) for ids in self.encoded]
        # Two blocks next to each other hold more than one block's tokens, so half of the room is filled for certain.
        return self.mixed(chats, own, length * max(0, count - 2) // 2, lambda tokens: len(tokens.ids))

    def mixed(self, documents: Sequence[T], canaries: Sequence[T], tokens: int, size: Callable[[T], int]) -> list[T]:
        """The documents with ``canaries``, which are :attr:`encoded` in their form, among the first ``tokens``.

        The order of the documents stays; without canaries the result equals ``documents``.

        :param size: of a document in tokens.
        """
        copies = [canary for canary in canaries for _ in range(self.repeats)]
        if not copies:
            return list(documents)
        rng = random.Random(f"{self.seed} places")
        rng.shuffle(copies)
        space = tokens - sum(map(size, copies))
        read = sum(total <= space for total in accumulate(map(size, documents)))
        places = sorted(rng.randrange(read + 1) for _ in copies)
        found: list[T] = []
        taken = 0
        for place, canary in zip(places, copies, strict=True):
            found += documents[taken:place]
            found.append(canary)
            taken = place
        return [*found, *documents[taken:]]


NO_CANARIES = Canaries((), (), 1, 0, "")


def read_canaries(recipe: TrainRecipe, home: Path, tokenizer: Any, make: bool = False) -> Canaries:
    """Those that the recipe asks for: from its seed and the salt in ``private/``.

    :param make: make the salt where there is none; otherwise there are no canaries without one.
    :raises TrainError: the salt cannot be read.
    """
    asked = recipe.audit
    if asked is None or not asked.enabled or not asked.canaries:
        return NO_CANARIES
    salt = read_salt(claim(home, recipe.id) if make else home / PRIVATE, make)
    if salt is None:
        return NO_CANARIES
    seed = recipe.training.seed
    secrets = secrets_of(salt, seed, asked.canaries)
    lead = separator_id(tokenizer)
    encoded = tokenizer(canary_texts(secrets), add_special_tokens=False)["input_ids"]
    return Canaries(
        tuple(secrets),
        tuple((lead, *ids) for ids in encoded),
        asked.repeats,
        seed,
        canary_digest(salt, secrets),
    )
