"""Every mistake that a user can fix is a :class:`CogenError` with a hint.

One subclass per kind of thing to fix, so that the command line can map it to an exit code
and a caller can catch exactly what it can handle.
"""

from __future__ import annotations

#: Characters of a message.
_LONGEST = 1500


class CogenError(Exception):
    """Something that the user can fix.

    :param message: One line, no full stop, that says what is wrong.
    :param hint: One line that says what to do about it, or ``None`` where nothing is known to help.
    """

    #: Process exit code of the command line.
    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        # Names of others in it may hold line feeds, or 70,000 characters.
        message = message if message.isprintable() else " ".join(message.split())
        self.message = message if len(message) <= _LONGEST else message[:_LONGEST] + "…"
        self.hint = hint
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


def message_of(error: BaseException) -> str:
    """What an exception says, on one line; "" where it cannot even say that, as somebody else's may."""
    try:
        return " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - see above
        return ""


def failure(error: BaseException) -> str:
    """What somebody else's code raised, in one line: "ZeroDivisionError: division by zero (odd.py:3)"."""
    text = message_of(error)
    named = f"{type(error).__name__}: {text}" if text else type(error).__name__
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, ImportError | SyntaxError):
        return named
    file = trace.tb_frame.f_code.co_filename.replace("\\", "/").rpartition("/")[2]
    return f"{named} ({file}:{trace.tb_lineno})"


class UsageError(CogenError):
    """The command line or a recipe asks for something that does not exist."""

    exit_code = 3


class MissingExtraError(CogenError):
    """A library of an optional part of the distribution is not installed (:mod:`cogen.extras`)."""


class SpecError(CogenError):
    """A manifest (``expert.toml``), a recipe or a plan does not validate."""


class PluginError(CogenError):
    """An installed plugin cannot be used; ``plugin`` names the culprit."""

    def __init__(self, plugin: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        #: Distribution or expert id of the plugin that failed.
        self.plugin = plugin


class SourceError(CogenError):
    """Weights, tokenizers or texts could not be fetched or opened."""


class DigestError(SourceError):
    """Bytes are not the bytes that were promised."""


class UnsafeError(CogenError):
    """Something would run code that was not asked for (pickle, remote code, an unsafe task file)."""


class CompatibilityError(CogenError):
    """The experts cannot be fused in the way that was asked for."""


class EvalError(CogenError):
    """A suite cannot be run."""


class TrainError(CogenError):
    """A training recipe cannot be run."""


class PlanError(CogenError):
    """A saved plan or lock no longer agrees with what is installed."""

    exit_code = 2
