"""How well experts that ship no text are routed, against rows and places made from their samples.

    python benchmarks/routing_without_text.py --documents 16 --json without.json    # ten minutes, two idle cores

Token counts are made from the samples of the installed experts (tokens in fewer than ``--floor`` documents left out),
so both sides see the same text; real counts are of the whole training text. Rows: everything from samples; everything
from counts; one expert from counts and the others from samples, which is the case that occurs. For mixtures: share of
test tokens and layers in which an expert's own row is among the first two of all rows. For routes: share of test
documents that go to their own expert.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from cogen.routing.anchors import Anchor
    from cogen.routing.statistics import TokenCounts

GENERAL = "general"
Vectors = dict[str, "torch.Tensor"]


def counts_of(tokenizer: Any, texts: list[str], floor: int) -> TokenCounts:
    """Of tokens that occur in at least ``floor`` texts."""
    import torch

    from cogen.routing.statistics import TokenCounts

    documents = [tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"] for text in texts]
    frequency = Counter(token for ids in documents for token in set(ids))
    total = Counter(token for ids in documents for token in ids)
    kept = sorted(token for token in total if frequency[token] >= floor)
    return TokenCounts(torch.tensor(kept), torch.tensor([total[token] for token in kept]))


def cases(ids: list[str], samples: Vectors, counts: Vectors) -> dict[str, Vectors]:
    """Name of a case → what each expert is compared by."""
    single = {f"{id} from counts": {**samples, id: counts[id]} for id in ids}
    return {"samples": samples, "counts": counts, **single}


def mixture_shares(anchor: Anchor, tokenizer: Any, means: Vectors, texts: dict[str, list[str]]) -> dict[str, float]:
    """Share of tokens and layers whose own row is among the first two; of general text the zero row is the own one."""
    import torch

    from cogen.routing.rows import discriminant_rows
    from cogen.routing.states import states

    rows = {id: discriminant_rows(anchor.general, mean) for id, mean in means.items()}
    names = [GENERAL, *rows]
    every = torch.stack([torch.zeros_like(next(iter(rows.values()))), *rows.values()], 1).float()
    found = {}
    for name, documents in texts.items():
        right = count = 0.0
        for layers in states(anchor.model, tokenizer, documents):
            logits = torch.einsum("lth,lsh->lts", torch.stack(layers), every)
            right += float((logits.topk(2, -1).indices == names.index(name)).any(-1).float().sum())
            count += logits.shape[0] * logits.shape[1]
        found[name] = right / count
    return found


def route_shares(embedder: Any, centroids: Vectors, texts: dict[str, list[str]]) -> dict[str, float]:
    """Share of documents that go where they belong."""
    from cogen.evals.matrix import BASE
    from cogen.fusion.route import Router

    router = Router(embedder, centroids, fallback=True)
    return {
        name: sum(choice.expert == (BASE if name == GENERAL else name) for choice in router.choose(documents))
        / len(documents)
        for name, documents in texts.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=16, help="test documents of each suite")
    parser.add_argument("--floor", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    from cogen.checkpoints.digests import tokenizer_digest
    from cogen.checkpoints.load import load_model, load_tokenizer
    from cogen.checkpoints.model import open_weights
    from cogen.evals import calibration_texts, general_suites, model_digest, read_rows, suites_of
    from cogen.fusion.samples import sample_texts
    from cogen.host import Host
    from cogen.routing.anchors import Anchor
    from cogen.routing.embedder import Embedder
    from cogen.routing.token_counts import embedding_from_counts, state_from_counts

    experts = {expert.id: expert for expert in Host.discover().experts()}
    ref = next(iter(experts.values())).spec.model.base
    assert ref is not None
    base = open_weights(ref)
    tokenizer = load_tokenizer(base.folder)
    anchor = Anchor(lambda: load_model(base, "float32"), tokenizer, [model_digest(base), tokenizer_digest(tokenizer)])
    samples = {id: sample_texts(expert) for id, expert in experts.items()}
    counts = {id: counts_of(tokenizer, texts, options.floor) for id, texts in samples.items()}
    suites = {id: suites_of(expert)[0] for id, expert in experts.items()} | {GENERAL: general_suites()[0]}
    texts = {
        id: [str(row.target) for row in read_rows(bound, "test")][: options.documents] for id, bound in suites.items()
    }
    found: dict[str, Any] = {"mixture": {}, "route": {}}
    means = {id: anchor.mean(own) for id, own in samples.items()}
    estimated = {id: state_from_counts(anchor, own) for id, own in counts.items()}
    for case, vectors in cases(list(experts), means, estimated).items():
        found["mixture"][case] = mixture_shares(anchor, tokenizer, vectors, texts)
        print("mixture", case, found["mixture"][case], flush=True)
    anchor.release()
    embedder = Embedder()
    general = {GENERAL: embedder.encode(calibration_texts()).double().mean(0).float()}
    places = {id: embedder.encode(own).double().mean(0).float() for id, own in samples.items()}
    drawn = {id: embedding_from_counts(embedder, tokenizer, own) for id, own in counts.items()}
    for case, vectors in cases(list(experts), places, drawn).items():
        found["route"][case] = route_shares(embedder, general | vectors, texts)
        print("route", case, found["route"][case], flush=True)
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
