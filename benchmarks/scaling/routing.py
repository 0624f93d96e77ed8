"""Routing among domains of docstrings by counts of tokens alone: the part ``routing`` of benchmarks/scale.py."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scaling.designs import (
    LONGEST,
    Encoded,
    clusters,
    designs,
    evidence_of,
    kernel_matrix,
    public_share,
    routed,
)
from scaling.domains import docstrings, domains

if TYPE_CHECKING:
    import torch

#: Dimensions that one head of the reference experts' base carries.
BEST = 64
#: Draws of domains, by how many of them: fewer domains differ more from draw to draw.
DRAWS = ((10, 5), (30, 3))


def encoded(work: Path, least: int, documents: int) -> tuple[list[Encoded], Encoded]:
    """Every domain with the counts of its training text, and general text (its dev split); kept in ``work``."""
    import torch

    cache = work / f"encoded-{least}-{documents}.pt"
    if cache.is_file():
        kept = torch.load(cache)  # tensors and names alone: nothing is run
        *rows, general = [Encoded(name, counts.to_dense(), tuple(held)) for name, counts, held in kept]
        return rows, general

    from cogen.checkpoints.load import load_tokenizer
    from cogen.checkpoints.model import open_weights
    from cogen.evals import calibration_texts, general_suites
    from cogen.host import Host
    from cogen.routing.evidence import count_tokens

    base = Host.discover().expert("power").spec.model.base
    assert base is not None  # it is an adapter
    tokenizer = load_tokenizer(open_weights(base).folder)
    size = len(tokenizer)
    found = []
    for domain in domains(docstrings(work), least, documents):
        ids = tokenizer(list(domain.documents), add_special_tokens=False, verbose=False)["input_ids"]
        held = tuple(torch.tensor(one[:LONGEST]) for one in ids)
        found.append(Encoded(domain.name, count_tokens(tokenizer, [domain.training], size), held))
    suite = next(bound for bound in general_suites() if bound.suite.metric == "bits_per_byte")
    lines = suite.path(suite.data("dev").path).read_text(encoding="utf-8").splitlines()
    ids = tokenizer([json.loads(line)["text"] for line in lines], add_special_tokens=False, verbose=False)["input_ids"]
    held = tuple(torch.tensor(one[:LONGEST]) for one in ids)
    general = Encoded("general", count_tokens(tokenizer, calibration_texts(), size), held)
    torch.save([(one.name, one.counts.to_sparse(), list(one.documents)) for one in (*found, general)], cache)
    return found, general


def measure(every: Sequence[Encoded], general: Encoded, count: int, ranks: Sequence[int]) -> Iterator[dict[str, Any]]:
    """A row for every design, with one for each draw of ``count`` domains."""
    import torch

    from cogen.routing.evidence import mean_frequencies

    kernel = kernel_matrix()
    for draw in range(next((draws for most, draws in DRAWS if count <= most), 1)):
        chosen = random.Random(draw).sample(list(every), count)
        counts = {domain.name: domain.counts for domain in chosen}
        evidence, weights = evidence_of(counts, general.counts), mean_frequencies(counts, general.counts)
        right = torch.arange(count)
        for name, rank, features, readouts in designs(evidence, weights, ranks, list(counts.values()), general.counts):
            for half in (False, True) if name == "exact" or (name, rank) == ("fitted", BEST) else (False,):
                began = time.perf_counter()
                found = routed(features, readouts, chosen, right, kernel, half=half)
                found["general to the public slot"] = public_share(features, readouts, general.documents, kernel)
                yield _row(count, draw, name + (" in bf16" if half else ""), rank, found, time.perf_counter() - began)
            if name == "svd" and rank == BEST:
                yield from _grouped(chosen, general.counts, count, draw, evidence, readouts, kernel)


def _grouped(
    chosen: Sequence[Encoded],
    general: torch.Tensor,
    count: int,
    draw: int,
    exact: torch.Tensor,
    basis: torch.Tensor,
    kernel: torch.Tensor,
) -> Iterator[dict[str, Any]]:
    """Groups of similar experts: is the right one found, and the right expert in it?"""
    import torch

    counts = torch.stack([one.counts for one in chosen])
    for groups in (groups for groups in (16, 64) if groups * 2 <= count):
        member = clusters(basis, groups)
        summed = {str(group): counts[member == group].sum(0) for group in range(int(member.max()) + 1)}
        began = time.perf_counter()
        evidence = evidence_of(summed, general)
        found = routed(evidence, torch.eye(len(summed)), chosen, member, kernel)
        sizes = torch.bincount(member)
        found["largest group"] = int(sizes.max())
        yield _row(count, draw, "groups", len(summed), found, time.perf_counter() - began)
        began, right = time.perf_counter(), torch.arange(count)
        found = routed(exact, torch.eye(count), chosen, right, kernel, groups=(evidence, member))
        yield _row(count, draw, "two levels", len(summed), found, time.perf_counter() - began)


def _row(count: int, draw: int, name: str, rank: int, found: dict[str, Any], seconds: float) -> dict[str, Any]:
    tokens = found["tokens"]
    shares = ", ".join(f"{k}: {100 * tokens[k][0]:.1f}" for k in tokens)
    at = " ".join(
        f"{p}: {100 * places[1][0]:.0f}/{100 * places[2][0]:.0f}" for p, places in found["by position"].items()
    )
    public = found.get("general to the public slot")
    general = f", {100 * public[0]:.0f} % of general text to the public slot" if public else ""
    low, high = (100 * end for end in tokens[1][1:])
    line = (
        f"{count:>4} domains, draw {draw}, {name:<15} {rank:>4} dimensions: right among first {shares} % of tokens "
        f"(first: {low:.1f} to {high:.1f}), weight {100 * found['weight'][0]:.1f} %{general}; "
        f"after so many tokens, 1/2: {at}"
    )
    return {
        "domains": count,
        "draw": draw,
        "design": name,
        "dimensions": rank,
        "seconds": seconds,
        **found,
        "line": line,
    }
