"""The routers of a mixture: one row a slot and layer, by one of four ways.

In three of them an expert's row depends on the base and on that expert alone, so experts come and go without touching
the rows of others. The base's own row is zero: what it is compared with is general text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cogen.checkpoints.load import load_model
from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.checkpoints.sources import fetch
from cogen.devices import mark
from cogen.errors import CompatibilityError, SourceError
from cogen.evals import calibration_texts, model_digest
from cogen.fusion.merge.inputs import tokenizer_of
from cogen.fusion.routing_data import embedding_of, mean_state_of, writer_of
from cogen.reporter import SILENT, Reporter
from cogen.routing.anchors import Anchor
from cogen.routing.embedder import Embedder
from cogen.routing.rows import discriminant_rows

if TYPE_CHECKING:
    import torch

    from cogen.fusion.details import MoeDetails
    from cogen.fusion.generated import Writer
    from cogen.fusion.merge.inputs import Inputs
    from cogen.host import Expert

#: File in the composite's folder that holds the rows: one tensor a slot, shape (layers, hidden), float32. It has a
#: folder of its own, since engines take whatever safetensors lie beside a config.json for weights of the model.
ROUTER = "router/router.safetensors"
#: Where it lay before, and where a user may put it beside a lock.
BESIDE = "router.safetensors"
#: Penalty of the map from sentence embeddings to states, as a share of the embeddings' mean variance: the general text
#: has fewer documents than embeddings have dimensions.
RIDGE = 1.0


def untrained_rows(
    mixture: MoeDetails,
    inputs: Inputs,
    tokenizer_digest: str,
    known: Mapping[str, torch.Tensor] | None = None,
    reporter: Reporter = SILENT,
) -> dict[str, torch.Tensor]:
    """Row of every slot, shape (layers, hidden), float32; for routing "trained" where the training starts.

    :param tokenizer_digest: of the base's tokenizer.
    :param known: rows that another composite has already; only the others are made.
    """
    import torch

    found = dict(known or {})
    found["base"] = torch.zeros(mixture.layers, mixture.hidden)
    wanted = [id for id in mixture.slots if id not in found]
    if wanted:
        reporter.describe("router rows")
    experts = [inputs.host.expert(id) for id in wanted]
    if mixture.routing == "anchored":
        rows: Sequence[torch.Tensor] = [shipped_rows(expert, mixture.layers, mixture.hidden) for expert in experts]
    elif wanted:
        anchor = anchor_of(inputs, tokenizer_digest, reporter)
        if mixture.routing == "embedding":
            embedder = Embedder(*(mixture.embedder or ()))
            own = [
                embedding_of(expert, embedder, opened_writer(inputs, expert, tokenizer_digest), reporter)
                for expert in experts
            ]
            means = embedded_means(anchor, own, embedder)
        else:
            means = [
                mean_state_of(expert, anchor, opened_writer(inputs, expert, tokenizer_digest), reporter)
                for expert in experts
            ]
        general = anchor.general
        anchor.release()
        rows = [discriminant_rows(general, mean) for mean in means]
    else:
        rows = []
    found |= {id: row.float() for id, row in zip(wanted, rows, strict=True)}
    return {id: found[id] for id in mixture.slots}


def anchor_of(inputs: Inputs, tokenizer_digest: str, reporter: Reporter = SILENT) -> Anchor:
    """The base on general text and on samples, in float32."""
    key = [model_digest(inputs.base), tokenizer_digest, *mark(deciding=True)]
    return Anchor(lambda: load_model(inputs.base, "float32", deciding=True), inputs.tokenizer, key, reporter)


def shipped_rows(expert: Expert, layers: int, hidden: int) -> torch.Tensor:
    """The rows of an anchored expert, as its publisher trained them.

    :raises SourceError: the file holds something else.
    :raises CompatibilityError: they are of another shape.
    """
    router = expert.spec.router
    assert router is not None  # the spec's validator demands it of anchored experts
    tensors = read_header(fetch(router.source, digest=router.file_digest))
    if set(tensors) != {"rows"}:
        raise SourceError(
            f"the router file of {expert.id} holds {', '.join(sorted(tensors)) or 'nothing'}, not one tensor `rows`",
            hint=f"tell {expert.spec.publisher}; or choose --routing trained",
        )
    if tensors["rows"].shape != (layers, hidden):
        raise CompatibilityError(
            f"the router rows of {expert.id} have the shape {tensors['rows'].shape}, its base has {(layers, hidden)}",
            hint=f"tell {expert.spec.publisher}; or choose --routing trained",
        )
    return read_tensor(tensors["rows"]).float()


def opened_writer(inputs: Inputs, expert: Expert, tokenizer_digest: str) -> Callable[[], Writer]:
    """Opens an expert's model, to write text, when it is called.

    :param tokenizer_digest: of the base's tokenizer.
    """

    def opened() -> Writer:
        tokenizer, own = tokenizer_of(inputs, expert.id, tokenizer_digest)
        return writer_of(inputs.host, expert, inputs.experts[expert.id], tokenizer, own)

    return opened


def embedded_means(anchor: Anchor, own: Sequence[torch.Tensor], embedder: Embedder) -> list[torch.Tensor]:
    """Mean states that experts' texts would have, estimated from sentence embeddings: shape (layers, hidden) each.

    :param own: mean embedding of each expert's texts.

    A ridge regression from embedding to mean state is fitted on the documents of the general text alone, in the dual
    form: it has far fewer documents than states have dimensions.
    """
    import torch

    texts = calibration_texts()
    embedded = embedder.encode(texts).double()
    targets = torch.stack([anchor.mean([text]) for text in texts])  # (documents, layers, hidden)
    centre, mean = embedded.mean(0), targets.mean(0)
    x, y = embedded - centre, (targets - mean).flatten(1)
    penalty = RIDGE * (x * x).sum() / len(x)
    dual = torch.linalg.solve(x @ x.T + penalty * torch.eye(len(x), dtype=x.dtype), y)
    general = anchor.general.mean
    found = []
    for embedding in own:
        shift = ((embedding.double() - centre) @ x.T @ dual).reshape(mean.shape)
        found.append(general + shift)
    return found


def write_rows(rows: Mapping[str, torch.Tensor], folder: Path) -> None:
    """:data:`ROUTER` in a composite's folder: with the lock, all that is needed for the same bits again."""
    (folder / ROUTER).parent.mkdir(exist_ok=True)
    write_safetensors(folder / ROUTER, {id: row.float().contiguous() for id, row in rows.items()})


def router_file(folder: Path) -> Path | None:
    """The router rows of a composite, or those that lie beside a lock; None where there are none."""
    return next((folder / name for name in (ROUTER, BESIDE) if (folder / name).is_file()), None)


def current_names(files: Mapping[str, str]) -> dict[str, str]:
    """The files of a lock under the names that a replay gives them today."""
    return {ROUTER if name == BESIDE else name: digest for name, digest in files.items()}


def rows_of(folder: Path) -> dict[str, torch.Tensor]:
    """Rows by slot of a composite.

    :raises SourceError: it has no router file.
    """
    file = router_file(folder)
    if file is None:
        raise SourceError(f"{folder} has no {ROUTER}", hint="build the composite again")
    return read_rows(file)


def read_rows(path: Path) -> dict[str, torch.Tensor]:
    """Rows by slot, as :func:`write_rows` wrote them."""
    return {id: read_tensor(info) for id, info in read_header(path).items()}
