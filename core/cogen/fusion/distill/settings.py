"""The table ``[distill]`` of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AliasChoices, ConfigDict, Field

from cogen.spec.base import Frozen, Line
from cogen.spec.model import BaseRef

#: How teachers share a text: all of them, weighted; or only the one that predicts it best.
Mix = Literal["static", "best"]


class Distillation(Frozen):
    """Distillation settings. Defaults suit a small student on a CPU.

    :param pivot: the student: an expert, with those of its base; a base, by its short name or in full; left out, the
        experts of the base that has the most.
    :param texts: JSON Lines files of documents or exchanges; left out, the samples of all experts.
    :param arrangement: unified: one run with all teachers. pairwise: one run for each teacher, then their average.
    :param groups: what several experts of one base become: one model by a merge or a mixture, or as many teachers.
    :param mix: static: all teachers on every text, by weight. best: on each text the teacher with the fewest bits.
    :param strength: weight of all distillation losses together, relative to the gradient of the language-model loss.
    :param mode: full: all weights of the student. lora: LoRA on all linear layers.
    :param tokens: of the student's tokenizer, to learn in all; the texts are read again when they are shorter.
    :param tokens_a_step: of padded batches, in one optimiser step.
    :param accumulation: batches of a step, one after the other; with a launcher, shared out among the processes.
    :param max_length: tokens of one text that a model reads at most.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    # "student" in recipes; plans, locks and older recipes call it "pivot"
    pivot: Line | BaseRef | None = Field(default=None, validation_alias=AliasChoices("student", "pivot"))
    texts: tuple[Line, ...] = ()
    arrangement: Literal["unified", "pairwise"] = "unified"
    groups: Literal["merge", "moe", "apart"] = "merge"
    mix: Mix = "best"
    strength: Annotated[float, Field(gt=0)] = 0.25
    mode: Literal["full", "lora"] = "lora"
    rank: Annotated[int, Field(ge=1)] = 16
    alpha: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0)] = 1e-3
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warmup: Annotated[float, Field(ge=0, lt=1)] = 0.05
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    tokens: Annotated[int, Field(ge=1)] = 100_000
    tokens_a_step: Annotated[int, Field(ge=16)] = 1024
    accumulation: Annotated[int, Field(ge=1)] = 1
    max_length: Annotated[int, Field(ge=8)] = 512
    seed: int = 0
    threads: Annotated[int, Field(ge=0)] = 0
    save_every: Annotated[int, Field(ge=1)] = 25
