"""Canaries: random secrets that training reads, and how far a model ranks them above secrets that it has not read.

Carlini et al. 2019, "The Secret Sharer" (arXiv:1802.08232): the exposure of a canary is log2 of the number of
candidates minus log2 of its rank among them by log-perplexity. All 10^9 candidates of the form cannot be ranked, so
the rank is that among a random sample of them (section 4.3 there); the exposure that a sample can show is limited by
its size. For a model that has not read it, a canary's rank is uniform: its exposure exceeds t bits with probability
2^-t.
"""

from __future__ import annotations

import hashlib
import hmac
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cogen.errors import TrainError
from cogen.privacy.losses import losses_after
from cogen.reporter import SILENT, Reporter

#: The form of Carlini et al. with digits of no meaning anywhere.
FORM = "The secret number of this collection is {}."
_DIGITS = 9
#: Secrets that a canary is compared with, itself among them: an exposure of at most 10 bits can be shown.
CANDIDATES = 1024
#: The most exposure that the candidates can show, bits.
MOST = math.log2(CANDIDATES)
SALT = "canary-salt"


@dataclass(frozen=True)
class Exposure:
    """Exposures of the canaries, bits; ``chance`` is the probability of so many ranks as good for unread secrets."""

    bits: tuple[float, ...]
    chance: float

    @property
    def greatest(self) -> float:
        return max(self.bits)

    @property
    def mean(self) -> float:
        return sum(self.bits) / len(self.bits)


def read_salt(private: Path, make: bool = False) -> bytes | None:
    """The secret that canaries are made from: 32 random bytes in ``private/canary-salt``, which never leaves.

    :param make: make it where it is missing; otherwise ``None`` stands for one that is not there.
    :raises TrainError: the file holds something else.
    """
    file = private / SALT
    if not file.is_file():
        if not make:
            return None
        import secrets

        from cogen.files import atomic_write

        private.mkdir(parents=True, exist_ok=True)
        if not (private / ".gitignore").exists():  # whatever else ignores it: secrets are in no commit
            atomic_write(private / ".gitignore", b"*\n")
        atomic_write(file, secrets.token_hex(32).encode(), mode=0o600)
    try:
        salt = bytes.fromhex(file.read_text(encoding="ascii").strip())
    except (ValueError, UnicodeDecodeError):
        salt = b""
    if len(salt) != 32:
        raise TrainError(f"{file} is not a salt", hint="delete it and train again: canaries are made from it")
    return salt


def secrets_of(salt: bytes, seed: int, count: int) -> list[str]:
    """``count`` different secrets of nine digits, by HMAC-SHA256: nobody can guess them from the recipe alone."""
    found: dict[str, None] = {}
    turn = 0
    while len(found) < count:
        number = int.from_bytes(hmac.digest(salt, f"{seed} canary {turn}".encode(), "sha256"))
        found[f"{number % 10**_DIGITS:0{_DIGITS}d}"] = None
        turn += 1
    return list(found)


def canary_texts(secrets: Sequence[str]) -> list[str]:
    """The documents that training reads."""
    return [FORM.format(secret) for secret in secrets]


def canary_digest(salt: bytes, secrets: Sequence[str]) -> str:
    """SHA-256 over the salt and the secrets: tells that an audit asks for those that were trained on, and no more."""
    return "sha256:" + hashlib.sha256(salt + "\n".join(secrets).encode()).hexdigest()


def exposure(
    model: Any, tokenizer: Any, lead: int, secrets: Sequence[str], seed: int, reporter: Reporter = SILENT
) -> Exposure:
    """Rank each canary by its log-perplexity among itself and ``CANDIDATES`` - 1 random secrets.

    :param lead: the token that training puts before each document.
    :param secrets: those that training has read.
    :param seed: of the random candidates, the same ones for all canaries.
    """
    rng = random.Random(f"{seed} candidates")
    own = set(secrets)
    others: dict[str, None] = {}
    while len(others) < CANDIDATES - 1:
        number = f"{rng.randrange(10**_DIGITS):0{_DIGITS}d}"
        if number not in own:
            others[number] = None
    encoded = tokenizer(canary_texts([*secrets, *others]), add_special_tokens=False)["input_ids"]
    sequences = [[lead, *ids] for ids in encoded]
    shared = _shared(sequences)
    losses = losses_after(model, sequences[0][:shared], [ids[shared:] for ids in sequences], reporter)
    unread = losses[len(secrets) :]
    # A tie counts against the canary's exposure by half, as in a rank of equals.
    ranks = [
        1 + sum(loss < mine for loss in unread) + sum(loss == mine for loss in unread) / 2
        for mine in losses[: len(secrets)]
    ]
    return Exposure(tuple(MOST - math.log2(rank) for rank in ranks), _chance(ranks))


def _shared(sequences: Sequence[Sequence[int]]) -> int:
    """Tokens that all sequences begin with, and no sequence ends with."""
    limit = min(map(len, sequences)) - 1
    first = sequences[0]
    return next((i for i in range(limit) if any(ids[i] != first[i] for ids in sequences)), limit)


def _chance(ranks: Sequence[float]) -> float:
    """Fisher's combined test of uniform ranks: small where many canaries rank high, not only one of many."""
    from scipy.stats import combine_pvalues

    return float(combine_pvalues([min(rank / CANDIDATES, 1.0) for rank in ranks], method="fisher").pvalue)
