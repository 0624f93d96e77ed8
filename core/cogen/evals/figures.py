"""Figures of a private suite as its publisher hands them out: one JSON document, which may be signed.

    {"version": 1, "measured_at": "publisher", "suite", "title", "metric", "split", "documents", "bytes",
     "text_digest", "model": {"name", "digest", "value", "low", "high"}, "against": the same or null,
     "settings", "harness", "date"}

It holds no text and no figure of a single document. ``digest`` is that of a model's weights, of a route that of its
manifest; ``text_digest`` is salted (:func:`cogen.evals.private.text_digest`).
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, ValidationError, model_validator

from cogen.errors import EvalError
from cogen.spec.base import Digest, Frozen, Line
from cogen.spec.suite import Metric, PrivateFigure, SuiteId
from cogen.trust.documents import check_document, sign_document
from cogen.trust.keys import Signer, fingerprint
from cogen.untrusted.json_text import parse_json

if TYPE_CHECKING:
    from cogen.evals.private import PrivateTask
    from cogen.evals.results import SuiteResult
    from cogen.evals.settings import Settings, Split

#: Bytes of a document: those of a signed one are a few thousand.
LARGEST = 1 << 18
#: Name under which figures are signed.
_SIGNED_AS = "private-figures.json"
_HINT = "ask its publisher for what `cogen eval MODEL --suite private.yaml --json` printed"


#: Characters that end a line, steer a terminal, or turn text around so that it reads otherwise than it is written.
_UNSHOWN = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
#: Nobody measured before, and no model needs more bits per byte: a uniform guess over a million tokens takes 20.
_FIRST_DAY, _MOST_BITS = datetime.date(2000, 1, 1), 1000.0
#: Numbers up to here every reader of JSON can hold.
_LARGEST = 2**53


def _shown(value: str) -> str:
    if _UNSHOWN.search(value):
        raise ValueError("it has control characters")
    return value


_Shown = Annotated[Line, AfterValidator(_shown)]


class ModelFigure(PrivateFigure):
    """One model: ``name`` is what whoever measured calls it, ``digest`` decides which one it is."""

    name: _Shown
    digest: Digest

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if not self.low <= self.value <= self.high:
            raise ValueError("low, value and high are not in order")
        return self


def _is_day(value: str) -> str:
    if datetime.date.fromisoformat(value) < _FIRST_DAY:
        raise ValueError(f"nothing was measured before {_FIRST_DAY.year}")
    return value


#: A setting is a word or a number: nothing that a text could hide in.
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,40}$")]
_Setting = (
    Annotated[str, Field(max_length=60), AfterValidator(_shown)]
    | bool
    | Annotated[int, Field(ge=-_LARGEST, le=_LARGEST)]
    | Annotated[float, Field(ge=-_LARGEST, le=_LARGEST)]
)


class Figures(Frozen):
    """See the module."""

    version: Literal[1] = 1
    measured_at: Literal["publisher"] = "publisher"
    suite: SuiteId
    title: _Shown
    metric: Metric
    split: Literal["dev", "test"] = "test"
    documents: int = Field(gt=0)
    bytes: int = Field(gt=0)
    text_digest: Digest
    model: ModelFigure
    against: ModelFigure | None = None
    settings: Annotated[dict[_Name, _Setting], Field(max_length=32)]
    harness: _Shown
    date: Annotated[str, Field(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_is_day)]

    @model_validator(mode="after")
    def _possible(self) -> Self:
        most = _MOST_BITS if self.metric == "bits_per_byte" else 1.0
        for one in (self.model, self.against):
            if one is not None and not (one.low >= 0 and one.high <= most):
                raise ValueError(f"{one.value:g} is not a value of {self.metric}")
        return self

    def check_day(self, today: datetime.date) -> None:
        """:raises EvalError: they were measured after ``today``, a day of tolerance for time zones: the newest figures
        are shown first, and these would stay so.
        """
        if datetime.date.fromisoformat(self.date) > today + datetime.timedelta(days=1):
            raise EvalError(
                f"these figures are of {self.date}, which has not come yet",
                hint="correct the clock of the machine that measured, and measure again",
            )


class FiguresSignature(Frozen):
    """``key``: public key in PEM, or an identity of Sigstore; ``publisher``: the registry's name of who signed."""

    publisher: Annotated[str, Field(max_length=100, pattern=r"^[^\r\n]*$")] | None = None
    key: Annotated[str, Field(max_length=4096)]
    bundle: dict[str, Any]


class FiguresDocument(Frozen):
    """What is sent: the figures, and a signature over them where there is one."""

    figures: Figures
    signature: FiguresSignature | None = None

    def check(self) -> str | None:
        """Fingerprint of the key that signed; ``None``: nobody did.

        :raises TrustError: the signature does not hold.
        """
        if self.signature is None:
            return None
        document = self.figures.model_dump(mode="json")
        check_document(document, _SIGNED_AS, self.signature.bundle, self.signature.key, "this set of figures")
        return fingerprint(self.signature.key)


def harness_of(settings: Settings) -> str:
    """What measured, in one line."""
    from cogen.evals.store import versions

    found = versions()
    return f"lm-eval {found['lm_eval']}, transformers {found['transformers']}, torch {found['torch']}, {settings.dtype}"


def figures_of(
    task: PrivateTask,
    split: Split,
    model: tuple[str, str, SuiteResult],
    against: tuple[str, str, SuiteResult] | None,
    settings: Settings,
    date: str,
) -> Figures:
    """What may go out of a measurement of a whole split.

    :param model, against: name, digest and result.
    :raises EvalError: a figure is none of its metric, the title has control characters, or the split has a single
        document, whose figure would be that of a text.
    """
    result = model[2]
    count = task.documents[split]
    if count < 2 or result.low is None or result.high is None:
        raise EvalError(
            f"{task.id}: {count} document gives no interval, and its figure would be that of a single text",
            hint="hold out at least two documents; 30 or more say something",
        )
    try:
        return Figures(
            suite=task.id,
            title=task.title,
            metric=task.metric,
            split=split,
            documents=count,
            bytes=task.sizes[split],
            text_digest=task.digests[split],
            model=_figure(*model),
            against=None if against is None else _figure(*against),
            settings=settings.key(),
            harness=harness_of(settings),
            date=date,
        )
    except ValidationError as error:
        raise EvalError(
            f"{task.id}: no figures can be made: {_problem(error)}",
            hint="correct the title in private.yaml, or measure another model",
        ) from error


def _figure(name: str, digest: str, result: SuiteResult) -> ModelFigure:
    assert result.low is not None
    assert result.high is not None
    # Rounded: the last digits are the machine's, and say more of the text than a figure should.
    value, low, high = (round(number, 6) for number in (result.value, result.low, result.high))
    return ModelFigure(name=name, digest=digest, value=value, low=min(low, value), high=max(high, value))


def sign_figures(
    figures: Figures, signer: Signer, key: str, publisher: str | None = None, password: str | None = None
) -> FiguresDocument:
    """With a signature over them.

    :param key: what ``signer`` is known by: its public key or identity. :raises TrustError: it can't be used.
    """
    bundle = sign_document(figures.model_dump(mode="json"), _SIGNED_AS, signer, password)
    return FiguresDocument(figures=figures, signature=FiguresSignature(publisher=publisher, key=key, bundle=bundle))


def read_figures(path: Path) -> FiguresDocument:
    """A file of figures.

    :raises EvalError: unreadable, or something else.
    """
    try:
        with path.open("rb") as file:
            data = file.read(LARGEST + 1)
        if len(data) > LARGEST:
            raise EvalError(f"{path.name} is larger than {LARGEST:,} bytes, figures are a few hundred", hint=_HINT)
        value = parse_json(data)
    except OSError as error:
        raise EvalError(f"{path} cannot be read: {error.strerror}", hint=_HINT) from error
    except ValueError as error:
        raise EvalError(f"{path.name} is not JSON that can be read: {error}", hint=_HINT) from error
    try:
        return FiguresDocument.model_validate(value)
    except ValidationError as error:
        raise EvalError(f"{path.name} holds no figures: {_problem(error)}", hint=_HINT) from error


def _problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(map(str, first["loc"])) or "it"
    return f"{place}: {first['msg'].removeprefix('Value error, ')}"
