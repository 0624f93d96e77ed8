"""What stays at publishers: their figures in report and card, apart from everything that was measured here.

``please-measure.md`` asks the publishers of private suites to measure the composite at home. What they send back is
checked and kept in ``publisher-figures.jsonl`` (``cogen eval COMPOSITE --add FILE``), and shown in its own section.
Nothing in here reaches a matrix, an average, a choice or a search.
"""

from __future__ import annotations

import datetime
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from cogen.errors import DigestError, EvalError, SpecError, UsageError
from cogen.evals.figures import Figures, FiguresDocument, read_figures
from cogen.files import atomic_write
from cogen.markdown import plain as md
from cogen.markdown import table
from cogen.reporter import SILENT, Reporter
from cogen.trust.errors import TrustError
from cogen.untrusted.json_text import parse_json

if TYPE_CHECKING:
    import jinja2
    import markupsafe

    from cogen.artifacts.lock import Lock
    from cogen.host import Expert, Host
    from cogen.spec.suite import PrivateSuite

REQUEST = "please-measure.md"
#: Not ``.json``: a lock covers the files of that kind, and these come later.
ADDED = "publisher-figures.jsonl"
TITLE = "Measured at the publishers', not reproducible by others"
_TEMPLATE = "report_private.html.j2"
#: Around the section in the report and the card, so that it can be written again when figures come back.
_BEGIN, _END = "<!-- publisher figures -->", "<!-- /publisher figures -->"
_SECTION = re.compile(f"{re.escape(_BEGIN)}.*?{re.escape(_END)}", re.DOTALL)


@dataclass(frozen=True)
class PublisherRow:
    """One figure. ``source``: where it stands, and who answers for it."""

    expert: str
    suite: str
    model: str
    value: str
    documents: int
    date: str
    source: str


@dataclass(frozen=True)
class AddedFigures:
    """Figures that were checked: ``key`` that signed them; ``checked``: it is the key of the expert's own release."""

    document: FiguresDocument
    expert: str
    key: str | None
    checked: bool

    @property
    def signer(self) -> str:
        if self.key is None:
            return "nobody"
        return "the publisher's key" if self.checked else f"the key {self.key[:23]}…, not known here"


def with_private(experts: Sequence[Expert]) -> list[Expert]:
    """Those that have a private suite, by id."""
    return sorted((expert for expert in experts if expert.spec.private_suites), key=lambda expert: expert.id)


def publisher_rows(experts: Sequence[Expert], added: Sequence[AddedFigures] = ()) -> list[PublisherRow]:
    """What the manifests say of base and expert, then what publishers sent back of the composite."""
    rows = []
    for expert in with_private(experts):
        for suite in expert.spec.private_suites:
            for name, found in (("base", suite.base), (expert.id, suite.expert)):
                if found is not None:
                    value = _interval(suite.metric, found.value, found.low, found.high)
                    rows.append(
                        PublisherRow(expert.id, suite.title, name, value, suite.documents, suite.date, "manifest")
                    )
            rows += [
                _sent(one, suite) for one in added if (one.expert, one.document.figures.suite) == (expert.id, suite.id)
            ]
    return rows


def _sent(added: AddedFigures, suite: PrivateSuite) -> PublisherRow:
    figures = added.document.figures
    found = figures.model
    value = _interval(figures.metric, found.value, found.low, found.high)
    source = f"sent back, {'signed by ' + added.signer if added.key else 'not signed'}"
    return PublisherRow(added.expert, suite.title, "composite", value, figures.documents, figures.date, source)


def _interval(metric: str, value: float, low: float, high: float) -> str:
    return f"{value:.4f} ({low:.4f} to {high:.4f}) {metric.replace('_', ' ')}"


def private_json(experts: Sequence[Expert]) -> list[dict[str, Any]]:
    """The manifests' figures for ``--json``: `expert` is the id; `suite` has figures of base and expert."""
    return [
        {"expert": expert.id, "suite": suite.model_dump(mode="json")}
        for expert in with_private(experts)
        for suite in expert.spec.private_suites
    ]


# ---- report and card ------------------------------------------------------------------------------------


def html_section(experts: Sequence[Expert], added: Sequence[AddedFigures] = ()) -> markupsafe.Markup:
    """For the report, between its marks; empty between them where no expert has a private suite."""
    import markupsafe

    rows = publisher_rows(experts, added)
    inside = _environment().get_template(_TEMPLATE).render(title=TITLE, rows=rows, request=REQUEST) if rows else ""
    return markupsafe.Markup(f"{_BEGIN}\n{inside}{_END}")


def card_section(experts: Sequence[Expert], added: Sequence[AddedFigures] = ()) -> str:
    """For ``README.md``, between its marks; "" where no expert has a private suite."""
    rows = publisher_rows(experts, added)
    if not rows:
        return ""
    heads = ["expert", "suite", "model", "value, 95 % interval", "documents", "date", "source"]
    cells = [[row.expert, row.suite, row.model, row.value, str(row.documents), row.date, row.source] for row in rows]
    text = (
        "The text of these suites stays with the experts' publishers. Nobody else can measure these figures again, and "
        f"none of them is part of the results above. `{REQUEST}` asks the publishers to measure this model."
    )
    return f"{_BEGIN}\n## {TITLE}\n\n{table(heads, cells)}\n\n{text}\n{_END}"


@functools.cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


# ---- the request ----------------------------------------------------------------------------------------


def write_private_parts(folder: Path, experts: Sequence[Expert], lock: Lock | None) -> None:
    """What a composite has beside report and card where an expert has a private suite: the request, and of a route,
    which has neither, the section of its card.

    :param lock: of a composite with weights.
    """
    if not with_private(experts):
        return
    digest = lock.weights_digest if lock is not None else _composite(folder)[0]
    write_request(folder, digest, experts)
    if lock is None:
        _rewrite(folder, experts, [])


def write_request(folder: Path, digest: str, experts: Sequence[Expert]) -> Path | None:
    """``please-measure.md``, where an expert has a private suite.

    :param digest: of the composite's weights, of a route that of its manifest.
    :returns: the file, or ``None``: there is nothing to ask for.
    """
    asked = with_private(experts)
    if not asked:
        return None
    parts = ["# Please measure this model on your private suite", _WHAT.format(digest=digest)]
    for expert in asked:
        suites = "\n".join(
            f"- {md(suite.title)} (`{suite.id}`): {suite.documents} documents, text digest `{suite.text_digest}`"
            for suite in expert.spec.private_suites
        )
        parts.append(f"## {md(expert.spec.title)} (`{expert.id}`), by {md(expert.spec.publisher)}\n\n{suites}")
    parts.append(_HOW)
    path = folder / REQUEST
    atomic_write(path, ("\n\n".join(parts) + "\n").encode())
    return path


_WHAT = """\
A model was composed of experts, some of yours among them. Your held-out text is with you alone, so nobody but you can
say how well the model reads your field. Its digest is

    {digest}"""
_HOW = """\
## How

On your machine, with this model's folder in COMPOSITE and your suite where `cogen train` wrote it:

```sh
cogen eval COMPOSITE --suite private/private.yaml --figures-only --sign > figures.json
```

`--publish` in the place of `--sign` sends the figures to your registry, too. A suite of statements lies in
`private/statements/private.yaml`.

## What you send back

`figures.json`, a few hundred bytes and a signature: the suite's id and title, number of documents and bytes, the value
with its 95 % interval, the salted digest of the text, the digest of this model, the settings, versions and the date.
Not sent: any text, any figure of a single document, the salt. Nothing is kept in a cache. Read the file before you send
it.

## For whoever asked

`cogen eval COMPOSITE --add figures.json` checks signature and digests, and puts the figures into the report and the
card, as measured by the publisher and apart from everything that was measured here."""


# ---- figures that come back -----------------------------------------------------------------------------


def add_to_composite(composite: Path, file: Path, host: Host, reporter: Reporter = SILENT) -> AddedFigures:
    """Check figures, keep them in the composite's folder, and write its report and card again.

    Those that were added before are checked again; ``reporter`` gets a note for each that no longer holds.

    :raises UsageError: no composite, the suite is of none of its experts, or newer figures of it are there.
    :raises DigestError: they are of another model or of another text.
    :raises EvalError: the file holds none, or of a day that has not come.
    :raises TrustError: the signature does not hold, is not by the key of the expert's release, or is missing where the
        figures that are there have one.
    """
    document = read_figures(file)
    digest, ids = _composite(composite)
    experts = [host.expert(id) for id in ids]
    found = check_figures(document, digest, experts)
    before = _read_added(composite, experts, reporter)
    for one in before:
        if _same(one, found):
            _check_replaces(one, found, file)
    kept = [one for one in before if not _same(one, found)]
    lines = "".join(one.document.model_dump_json() + "\n" for one in (*kept, found))
    atomic_write(composite / ADDED, lines.encode())
    _rewrite(composite, experts, [*kept, found])
    return found


def _composite(folder: Path) -> tuple[str, list[str]]:
    """(digest of the weights, or of a route's manifest; ids of its experts)."""
    from cogen.artifacts.lock import LOCK_NAME, read_lock
    from cogen.checkpoints.digests import file_digest
    from cogen.fusion.route import is_route, read_route

    if is_route(folder):
        return file_digest(folder / "route.json"), [expert.id for expert in read_route(folder).experts]
    if not (folder / LOCK_NAME).is_file():
        raise UsageError(f"{folder} is not a composite", hint="name a folder that `cogen fuse` wrote")
    lock = read_lock(folder)
    return lock.weights_digest, [expert.id for expert in lock.plan.experts]


def check_figures(document: FiguresDocument, digest: str, experts: Sequence[Expert]) -> AddedFigures:
    """Are these figures of this model, on a private suite of one of these experts, and by its publisher?

    :raises UsageError, DigestError, EvalError, TrustError: see :func:`add_to_composite`.
    """
    figures, key = document.figures, document.check()
    matching = [
        (expert, suite)
        for expert in with_private(experts)
        for suite in expert.spec.private_suites
        if suite.text_digest == figures.text_digest
    ]
    if not matching:
        known = ", ".join(f"{e.id}/{s.id}" for e in with_private(experts) for s in e.spec.private_suites)
        raise DigestError(
            f"the text digest of these figures is that of no private suite here ({known or 'there is none'})",
            hint="they were measured on other text, or for another release of the expert: ask its publisher",
        )
    expert, suite = _whose(matching, figures, key)
    if (figures.suite, figures.metric, figures.split) != (suite.id, suite.metric, suite.split):
        raise DigestError(
            f"these figures are of {figures.suite}, {figures.metric}, {figures.split}; the manifest of {expert.id} "
            f"says {suite.id}, {suite.metric}, {suite.split}",
            hint=f"ask {expert.spec.publisher} to measure again",
        )
    if (figures.documents, figures.bytes) != (suite.documents, suite.bytes):
        raise DigestError(
            f"these figures are of {figures.documents} documents and {figures.bytes:,} bytes, the manifest of "
            f"{expert.id} says {suite.documents} and {suite.bytes:,}",
            hint=f"ask {expert.spec.publisher} to measure again",
        )
    if figures.model.digest != digest:
        raise DigestError(
            f"these figures are of another model: {figures.model.digest[:19]}… where this one is {digest[:19]}…",
            hint=f"send {expert.spec.publisher} this composite and its {REQUEST}",
        )
    figures.check_day(datetime.datetime.now(datetime.UTC).date())
    return AddedFigures(document, expert.id, key, _by_publisher(expert, key))


def _whose(
    matching: Sequence[tuple[Expert, PrivateSuite]], figures: Figures, key: str | None
) -> tuple[Expert, PrivateSuite]:
    """Whose suite it is. The digest of its text is public, so another expert's manifest may repeat it: the release that
    the key signed comes first, then the only one whose manifest says the rest of what the figures say.

    :raises TrustError: it may be more than one.
    """
    signed = [one for one in matching if _signed_release(one[0], key)]
    like = [one for one in matching if _says(one[1].id, one[1]) == _says(figures.suite, figures)]
    found = signed or like or matching
    if len({expert.id for expert, _ in found}) > 1:
        names = " and ".join(sorted({expert.id for expert, _ in found}))
        raise TrustError(
            f"{names} name the same text digest, and nothing here says whose figures these are",
            hint="ask for signed figures, and install the experts from the registry: `cogen add`",
        )
    return next((one for one in found if one in like), found[0])


def _says(suite: str, one: PrivateSuite | Figures) -> tuple[object, ...]:
    return suite, one.metric, one.split, one.documents, one.bytes


def _signed_release(expert: Expert, key: str | None) -> bool:
    """Did this key sign the expert's release as it is installed?"""
    from cogen.trust.receipts import receipt_of

    receipt = receipt_of(expert.distribution)
    return key is not None and receipt is not None and receipt.version == expert.version and receipt.key == key


def _by_publisher(expert: Expert, key: str | None) -> bool:
    """Did the key that signed the expert's installed release sign? Of one that was not installed from a registry, none
    is known.

    :raises TrustError: another one did, or the key was revoked.
    """
    from cogen.trust.pins import pins_of
    from cogen.trust.receipts import receipt_of

    receipt = receipt_of(expert.distribution)
    if key is None or receipt is None or receipt.version != expert.version or receipt.key is None:
        return False
    if receipt.key != key:
        raise TrustError(
            f"these figures are signed with {key[:23]}…, {expert.id} with {receipt.key[:23]}…",
            hint=f"if {receipt.publisher} has another key now, update the expert first: cogen add {expert.id}",
        )
    if (why := pins_of(receipt.root or receipt.registry).revoked.get(key)) is not None:
        raise TrustError(
            f"these figures are signed with {key[:23]}…, which was revoked {why}",
            hint=f"ask {receipt.publisher} to sign them with its present key",
        )
    return True


def _check_replaces(old: AddedFigures, new: AddedFigures, file: Path) -> None:
    """:raises TrustError, UsageError: ``old`` says more than ``new``."""
    whose = f"{new.expert}/{new.document.figures.suite}"
    if old.key is not None and (new.key is None or (old.checked and not new.checked)):
        raise TrustError(
            f"{file.name} holds figures of {whose} signed by {new.signer}, and those that are there are signed by "
            f"{old.signer}",
            hint=f"ask its publisher to sign them; or delete the old ones from {ADDED}",
        )
    if new.document.figures.date < old.document.figures.date:
        raise UsageError(
            f"{file.name} holds figures of {whose} of {new.document.figures.date}, and those that are there are of "
            f"{old.document.figures.date}",
            hint=f"leave them out; or delete the newer ones from {ADDED}",
        )


def _same(one: AddedFigures, other: AddedFigures) -> bool:
    return (one.expert, one.document.figures.suite) == (other.expert, other.document.figures.suite)


def _read_added(composite: Path, experts: Sequence[Expert], reporter: Reporter) -> list[AddedFigures]:
    """Figures that were added before and still hold."""
    path = composite / ADDED
    if not path.is_file():
        return []
    digest, _ = _composite(composite)
    found = []
    # Split as it was joined: a title may hold what else ends a line for Python.
    for number, line in enumerate(path.read_bytes().rstrip(b"\n").split(b"\n"), 1):
        try:
            document = FiguresDocument.model_validate(parse_json(line))
        except (ValueError, ValidationError) as error:
            raise SpecError(f"{path}, line {number}, holds no figures", hint="delete the line, or the file") from error
        try:
            found.append(check_figures(document, digest, experts))
        except (UsageError, DigestError, EvalError, TrustError) as error:
            suite = document.figures.suite
            reporter.note(f"figures of the suite {suite} no longer hold and are taken out: {error.message}")
    return found


def _rewrite(composite: Path, experts: Sequence[Expert], added: Sequence[AddedFigures]) -> None:
    for name, section, before in (
        ("report.html", html_section(experts, added), "</main>"),
        ("README.md", card_section(experts, added), None),
    ):
        path = composite / name
        if path.is_file():
            atomic_write(path, _with_section(path.read_text(encoding="utf-8"), section, before).encode())


def _with_section(text: str, section: str, before: str | None) -> str:
    """``text`` with the section in the place of the one that it has; else before a mark, or at its end."""
    if _SECTION.search(text):
        return _SECTION.sub(lambda _: section, text, count=1)
    if before is not None and before in text:
        return text.replace(before, f"{section}\n{before}", 1)
    return f"{text.rstrip()}\n\n{section}\n"
