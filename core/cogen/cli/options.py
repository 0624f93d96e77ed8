"""The options of `cogen plan` and `cogen fuse`: declared once, by strategy, and read into what the Python API takes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from cogen.choices import ENSEMBLES, LEVELS, MATRICES, PUBLIC_EXPERTS, ROUTINGS, STRATEGIES, TRANSPLANTS
from cogen.cli.arguments import choice, expert_ids, method_names, renamed, starting
from cogen.cli.values import read_bounds, read_setting

#: What --same-size asks for.
_DENSE = "merge"
_COMMON = "Common options"
_MERGE = "Options of strategy merge"
_MOE = "Options of strategy moe (mixture of experts)"
_DISTILL = "Options of strategy distill"
_ROUTE = "Options of strategy route, and of moe with --routing embedding"
_ONLY_ROUTE = "Options of strategy route"


def _strategies() -> tuple[str, ...]:
    return STRATEGIES


def _tokenizers() -> list[str]:
    return ["union", "base", *expert_ids()]


Experts = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="EXPERT[=WEIGHT]",
        help="Experts to use, each with its weight; default: every installed expert with weight 1.",
        autocompletion=starting(expert_ids),
    ),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to write.")]
Replace = Annotated[bool, typer.Option("--replace", help="Replace the result of another recipe in the output folder.")]
LevelOption = Annotated[
    str | None,
    choice(
        "level",
        LEVELS,
        "--level",
        panel=_COMMON,
        help="Evaluation: quick (minutes), full (all test documents, float32) or none.",
    ),
]


@dataclass(frozen=True)
class FuseArguments:
    """What the command line says of a fusion, as it was typed."""

    strategy: Annotated[
        str | None,
        typer.Option(
            "--strategy",
            metavar="|".join(STRATEGIES),
            rich_help_panel=_COMMON,
            help="merge: one dense model. moe: a sparse mixture of experts. distill: teachers train one student. "
            "route: experts stay separate, a router picks one. Or a plugin's. Default: auto.",
            autocompletion=starting(_strategies),
        ),
    ] = None
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            metavar="NAME",
            rich_help_panel=_COMMON,
            help="Merge method (`cogen methods` lists them), or distillation loss.",
            autocompletion=starting(method_names),
        ),
    ] = None
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            rich_help_panel=_COMMON,
            help="Parameter of the method: density=0.3, normalize=false, by layer density=[0.3,0.7]. Repeatable.",
        ),
    ] = None
    recipe: Annotated[
        Path | None,
        typer.Option("--recipe", metavar="FILE", rich_help_panel=_COMMON, help="Read the options from a TOML recipe."),
    ] = None
    level: LevelOption = None
    matrix: Annotated[
        str | None,
        choice(
            "matrix",
            MATRICES,
            "--matrix",
            panel=_COMMON,
            help="Suites that each expert is measured on: its own and general text (own, the default), or all (full).",
        ),
    ] = None
    scale: Annotated[
        list[float] | None,
        typer.Option(
            "--scale",
            metavar="NUMBER",
            rich_help_panel=_MERGE,
            help="Scaling factor (λ) of the task vectors. Repeat to search over the values on the dev splits.",
        ),
    ] = None
    search: Annotated[
        int | None,
        typer.Option(
            "--search",
            metavar="N",
            rich_help_panel=_MERGE,
            help="Tune the method's parameters on the dev splits, with N evaluations.",
        ),
    ] = None
    tune: Annotated[
        list[str] | None,
        typer.Option(
            "--tune",
            metavar="NAME=LOW:HIGH",
            rich_help_panel=_MERGE,
            help="What --search tunes, and its bounds: density=0.2:0.9, weight.power=0:2. Repeatable.",
        ),
    ] = None
    same_size: Annotated[
        bool,
        typer.Option(
            "--same-size", rich_help_panel=_MERGE, help="A composite as large as the base; same as --strategy merge."
        ),
    ] = False
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            metavar="union|base|EXPERT",
            rich_help_panel=_MERGE,
            help="Vocabulary of the composite, where the experts' tokenizers differ.",
            autocompletion=starting(_tokenizers),
        ),
    ] = None
    transplant: Annotated[
        str | None,
        choice(
            "transplant",
            TRANSPLANTS,
            "--transplant",
            panel=_MERGE,
            help="How a model gets embeddings for tokens that it lacks. Default: mean.",
        ),
    ] = None
    chat_template: Annotated[
        str | None,
        typer.Option(
            "--chat-template",
            metavar="EXPERT",
            rich_help_panel=_MERGE,
            help="Expert whose chat template the composite takes.",
            autocompletion=starting(expert_ids),
        ),
    ] = None
    generation_config: Annotated[
        str | None,
        typer.Option(
            "--generation-config",
            metavar="EXPERT",
            rich_help_panel=_MERGE,
            help="Expert whose generation_config.json and end-of-text tokens the composite takes.",
            autocompletion=starting(expert_ids),
        ),
    ] = None
    routing: Annotated[
        str | None,
        choice("routing", ROUTINGS, "--routing", panel=_MOE, help="How the routers are initialized or trained."),
    ] = None
    top_k: Annotated[
        int | None,
        typer.Option("--top-k", metavar="K", rich_help_panel=_MOE, help="Experts activated per token."),
    ] = None
    public: Annotated[
        bool,
        typer.Option(
            "--public/--no-public",
            rich_help_panel=_MOE,
            help="Include the base's own FFN as an expert (FlexOlmo's public expert).",
        ),
    ] = True
    public_expert: Annotated[
        str | None,
        choice(
            "public expert",
            PUBLIC_EXPERTS,
            "--public-expert",
            panel=_MOE,
            help="With --routing prefix: what handles general text, the mean of the experts (default) or the base, "
            "with which an expert can be removed by deletion.",
        ),
    ] = None
    student: Annotated[
        str | None,
        typer.Option(
            "--student",
            metavar="EXPERT|BASE",
            rich_help_panel=_DISTILL,
            help="Student model for distillation: an expert id or a base name.",
            autocompletion=starting(expert_ids),
        ),
    ] = None
    texts: Annotated[
        list[str] | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            rich_help_panel=_DISTILL,
            help="Distillation training data (JSON Lines); default: the experts' samples. Repeatable.",
        ),
    ] = None
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", rich_help_panel=_DISTILL, help="Training tokens for distillation."),
    ] = None
    embedder: Annotated[
        str | None,
        typer.Option(
            "--embedder",
            metavar="SOURCE",
            rich_help_panel=_ROUTE,
            help="Sentence-embedding model: minilm (English), multilingual, counts (of characters; no model), or a "
            "source URI; default: the first that reads the experts' languages.",
        ),
    ] = None
    ensemble: Annotated[
        str | None,
        choice(
            "ensemble",
            ENSEMBLES,
            "--ensemble",
            panel=_ONLY_ROUTE,
            help="Ensemble of all experts as upper reference: uniform, or posterior (weights from each expert's "
            "likelihood of the text before), by which the route then also answers. All experts run.",
        ),
    ] = None
    pivot: Annotated[str | None, typer.Option("--pivot", hidden=True)] = None

    def keywords(self) -> dict[str, Any]:
        """The keyword arguments of ``cogen.plan`` and ``cogen.fuse``.

        :raises UsageError: a value that is not of the form that its option takes.
        """
        from cogen.errors import UsageError

        student = self.student
        if self.pivot is not None:
            renamed("--pivot", "--student")
            student = student or self.pivot
        asked = {name for name in (self.strategy, _DENSE if self.same_size else None) if name is not None}
        if len(asked) > 1:
            raise UsageError(f"--same-size is strategy merge, not {self.strategy}", hint="leave one of the two out")
        scale = self.scale or None
        found = {
            "recipe": self.recipe,
            "strategy": next(iter(asked), None),
            "method": self.method,
            "scale": scale[0] if scale and len(scale) == 1 else scale,
            "parameters": dict(map(read_setting, self.set_ or ())),
            "search": self.search,
            "space": dict(map(read_bounds, self.tune or ())),
            "level": self.level,
            "matrix": self.matrix,
            "tokenizer": self.tokenizer,
            "transplant": self.transplant,
            "chat_template": self.chat_template,
            "generation_config": self.generation_config,
            "routing": self.routing,
            "top_k": self.top_k,
            "public": None if self.public else False,
            "public_expert": self.public_expert,
            "embedder": self.embedder,
            "ensemble": self.ensemble,
            "student": student,
            "texts": self.texts,
            "tokens": self.tokens,
        }
        return {name: value for name, value in found.items() if value is not None and value != {}}

    def typed(self) -> list[str]:
        """The options that were given, by their names on the command line."""
        names = {"set_": "--set", "public": "--no-public"}
        default = type(self)()
        return [
            names.get(name, f"--{name.replace('_', '-')}")
            for name, value in vars(self).items()
            if value != getattr(default, name) and value != []
        ]
