"""`cogen`: the table of verbs, the switches that all of them share, and the one place where errors become text.

The convention for a verb: a file ``cogen/cli/VERB.py`` with one function ``command``, annotated the typer way, whose
docstring is its help (or a function ``register(app)`` for a group of sub-commands). It is listed in :data:`VERBS`, and
imported only when it was typed: `cogen --help` costs no verb's imports. ``--json`` and ``--quiet`` are added here.
A verb parses its arguments, calls one function of :mod:`cogen.api` and prints through :data:`cogen.cli.output.out`; it
raises :class:`~cogen.errors.CogenError`. A verb that is not in the table may come from a plugin's hook
``cogen_commands``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from cogen.cli import streams
from cogen.cli.arguments import GroupedCommand
from cogen.cli.errors import USAGE, explain
from cogen.cli.exclusive import exclusive
from cogen.cli.needs import check_needs
from cogen.cli.output import Mode, out
from cogen.devices import compute
from cogen.errors import CogenError
from cogen.extras import missing_extra
from cogen.untrusted.printable import printable

#: Verb → its line in `cogen --help`, in the order in which people meet them.
VERBS = {
    "list": "Show the installed experts.",
    "show": "Show the card of one expert.",
    "plan": "Show what a fusion would do and cost.",
    "fuse": "Build one model out of the installed experts.",
    "update": "Add experts to a composite, or remove some.",
    "merge": "Merge models by a recipe in mergekit's format.",
    "eval": "Measure a model on the experts' suites.",
    "forecast": "Predict what all experts together would reach.",
    "chat": "Talk to a model.",
    "export": "Export a composite to GGUF, FP8, INT8 or ONNX.",
    "serve": "Serve a model as an OpenAI-compatible endpoint.",
    "methods": "List the merge methods and their parameters.",
    "adapter": "Concatenate, merge or extract LoRA adapters.",
    "new": "Create an expert plugin to start from.",
    "train": "Train an expert from a recipe.",
    "audit": "Measure what an expert reveals of its training text.",
    "scan": "Search texts for personal data.",
    "check": "Test an expert plugin against the contract.",
    "digest": "Compute the digests of weights.",
    "login": "Log in to a registry and make it the default.",
    "key": "List, rotate or revoke signing keys.",
    "publish": "Check, build, sign and upload an expert.",
    "yank": "Hide a release of yours from resolvers.",
    "purge": "Remove a release of yours for good.",
    "search": "Find experts in the registry.",
    "add": "Verify and install an expert from the registry.",
    "remove": "Uninstall an expert.",
    "verify": "Check that nothing changed since it was verified.",
    "doctor": "Diagnose plugins and the environment.",
    "schema": "Print the JSON schema of expert.toml.",
    "cache": "Show or clear the cache.",
}

#: Verbs that run models, and others that compute for long: these have --device and --threads, those --threads.
MODEL_VERBS = frozenset(("audit", "chat", "check", "eval", "forecast", "fuse", "plan", "publish", "train", "update"))
LONG_VERBS = MODEL_VERBS | {"adapter", "digest", "merge", "new", "scan"}

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")]
Device = Annotated[
    str | None,
    typer.Option(
        "--device",
        metavar="auto|cpu|cuda[:N]|mps",
        help="Where models run (default: auto, a GPU where there is one; merges: the CPU).",
    ),
]
Threads = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads to compute on (default: all cores).")
]


def _help(ctx: typer.Context, value: bool) -> None:
    if value:
        out.help(ctx.get_help())
        raise typer.Exit


# Our own --help: typer's built-in one is parsed through pydantic, which costs 0.1 s of the 0.3 s that `cogen list` has.
Help = Annotated[bool, typer.Option("--help", "-h", is_eager=True, callback=_help, help="Show this message and exit.")]


def main(args: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code; never raises for a mistake of the user."""
    if args is None:
        streams.prepare()
    arguments = list(sys.argv[1:] if args is None else args)
    out.mode = "human"
    with exclusive(out, arguments):
        return _run(arguments)


def _run(arguments: list[str]) -> int:
    try:
        app = _app(_verb(_completed() or arguments))
        code = app(arguments, standalone_mode=False, prog_name="cogen")
        _say_at_the_end()
        return code if isinstance(code, int) else 0
    except typer.Exit as leave:
        return leave.exit_code
    except BaseException as error:  # noqa: BLE001 - the last resort: everything becomes a message or a reported bug
        return _report(error, arguments)
    finally:
        streams.settle()


def _say_at_the_end() -> None:
    if "cogen.cache" in sys.modules:  # else nothing was looked up in it
        from cogen.cache import notice

        if message := notice():
            out.status(message)


def _app(verb: str | None) -> typer.Typer:
    """The command line with one real verb and, for the help text, the names of the others."""
    app = typer.Typer(
        # Options and imports for shell completion: not while a verb runs.
        add_completion=verb not in VERBS or bool(_completed()),
        rich_markup_mode=None,  # plain help: rich would cost a third of the time that --help has
        epilog="Run `cogen VERB --help` for one verb. Plugins may add verbs of their own.",
    )

    @app.callback(invoke_without_command=True, add_help_option=False)
    def cogen(
        ctx: typer.Context,
        json: Json = False,
        quiet: Quiet = False,
        version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
        help: Help = False,
    ) -> None:
        """Compose one foundation model out of domain experts that are installed with pip."""
        _set_mode(json, quiet)
        if version:
            from cogen import __version__

            out.result({"version": __version__}, human=f"cogen {__version__}")
        elif ctx.invoked_subcommand is None:
            out.help(ctx.get_help())

    for name, summary in VERBS.items():
        if not (Path(__file__).parent / f"{name}.py").exists():
            continue
        if name == verb:
            module = importlib.import_module(f"cogen.cli.{name}")
            if hasattr(module, "register"):
                group = typer.Typer(no_args_is_help=True, rich_markup_mode=None)
                module.register(group)
                _shared_switches(group, name)
                app.add_typer(group, name=name, help=summary)
            else:
                app.command(name, cls=GroupedCommand, add_help_option=False)(_with_switches(module.command, name))
        else:
            app.command(name, help=summary)(_unused)
    if verb and verb not in VERBS and not _completed():
        _plugin_verbs(app)
    return app


def _plugin_verbs(app: typer.Typer) -> None:
    """A verb that we don't know may be a plugin's: only now is plugin code imported for it."""
    from cogen.host import Host

    Host.discover().register_commands(app)
    _shared_switches(app)


def _shared_switches(app: typer.Typer, verb: str | None = None) -> None:
    for info in app.registered_commands:
        if info.callback not in (None, _unused) and not hasattr(info.callback, "_cogen_switches"):
            info.callback, info.add_help_option = _with_switches(info.callback, verb), False


def _unused() -> None:
    """Stands for a verb that was not typed."""


def _with_switches(command: Callable[..., Any], verb: str | None = None) -> Callable[..., None]:
    """``command`` with ``--json`` and ``--quiet`` added to its own options; ``verb`` is checked for what it needs."""
    signature = inspect.signature(command)
    hints = get_type_hints(command, include_extras=True)
    own = [p.replace(annotation=hints.get(p.name, p.annotation)) for p in signature.parameters.values()]
    keyword = inspect.Parameter.KEYWORD_ONLY
    extra = [
        inspect.Parameter("json_", keyword, default=False, annotation=Json),
        inspect.Parameter("quiet_", keyword, default=False, annotation=Quiet),
        inspect.Parameter("help_", keyword, default=False, annotation=Help),
    ]
    if verb in LONG_VERBS:
        extra.insert(0, inspect.Parameter("threads_", keyword, default=None, annotation=Threads))
    if verb in MODEL_VERBS:
        extra.insert(0, inspect.Parameter("device_", keyword, default=None, annotation=Device))

    @functools.wraps(command)
    def wrapper(
        *args: Any,
        json_: bool,
        quiet_: bool,
        help_: bool,
        device_: str | None = None,
        threads_: int | None = None,
        **kwargs: Any,
    ) -> None:
        _set_mode(json_, quiet_)
        check_needs(verb)
        with compute(device_, threads_):
            command(*args, **kwargs)

    wrapper.__signature__ = signature.replace(parameters=[*own, *extra], return_annotation=None)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in [*own, *extra]}
    wrapper._cogen_switches = True  # type: ignore[attr-defined]
    del wrapper.__wrapped__  # so that typer reads this signature, not the one inside
    return wrapper


def _set_mode(json: bool, quiet: bool) -> None:
    mode: Mode = "json" if json else "quiet" if quiet else out.mode
    out.mode = mode


def _completed() -> list[str]:
    """The words that a shell wants completed, without the program's name; empty if none asks."""
    if "_COGEN_COMPLETE" not in os.environ:
        return []
    words = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS") or ""
    return words.split()[1:]


def _verb(arguments: list[str]) -> str | None:
    return next((argument for argument in arguments if not argument.startswith("-")), None)


def _report(error: BaseException, arguments: list[str]) -> int:
    if isinstance(error, BrokenPipeError):  # of what writes to stdout itself: who reads has read enough
        streams.discard(sys.stdout)
        return 0
    if any(kind.__name__ == "Abort" for kind in type(error).__mro__):
        error = KeyboardInterrupt()
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else 1
    if "--json" in arguments:  # also where the arguments themselves could not be read
        out.mode = "json"
    explanation = explain(missing_extra(error, f"cogen {_verb(arguments) or ''}".rstrip()) or error)
    # typer carries its own copy of click or imports the real one, by version: both have format_message()
    if explanation is None and hasattr(error, "format_message"):
        if type(error).__name__ == "NoArgsIsHelpError":  # raised for a group of sub-commands
            error.show()  # type: ignore[attr-defined]
            return USAGE
        verb = _verb(arguments)
        where = f"cogen {verb} --help" if verb in VERBS else "cogen --help"
        _say(error.format_message().strip().rstrip("."), f"see `{where}`")
        return USAGE
    if explanation is None:
        import traceback

        out.stderr.write(printable("".join(traceback.format_exception(error))))
        _say(f"this is a bug in cogen: {type(error).__name__}", "report it with the text above")
        return 1
    _say(explanation.message, explanation.hint)
    return explanation.exit_code


def _say(message: str, hint: str | None) -> None:
    out.error(message)
    if hint:
        out.hint(hint)
    if out.mode == "json":
        with contextlib.suppress(CogenError):  # stdout may be what is wrong: the message went to stderr
            out.result({"error": message, "hint": hint})
