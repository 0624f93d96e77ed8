"""What experts must have in common to be merged weight by weight, and what their publishers must allow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError
from cogen.host import Expert
from cogen.merging.vocabulary import Vocabulary
from cogen.merging.vocabulary.tensors import layout
from cogen.spec.model import BaseRef

#: ``architectures`` of a manifest → model type: what can be refused before anything is fetched.
DENSE = {
    "LlamaForCausalLM": "llama",
    "MistralForCausalLM": "mistral",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
    "Olmo2ForCausalLM": "olmo2",
}
#: What works for experts that share nothing.
_OTHERWISE = "keep them apart (--strategy route), or distill them into one model (--strategy distill)"


def one_lineage(chosen: Sequence[Expert]) -> BaseRef:
    """The base of all.

    :raises CompatibilityError: they have several, or an expert has none.
    """
    for expert in chosen:
        relation = expert.spec.model.relation
        if relation == "scratch":
            raise CompatibilityError(
                f"{expert.id} is 'scratch': it has no base that it could share with others",
                hint=f"leave {expert.id} out; or {_OTHERWISE}",
            )
    groups: dict[str, list[Expert]] = {}
    for expert in chosen:
        groups.setdefault(expert.spec.model.lineage, []).append(expert)
    if len(groups) > 1:
        largest = max(groups.values(), key=len)
        listed = "; ".join(f"{', '.join(e.id for e in group)} from {_base(group[0]).name}" for group in groups.values())
        raise CompatibilityError(
            f"the experts descend from different bases and cannot be merged weight by weight: {listed}",
            hint=f"name experts of one base: cogen fuse {' '.join(e.id for e in largest)}; or {_OTHERWISE}",
        )
    # Equal lineage may be packaged in several ways; which one is used must not depend on the order of the recipe.
    return _base(min(chosen, key=lambda e: (e.spec.model.weights_digest, e.id)))


def _base(expert: Expert) -> BaseRef:
    base = expert.spec.model.base
    assert base is not None  # all but scratch have one: the spec's validator demands it
    return base


def check_licenses(chosen: Sequence[Expert]) -> None:
    """
    :raises CompatibilityError: a publisher allows no derived models or has not decided, or two licenses exclude each
        other.
    """
    for expert in chosen:
        if expert.spec.derivatives == "no":
            raise CompatibilityError(
                f"the publisher of {expert.id} does not allow derived models",
                hint=f"leave {expert.id} out, or ask {expert.spec.publisher}",
            )
        if expert.spec.derivatives == "TODO":
            raise CompatibilityError(
                f"the publisher of {expert.id} has not decided whether models made from it may be published",
                hint='write derivatives = "allowed", "share-alike" or "no" into its expert.toml',
            )
    alike = {e.spec.license for e in chosen if e.spec.derivatives == "share-alike"}
    if len(alike) > 1:
        raise CompatibilityError(
            f"two experts demand to be shared under different licenses: {' and '.join(sorted(alike))}",
            hint="leave one of them out",
        )


def license_of(chosen: Sequence[Expert], base: BaseRef) -> str:
    """share-alike wins, one license for all stays, else all and the base's together; nothing unknown is hidden."""
    alike = {e.spec.license for e in chosen if e.spec.derivatives == "share-alike"}
    licenses = sorted(alike or {base.license, *(e.spec.license for e in chosen)})
    if "unknown" in licenses or len(licenses) == 1:
        return "unknown" if "unknown" in licenses else licenses[0]
    return " AND ".join(f"({text})" if " OR " in text else text for text in licenses)


def one_tokenizer(chosen: Sequence[Expert], digest: str, whose: str, *, united: bool = True) -> None:
    """
    :param united: the strategy can put vocabularies together.
    :raises CompatibilityError: an expert's tokenizer has another digest."""
    for expert in chosen:
        if expert.spec.tokenizer.digest != digest:
            raise CompatibilityError(
                f"the tokenizer of {expert.id} is not {whose}",
                hint=f"leave {expert.id} out: its embeddings mean other tokens; or "
                + ("put the vocabularies together: --tokenizer union" if united else _OTHERWISE),
            )


def same_tensors(base: Checkpoint, opened: Mapping[str, Checkpoint], vocabulary: Vocabulary | None = None) -> None:
    """Names and shapes of all have to agree; with ``vocabulary`` those of the embedding and the output head need not.

    :param vocabulary: of the base and then ``opened``, in this order.
    :raises CompatibilityError: naming the first tensor that differs.
    """
    shapes = _shapes(base, vocabulary, 0)
    for model, (id, checkpoint) in enumerate(opened.items(), 1):
        theirs = _shapes(checkpoint, vocabulary, model)
        if theirs != shapes:
            differing = sorted(n for n in theirs.keys() | shapes.keys() if theirs.get(n) != shapes.get(n))
            name = differing[0]
            raise CompatibilityError(
                f"{id} and its base differ at {name}: {theirs.get(name, 'missing')} and {shapes.get(name, 'missing')}",
                hint=f"leave {id} out; merging needs the same tensors"
                if vocabulary is not None or not _by_token(base, checkpoint, differing)
                else f"leave {id} out, or put the vocabularies together: --tokenizer union",
            )


def _shapes(checkpoint: Checkpoint, vocabulary: Vocabulary | None, model: int) -> dict[str, tuple[int, ...]]:
    """With a vocabulary, its tensors are those of the composite, and have no number of rows."""
    if vocabulary is None:
        return {name: info.shape for name, info in checkpoint.tensors.items()}
    shapes = {n: i.shape for n, i in checkpoint.tensors.items() if not vocabulary.is_vocabulary_tensor(model, n)}
    stored = {name: vocabulary.stored_name(model, name) for name in vocabulary.names}
    return shapes | {name: checkpoint.tensors[own].shape[1:] for name, own in stored.items()}


def _by_token(base: Checkpoint, checkpoint: Checkpoint, names: Sequence[str]) -> bool:
    """Have all these tensors a row for every token?"""
    try:
        found = [layout(base), layout(checkpoint)]
    except CompatibilityError:
        return False
    return {*names} <= {name for one in found for name in (*one.matrices, *one.biases)}
