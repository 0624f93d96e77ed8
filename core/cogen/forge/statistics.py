"""Numbers made of training text that ship in its place, each kind only where the recipe asks for it.

Nothing of a source with ``leaves = "nothing"`` enters them. A document here is a file, or a section of one (what the
split never parts): a text that was cut into ten pieces still counts once.
"""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.checkpoints.digests import file_digest
from cogen.checkpoints.load import load_model
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.errors import TrainError
from cogen.forge.consent import may_be_counted
from cogen.forge.corpus import Document
from cogen.reporter import SILENT, Reporter
from cogen.routing.embedder import DEFAULT, Embedder
from cogen.routing.states import mean_states
from cogen.spec.suite import Statistics, StatisticsFile

if TYPE_CHECKING:
    import torch

    from cogen.forge.build import PreparedTraining

#: Folder inside the package.
FOLDER = "statistics"


def write_statistics(prepared: PreparedTraining, package: Path, reporter: Reporter = SILENT) -> Statistics | None:
    """Compute what the recipe's ``[statistics]`` agrees to and write it below ``package``; ``None`` if nothing.

    :raises TrainError: no token occurs in as many documents as the floor asks for.
    """
    wanted = prepared.recipe.statistics
    if wanted is None or not wanted.wanted:
        return None
    documents = may_be_counted(prepared.recipe, prepared.corpus)
    chosen = spread(documents, prepared.recipe.corpus.sample_bytes, wanted.floor)
    texts = [document.text for document in chosen]
    files: dict[str, Any] = {}
    used = []
    if wanted.token_counts:
        ids, counts = token_counts(documents, prepared.tokenizer, wanted.floor)
        files["token_counts"] = _write(package, "token_counts", {"ids": ids, "counts": counts})
        used.append(documents)
    if wanted.states:
        # Not by way of the cache of states, whose names are digests of the text without a salt.
        mean = mean_states(load_model(prepared.base, "float32", deciding=True), prepared.tokenizer, texts, reporter)
        files["states"] = _write(package, "states", {"mean": mean})
        used.append(chosen)
    if wanted.embedding:
        embedder = Embedder(wanted.embedder or DEFAULT, wanted.embedder_digest, reporter)
        files["embedding"] = _write(package, "embedding", {"mean": embedder.encode(texts).double().mean(0).float()})
        files["embedder"] = embedder.source
        used.append(chosen)
    return Statistics(floor=wanted.floor, documents=min(len({d.group for d in found}) for found in used), **files)


def token_counts(documents: Sequence[Document], tokenizer: Any, floor: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids (ascending) and how often each occurs, both int64; only those of at least ``floor`` documents.

    What is rare drops out, names above all.

    :raises TrainError: nothing is left.
    """
    import torch

    totals: Counter[int] = Counter()
    seen: dict[str, set[int]] = {}
    for document in documents:
        ids = tokenizer(document.text, add_special_tokens=False, verbose=False)["input_ids"]
        totals.update(ids)
        seen.setdefault(document.group, set()).update(ids)
    spread_over = Counter(id for ids in seen.values() for id in ids)
    kept = sorted(id for id, count in spread_over.items() if count >= floor)
    if not kept:
        raise TrainError(
            f"[statistics] token_counts: no token occurs in {floor} different documents",
            hint="lower `floor`, add texts, or set token_counts = false",
        )
    return torch.tensor(kept), torch.tensor([totals[id] for id in kept])


def spread(documents: Sequence[Document], limit: int, floor: int) -> list[Document]:
    """Pieces of as many different documents as ``limit`` bytes hold, and of at least ``floor``.

    The choice depends on these texts alone, not on what else the corpus holds.
    """
    turn: Counter[str] = Counter()
    ranked: list[tuple[int, int, Document]] = []
    for document in sorted(documents, key=lambda d: (zlib.crc32(d.text.encode()), d.text)):
        ranked.append((turn[document.group], len(ranked), document))
        turn[document.group] += 1
    chosen: list[Document] = []
    size = 0
    for _, _, document in sorted(ranked, key=lambda entry: entry[:2]):
        size += document.bytes
        if size > limit and len(chosen) >= floor:
            break
        chosen.append(document)
    return chosen


def _write(package: Path, name: str, tensors: dict[str, torch.Tensor]) -> StatisticsFile:
    path = f"{FOLDER}/{name}.safetensors"
    (package / path).parent.mkdir(parents=True, exist_ok=True)
    write_safetensors(package / path, {key: tensor.contiguous() for key, tensor in tensors.items()})
    return StatisticsFile(path=path, digest=file_digest(package / path))
