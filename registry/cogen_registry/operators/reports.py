"""What readers say is wrong with a page. Bounded in size and number; nothing of it is ever shown to other readers."""

from __future__ import annotations

import datetime
import hmac
import time
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from cogen.untrusted.printable import printable
from cogen_registry.audit import log
from cogen_registry.database.tables import Report, now
from cogen_registry.errors import Refused, not_found

#: What may be wrong, and how it is called.
KINDS = {
    "malware": "It harms whoever installs it",
    "impersonation": "It pretends to be somebody else's",
    "private-data": "It reveals personal data",
    "copyright": "It infringes my rights",
    "misleading": "Its claims are not true",
    "other": "Something else",
}
#: Characters; bytes of the whole form.
TEXT, CONTACT, ABOUT, FORM = 4_000, 300, 500, 64 * 1024
#: Open reports by one address in an hour, and by everybody in a day.
AN_HOUR, A_DAY = 5, 500
#: Seconds that a form is good for once it was loaded, and that a person needs to write at least.
LASTS = 24 * 3600


class Forms:
    """Signs forms, so that only a page of ours can be sent in, once it was loaded from here."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def sign(self, about: str) -> str:
        moment = str(int(time.time()))
        return f"{moment}.{self._digest(moment, about)}"

    def check(self, stamp: str, about: str) -> None:
        """:raises Refused: 403"""
        moment, _, digest = stamp.partition(".")
        right = hmac.compare_digest(digest.encode(), self._digest(moment, about).encode())
        if not right or not moment.isdecimal() or not 0 <= time.time() - int(moment) <= LASTS:
            raise Refused(
                403,
                "the form has expired, or is not from this registry",
                hint="load the page again and send it from there",
            )

    def _digest(self, moment: str, about: str) -> str:
        return hmac.new(self._secret, f"report\n{moment}\n{about}".encode(), "sha256").hexdigest()


def check_origin(headers: Mapping[str, str], own: str) -> None:
    """A form on another site must not be sent in by who only visits that site.

    :raises Refused: 403
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    foreign = origin not in (None, "") and urlsplit(origin or "").netloc != urlsplit(own).netloc
    if site not in (None, "same-origin", "none") or (site is None and foreign):
        raise Refused(403, "this form was sent from another site", hint="report it from the page here")


def add(session: Session, about: str, kind: str, text: str, contact: str, address: str) -> int:
    """:raises Refused: 400, it says nothing or too much; 429, there were many."""
    text, contact = _plain(text.strip(), lines=True), _plain(contact.strip())
    if kind not in KINDS:
        raise Refused(400, "the report has no reason", hint="choose one of the reasons")
    if not 10 <= len(text) <= TEXT:
        raise Refused(400, f"a report has 10 to {TEXT:,} characters", hint="say in a few lines what is wrong and where")
    if len(contact) > CONTACT:
        raise Refused(400, f"the address has more than {CONTACT} characters", hint="shorten it, or leave it out")
    moment = now()
    lately = select(func.count()).select_from(Report)
    hour, day = moment - datetime.timedelta(hours=1), moment - datetime.timedelta(days=1)
    mine = session.scalar(lately.where(Report.address == address, Report.created > hour)) or 0
    if mine >= AN_HOUR or (session.scalar(lately.where(Report.created > day)) or 0) >= A_DAY:
        raise Refused(429, "too many reports", hint="try again later", headers={"Retry-After": "3600"})
    made = Report(about=_plain(about)[:ABOUT], kind=kind, text=text, contact=contact, address=address[:64])
    session.add(made)
    session.flush()
    log.record(session, log.Actor(address=address[:64]), "report.add", made.about, id=made.id, kind=kind)
    return made.id


def _plain(text: str, lines: bool = False) -> str:
    """Without what a terminal would obey."""
    return printable(text) if lines else printable(text).replace("\n", " ")


def listed(session: Session, every: bool = False) -> Iterator[dict[str, Any]]:
    """The oldest first."""
    wanted = select(Report).order_by(Report.id)
    for one in session.scalars(wanted if every else wanted.where(Report.closed.is_(None))):
        yield {
            "id": one.id,
            "created": f"{one.created:%Y-%m-%d %H:%M}",
            "about": one.about,
            "kind": one.kind,
            "text": one.text,
            "contact": one.contact,
            "address": one.address,
        } | ({"closed": one.closed, "closed_by": one.closed_by, "answer": one.answer} if every else {})


def closed(session: Session, who: log.Actor, id: int, answer: str) -> None:
    """:raises Refused: 404, 409"""
    found = session.get(Report, id)
    if found is None:
        raise not_found(f"report {id}", "`cogen-registry reports --all` has the numbers")
    if found.closed is not None:
        raise Refused(
            409, f"report {id} was closed by {found.closed_by}", hint="`cogen-registry reports` lists the others"
        )
    found.closed, found.closed_by, found.answer = now(), who.operator, answer or None
    log.record(session, who, "report.close", found.about, id=id, answer=answer or None)
