"""The mode ``anchored``: an expert learns beside the frozen base, in a mixture of the two, with its own router rows.

As FlexOlmo (arXiv:2507.07024) trains its experts: apart from one another, each against the same public model, so that
they can be put into one mixture afterwards. Two losses are summed.

- The language model's, on the domain's text. It reaches the LoRA factors and the rows.
- The router's: in every layer r·x tells text of the domain (label 1) from general text (label 0), by binary
  cross-entropy, half the weight on each kind of text. It reaches the rows alone.

Why the second: at its optimum r·x is the log-odds of the domain against general text. The general text is the same for
everybody and the base's own row is zero, so the rows of experts that never met have one zero point and one scale: put
together as they are, their softmax is the posterior over the domains. The language-model loss alone only ever sees the
domain's text, where more of the expert is better, and would make every row large on every text.

This module imports torch and transformers' Trainer; import it where a model is trained.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import Trainer

from cogen.checkpoints.safetensors_file import read_header, read_tensor
from cogen.checkpoints.safetensors_writer import write_safetensors
from cogen.forge.anchored_block import pairs
from cogen.forge.recipe import TrainingRecipe

#: The rows' state inside a checkpoint of the run.
_STATE = "router.safetensors"


def router_loss(model: Any, general: torch.Tensor, domain: torch.Tensor | None = None) -> torch.Tensor:
    """Binary cross-entropy of the rows in nats, averaged over layers; call it after a training pass over domain text.

    The general text runs through the mixture as it is now, without gradients but for the rows'.

    :param model: a peft model in training mode, with pairs.
    :param general: token ids of general text, shape (blocks, sequence_length).
    :param domain: which rows of the pass were domain text, shape (batch,), bool; the others were rehearsed, and the
        router is not told that they belong to the domain. ``None``: all.
    """
    own = _seen(model)
    if domain is not None:
        own = [seen[domain] for seen in own]
    with torch.no_grad():
        model.get_decoder()(input_ids=general, use_cache=False)  # no head: nothing is predicted
    other = _seen(model)
    # -log σ(z) = softplus(-z) on the domain, -log(1 - σ(z)) = softplus(z) on general text
    parts = [
        (_mean(torch.nn.functional.softplus(-inside)) + torch.nn.functional.softplus(common).mean()) / 2
        for inside, common in zip(own, other, strict=True)
    ]
    return torch.stack(parts).mean()


def _mean(values: torch.Tensor) -> torch.Tensor:
    """The mean; 0 of nothing, where a whole micro-batch was rehearsed."""
    return values.mean() if values.numel() else values.sum()


def _seen(model: Any) -> list[torch.Tensor]:
    """The logits of the last pass, one tensor a layer; they are let go of, and their graph with them."""
    found = []
    for pair in pairs(model):
        assert pair.seen is not None, "the model was not in training mode"
        found.append(pair.seen)
        pair.seen = None
    return found


class AnchoredTrainer(Trainer):
    """transformers' Trainer with the router's loss, its learning rate, and its rows in the checkpoints.

    A micro-batch brings its block of general text along, in ``inputs["general"]``: which block that is depends on the
    place in the run alone, so a run that was killed goes on with the right one.
    """

    def __init__(self, *, recipe: TrainingRecipe, **options: Any) -> None:
        self.recipe = recipe
        super().__init__(**options)

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """The language model's loss plus ``router_loss`` times the router's."""
        general = inputs.pop("general")[:1]
        rehearsed = inputs.pop("rehearsed", None)
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        with self.accelerator.autocast():
            domain = None if rehearsed is None else ~rehearsed.bool()
            router = router_loss(self.accelerator.unwrap_model(model), general, domain)
        # Averaged over the micro-batches of a step; the Trainer does that for a loss that it does not scale by tokens.
        if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
            router = router / self.current_gradient_accumulation_steps
        loss = loss + self.recipe.router_loss * router
        return (loss, outputs) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Any:
        """The Trainer's optimiser with a group for the rows: their own learning rate, no weight decay."""
        if self.optimizer is None:
            own: Any = self.model
            trained = {name: p for name, p in own.named_parameters() if p.requires_grad}
            deltas = {id(pair.delta) for pair in pairs(own)}
            kind, options = self.get_optimizer_cls_and_kwargs(self.args, own)
            groups = [
                {
                    "params": [p for p in trained.values() if id(p) not in deltas],
                    "weight_decay": self.args.weight_decay,
                },
                {
                    "params": [p for p in trained.values() if id(p) in deltas],
                    "weight_decay": 0.0,
                    "lr": self.recipe.router_learning_rate,
                },
            ]
            self.optimizer = kind(groups, **options)
        return self.optimizer

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        super()._save(output_dir, state_dict)
        state = {
            f"{layer}.{name}": getattr(pair, name).detach().cpu()
            for layer, pair in enumerate(pairs(self.model))
            for name in ("start", "scale", "delta")
        }
        write_safetensors(Path(output_dir or str(self.args.output_dir)) / _STATE, state)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        super()._load_from_checkpoint(resume_from_checkpoint, model)
        kept = read_header(Path(resume_from_checkpoint) / _STATE)
        with torch.no_grad():
            for layer, pair in enumerate(pairs(self.model)):
                for name in ("start", "scale", "delta"):
                    getattr(pair, name).copy_(read_tensor(kept[f"{layer}.{name}"]))
