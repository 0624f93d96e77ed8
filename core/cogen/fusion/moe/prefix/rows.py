"""What the router file holds under routing ``prefix``: evidence of every token, the kernel, and sizes of the stream.

All of it is computed; with the file beside the lock nothing is, and the bits are the same on any machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cogen.checkpoints.model import Checkpoint
from cogen.errors import CompatibilityError, SourceError
from cogen.evals import calibration_texts
from cogen.fusion.moe.assemble import EMBEDDING, layers_of
from cogen.fusion.moe.prefix.head import Norms, planned_kernel
from cogen.fusion.moe.prefix.layout import layout_of
from cogen.fusion.moe.prefix.reset import reset_fits
from cogen.fusion.moe.routers import ROUTER, anchor_of, opened_writer
from cogen.fusion.moe.targets import full_config
from cogen.fusion.routing_data import token_frequencies
from cogen.reporter import SILENT, Reporter
from cogen.routing.evidence import count_tokens, log_odds, log_odds_of_each, mean_frequencies, silent_tokens
from cogen.routing.kernel import MEMORY, Kernel, fit_kernel, rotary_of
from cogen.routing.lowrank import factors, fitted

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails, PlannedPrefix
    from cogen.fusion.merge.inputs import Inputs

#: Tensors of the router file that belong to no expert; no expert's id begins with a full stop.
USUAL, FIRST, KERNEL, FEATURES = ".stream", ".prefix", ".kernel", ".features"
ATTENDED, MARK = ".attended", ".mark"


@dataclass(frozen=True)
class PrefixRows:
    """
    :param evidence: of each token, shape (rows of the embedding, evidences): for each expert in the order of the slots,
        or for more experts than the extra head carries, their common features.
    :param readouts: what each expert reads of the mean evidence, shape (experts, evidences): its own alone, or its
        features.
    :param usual, first: root mean square of the stream before each layer's experts, of ordinary tokens and of the
        prefix token, shape (layers,).
    :param attended: of the stream before each layer's attention, of ordinary tokens; None: nothing is forgotten at
        turns.
    :param mark: of the stream before the second layer's attention, at the token that begins a turn; 0 without turns.
    """

    evidence: torch.Tensor
    readouts: torch.Tensor
    usual: torch.Tensor
    first: torch.Tensor
    kernel: Kernel
    attended: torch.Tensor | None
    mark: float


def prefix_rows(
    mixture: MoeDetails,
    inputs: Inputs,
    tokenizer_digest: str,
    known: Mapping[str, torch.Tensor] | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, torch.Tensor]:
    """The tensors of the router file: evidence by expert, shape (rows of the embedding,), and what is no expert's.

    Of more experts than the extra head carries, what each reads of the tokens' features, shape (evidences,), and these.

    :param tokenizer_digest: of the base's tokenizer.
    :param known: of an earlier composite; only the others are made.
    """
    import torch

    assert mixture.prefix is not None  # of every plan with this routing
    found = dict(known or {})
    ids = [id for id in mixture.slots if id != "base"]
    layout = layout_of(full_config(inputs.base), len(ids))
    few = layout.evidences < len(ids)
    wanted = ids if few else [id for id in ids if id not in found]
    if wanted:
        reporter.describe("evidence of tokens")
        size = inputs.base.tensors[EMBEDDING].shape[0]
        general = count_tokens(inputs.tokenizer, calibration_texts(), size)
        counts = {}
        for id in wanted:
            writer = opened_writer(inputs, inputs.host.expert(id), tokenizer_digest)
            counts[id] = token_frequencies(inputs.host.expert(id), inputs.tokenizer, general, writer, reporter)
        silent = silent_tokens(inputs.tokenizer, reporter)
        if few:
            found |= _features(counts, general, silent, mixture.prefix, layout.evidences, reporter)
        else:
            found |= log_odds(counts, general, silent, pooled=mixture.prefix.public == "mean")
    common = _common(mixture.prefix)
    if not {*common} <= found.keys():
        anchor = anchor_of(inputs, tokenizer_digest, reporter)
        sizes = anchor.sizes()
        found[USUAL], found[FIRST], found[ATTENDED] = sizes.usual, sizes.first, sizes.attended
        if mixture.prefix.turn is not None:
            found[MARK] = anchor.size_at(mixture.prefix.turn, 1).reshape(1)
        anchor.release()
        kernel = fit_kernel(rotary_of(full_config(inputs.base)), mixture.prefix.depth)
        found[KERNEL] = torch.from_numpy(kernel.amplitudes)
    return {name: found[name].float() for name in (*ids, *common, *((FEATURES,) if few else ()))}


def _features(
    counts: Mapping[str, torch.Tensor],
    general: torch.Tensor,
    silent: Sequence[int],
    planned: PlannedPrefix,
    rank: int,
    reporter: Reporter,
) -> dict[str, torch.Tensor]:
    """Features of tokens, and what each expert reads of them."""
    import torch

    evidence = torch.empty(len(counts), len(general))
    every = log_odds_of_each(counts, general, silent, pooled=planned.public == "mean")
    for row, own in zip(evidence, every, strict=True):
        row.copy_(own)
    features, readouts = fitted(
        factors(evidence.T, mean_frequencies(counts, general), rank),
        list(counts.values()),
        general,
        strength=planned.strength,
        mass=planned.mass,
        memory=MEMORY,
        reporter=reporter,
    )
    return {FEATURES: features, **dict(zip(counts, readouts, strict=True))}


def _common(planned: PlannedPrefix) -> tuple[str, ...]:
    """Names of the tensors that belong to no expert, whatever their number."""
    return (USUAL, FIRST, KERNEL) if planned.turn is None else (USUAL, FIRST, KERNEL, ATTENDED, MARK)


def read_prefix_rows(rows: Mapping[str, torch.Tensor], mixture: MoeDetails, base: Checkpoint) -> PrefixRows:
    """The content of a router file.

    :raises SourceError: it is one of another routing, or of other experts.
    """
    import torch

    assert mixture.prefix is not None
    ids = [id for id in mixture.slots if id != "base"]
    config = full_config(base)
    rotary, evidences = rotary_of(config), layout_of(config, len(ids)).evidences
    few, tokens = evidences < len(ids), base.tensors[EMBEDDING].shape[0]
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(_common(mixture.prefix), (mixture.layers,))
    shapes |= {KERNEL: (rotary.half,)} | ({} if mixture.prefix.turn is None else {MARK: (1,)})
    shapes |= dict.fromkeys(ids, (evidences,) if few else (tokens,))
    shapes |= {FEATURES: (tokens, evidences)} if few else {}
    wrong = next((name for name, shape in shapes.items() if name not in rows or rows[name].shape != shape), None)
    if wrong is not None:
        raise SourceError(
            f"the router file has no {wrong} of {' × '.join(f'{size:,}' for size in shapes[wrong])} numbers",
            hint=f"put the composite's own {ROUTER} beside its lock",
        )
    kernel = Kernel(rotary, rows[KERNEL].double().numpy(), mixture.prefix.depth)
    own = [rows[id] for id in ids]
    evidence, readouts = (rows[FEATURES], torch.stack(own)) if few else (torch.stack(own, 1), torch.eye(len(ids)))
    turns = mixture.prefix.turn is not None
    attended, mark = (rows[ATTENDED], float(rows[MARK])) if turns else (None, 0.0)
    return PrefixRows(evidence, readouts, rows[USUAL], rows[FIRST], kernel, attended, mark)


def norms_of(base: Checkpoint, read: Callable[[str], torch.Tensor] | None = None, layer: int = 0) -> Norms | None:
    """Norms of queries and keys in one layer; None: the architecture has none.

    :param read: gives a tensor of the composite by its name; default: the base's.
    """
    import torch

    def stored(name: str) -> torch.Tensor:
        return base.read(name, torch.float64)

    query, key = (f"model.layers.{layer}.self_attn.{kind}_norm.weight" for kind in "qk")
    if query not in base.tensors:
        return None
    config = full_config(base)
    layout = layout_of(config, 0)
    if base.tensors[query].shape != (layout.width,):
        raise CompatibilityError(
            "routing prefix: the base's norms of queries and keys span all heads, so an extra head would change the "
            "others",
            hint="choose another --routing, e.g. hidden",
        )
    found = [(read or stored)(name).double().numpy() for name in (query, key)]
    return Norms(found[0], found[1], layout.epsilon)


def kernel_of(base: Checkpoint, planned: PlannedPrefix) -> Kernel:
    """The kernel that this base allows: of the planned depth, or less deep.

    :raises CompatibilityError: its positions or its norms make none.
    """
    return planned_kernel(rotary_of(full_config(base)), planned.mass, norms_of(base))


def can_forget(base: Checkpoint, kernel: Kernel, mass: float) -> bool:
    """Whether the base has room for what forgets at turns: a second query head beside the one that averages, a second
    layer, and norms of queries and keys that allow the scores in both."""
    layout = layout_of(full_config(base), 0)
    norms = [norms_of(base, layer=layer) for layer in (0, 1)] if layers_of(base) > 1 else []
    return layout.extra_heads > 1 and bool(norms) and reset_fits(kernel, mass, norms[0], norms[1])
