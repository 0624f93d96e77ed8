"""``cogen.evaluate_private``: a model on a private suite, at its publisher's; figures alone come out."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cogen.api.checks import as_host, as_path, as_text, check_number, check_reporter
from cogen.api.options import PathLike
from cogen.api.results import MeasureOptions
from cogen.choices import DTYPES, SPLITS, check_choice
from cogen.extras import require
from cogen.reporter import SILENT, Reporter

if TYPE_CHECKING:
    from cogen.evals import SuiteResult
    from cogen.evals.figures import Figures, FiguresDocument
    from cogen.evals.private import PrivateTask
    from cogen.host import Host
    from cogen.trust import Signer


def evaluate_private(
    model: PathLike,
    suite: PathLike,
    *,
    against: PathLike | None = None,
    split: str = "test",
    dtype: str = "float32",
    max_length: int = 1024,
    host: Host | None = None,
    reporter: Reporter = SILENT,
) -> Figures:
    """Measure a model on all of a private suite. Nothing is kept in the cache of results.

    :param model: as for :func:`cogen.evaluate`.
    :param suite: the file ``private.yaml``, or its folder.
    :param against: measure this model too, such as ``"base"``.
    :raises EvalError: the suite cannot be run; the message shows nothing of its text.
    """
    require("fuse", "cogen.evaluate_private")
    from cogen.evals import Settings
    from cogen.evals.figures import figures_of
    from cogen.evals.private import read_private

    check_choice("split", split, SPLITS)
    check_choice("dtype", dtype, DTYPES)
    check_number("max_length", max_length, 16, whole=True)
    check_reporter(reporter)
    host = as_host(host)
    task = read_private(as_path("suite", suite))
    settings = Settings.here(dtype=dtype, max_length=max_length)
    typed: Any = split
    options = MeasureOptions(split=typed, level="full", settings=settings, fresh=True, chooser=None, chat=False)
    found = _measured(host, as_text("model", model), task, options, reporter)
    base = None if against is None else _measured(host, as_text("against", against), task, options, reporter)
    return figures_of(task, typed, found, base, settings, datetime.date.today().isoformat())


def _measured(
    host: Host, model: str, task: PrivateTask, options: MeasureOptions, reporter: Reporter
) -> tuple[str, str, SuiteResult]:
    """(what the model is called, its digest, its result)."""
    from cogen.api.evaluation import measure

    digest = digest_of(host, model, reporter)
    (result,) = _without_text(task, lambda: measure(host, model, [task.bound()], options, reporter).results)
    return Path(model).name or model, digest, result


def _without_text(task: PrivateTask, call: Any) -> Any:
    """Errors of suites and templates quote documents: here they don't."""
    from cogen.errors import EvalError, UnsafeError
    from cogen.evals.documents import rows_of
    from cogen.evals.task import load_task

    bound = task.bound()
    read = load_task(bound)
    try:
        for split in ("dev", "test"):
            rows_of(bound, read, split)
    except (EvalError, UnsafeError):
        raise EvalError(
            f"{bound.name}: a document does not fit its task file",
            hint="the document is not shown here; check the fields that the task file names",
        ) from None
    return call()


def digest_of(host: Host, model: str, reporter: Reporter = SILENT) -> str:
    """What says which model was measured: the digest of its weights, of a route that of its manifest.

    :raises UsageError: no such model.
    """
    from cogen.api.models import is_route, open_model
    from cogen.checkpoints.digests import file_digest

    if is_route(model):
        return file_digest(Path(model) / "route.json")
    return open_model(host, model, reporter)[1].weights_digest


def signed(figures: Figures, signer: Signer, publisher: str | None = None) -> FiguresDocument:
    """Figures, signed with a key or as an identity.

    :raises TrustError: it can't be used.
    """
    from cogen.evals.figures import sign_figures
    from cogen.sharing.login import password
    from cogen.trust import IdentitySigner, public_key

    if isinstance(signer, IdentitySigner):
        key = signer.prove(publisher or "")[0].text
        return sign_figures(figures, signer, key, publisher)
    return sign_figures(figures, signer, public_key(signer, password()), publisher, password())
