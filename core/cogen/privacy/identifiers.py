"""What identifies a person, by its form and, where it has one, by its check digits (python-stdnum, phonenumbers)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module

#: Language → regions whose national telephone numbers are searched for; numbers with + are found in any.
REGIONS = {
    "ar": ("EG", "SA", "AE"),
    "de": ("DE", "AT", "CH"),
    "en": ("US", "GB"),
    "es": ("ES", "MX"),
    "fr": ("FR", "BE"),
    "hi": ("IN",),
    "it": ("IT",),
    "ja": ("JP",),
    "ko": ("KR",),
    "nl": ("NL",),
    "pl": ("PL",),
    "pt": ("BR", "PT"),
    "ru": ("RU",),
    "th": ("TH",),
    "tr": ("TR",),
    "zh": ("CN", "HK", "TW"),
}


@dataclass(frozen=True)
class Identifier:
    """A kind: group 1 of ``pattern``, or all of it, is the candidate; ``valid`` looks at its check digits.

    ``unique``: such a thing names one person, and is in a text by no accident.
    """

    kind: str
    pattern: re.Pattern[str]
    valid: Callable[[str], bool] = lambda _: True
    unique: bool = True


def _stdnum(module: str) -> Callable[[str], bool]:
    """The check of a module of python-stdnum, imported when it is first asked."""

    def valid(text: str) -> bool:
        return bool(import_module(f"stdnum.{module}").is_valid(text))

    return valid


def _card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    known = re.fullmatch(
        r"4\d{12}(\d{3}){0,2}|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|6(011|5\d\d)\d{12}|62\d{14,17}", digits
    )
    return known is not None and _stdnum("luhn")(digits)


def _address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _kind(kind: str, pattern: str, valid: Callable[[str], bool] = lambda _: True, *, unique: bool = True) -> Identifier:
    return Identifier(kind, re.compile(pattern, re.IGNORECASE), valid, unique)


_RECORD = r"MRN|medical record|patient|record|case|file|病[历歷]|病案|カルテ"
#: The same in Chinese and Japanese, where the number often follows at once: 住院号123456.
_RECORD_CJK = (
    r"(?:病[历歷]|病案|住院|[门門就急][诊診]|登[记記]|患者|カルテ|診察券)"
    r"(?:号码|號碼|编号|編號|号|號|番号|ID|No\.?)"
)
_BORN = r"date of birth|D\.?O\.?B\.?|born(?: on)?|geboren(?: am)?|né(?:e)? le|出生日期|出生于|出生|生年月日"

#: No \b at an edge: between a digit and a Chinese character there is none.
#: In the order of the search: what one has found, those behind it do not find again.
IDENTIFIERS = (
    _kind("e-mail address", r"[a-zà-ÿ0-9_.+-]+@[a-z0-9-]+(?:\.[a-z0-9-]+)*\.[a-z]{2,24}(?![a-z0-9])", unique=False),
    _kind(
        "IBAN",
        r"(?<![A-Z0-9])[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?![A-Z0-9])",
        _stdnum("iban"),
    ),
    _kind("Chinese resident ID", r"(?<![\dA-Z])\d{17}[\dX](?![\dA-Z])", _stdnum("cn.ric")),
    _kind(
        "Italian codice fiscale",
        r"(?<![A-Z0-9])[A-Z]{6}\d{2}[A-Z]\d{2}[A-Z]\d{3}[A-Z](?![A-Z0-9])",
        _stdnum("it.codicefiscale"),
    ),
    _kind("payment card", r"(?<![\d.])\d(?:[ -]?\d){12,18}(?![\d])", _card),
    _kind("French NIR", r"(?<!\d)[12] ?\d{2} ?\d{2} ?\d{2} ?\d{3} ?\d{3} ?\d{2}(?!\d)", _stdnum("fr.nir")),
    _kind("Korean resident number", r"(?<!\d)\d{6}-\d{7}(?!\d)", _stdnum("kr.rrn")),
    _kind("US social security number", r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])", _stdnum("us.ssn")),
    _kind("Brazilian CPF", r"(?<!\d)\d{3}\.\d{3}\.\d{3}-\d{2}(?!\d)", _stdnum("br.cpf")),
    _kind("Aadhaar number", r"(?<!\d)[2-9]\d{3} \d{4} \d{4}(?! ?\d)", _stdnum("in_.aadhaar")),
    # One check digit: a tenth of all numbers would pass, so the word must stand before them.
    _kind("NHS number", r"NHS\D{0,20}(\d{3}[ -]?\d{3}[ -]?\d{4})(?!\d)", _stdnum("gb.nhs")),
    _kind("PESEL", r"PESEL\D{0,12}(\d{11})(?!\d)", _stdnum("pl.pesel")),
    _kind("German tax ID", r"(?:Steuer-?ID|IdNr)\D{0,20}(\d{2} ?\d{3} ?\d{3} ?\d{3})(?!\d)", _stdnum("de.idnr")),
    _kind("Dutch BSN", r"(?:BSN|burgerservicenummer)\D{0,12}(\d{9})(?!\d)", _stdnum("nl.bsn")),
    _kind(
        "Japanese My Number",
        r"(?:マイナンバー|個人番号|my number)\D{0,12}(\d{4} ?\d{4} ?\d{4})(?!\d)",
        _stdnum("jp.in_"),
    ),
    _kind("date of birth", rf"(?:{_BORN})[\s:：]{{0,3}}(\d{{1,4}}[-./年]\d{{1,2}}[-./月]\d{{1,4}}日?)"),
    _kind(
        "record number",
        rf"(?:(?:{_RECORD})\s?(?:number|no\.?|id)?[\s:：#]{{1,3}}|{_RECORD_CJK}[\s:：#为為是は]{{0,3}})"
        r"([A-Z]{0,4}-?\d{5,12})(?![A-Z0-9])",
        unique=False,
    ),
    _kind("IP address", r"(?<![\d.])(?:\d{1,3}\.){3}\d{1,3}(?![\d.])", _address, unique=False),
)
#: Chinese mobile numbers are written without groups.
_MOBILE = re.compile(r"(?<![\d.])1[3-9]\d{9}(?!\d)")
_PHONE = "telephone number"
_LIKE_A_PHONE = re.compile(r"\d[\d\s()./-]{5,}\d")


def identifiers(text: str, regions: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """Kind and the text itself of everything in ``text`` that identifies a person.

    :param regions: ISO 3166 codes of the countries whose national telephone numbers are meant.
    """
    left = text
    for identifier in IDENTIFIERS:
        for match in list(identifier.pattern.finditer(left)):
            group = 1 if identifier.pattern.groups else 0
            if identifier.valid(match.group(group)):
                yield identifier.kind, match.group(group)
                left = _without(left, *match.span(group))
    if "CN" in regions:
        for match in list(_MOBILE.finditer(left)):
            yield _PHONE, match.group()
            left = _without(left, *match.span())
    if _LIKE_A_PHONE.search(left) or "+" in left:
        yield from _phones(left, regions)


def _phones(text: str, regions: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    import phonenumbers

    for region in regions or (None,):
        found = list(phonenumbers.PhoneNumberMatcher(text, region, leniency=phonenumbers.Leniency.STRICT_GROUPING))
        for match in found:
            # A run of digits alone is a serial number as often: national numbers must be written as such.
            if match.raw_string.startswith("+") or re.search(r"\d[\s()/-]+\d", match.raw_string):
                yield _PHONE, match.raw_string
                text = _without(text, match.start, match.end)


def _without(text: str, start: int, end: int) -> str:
    """Of the same length, so that later places stay right."""
    return text[:start] + " " * (end - start) + text[end:]


def masked(found: str) -> str:
    """Its form without its content: the first two letters or digits and the last one."""
    places = [index for index, char in enumerate(found) if char.isalnum()]
    shown = {*places[:2], *places[-1:]} if len(places) > 5 else set()
    return "".join(c if i in shown or not c.isalnum() else "•" for i, c in enumerate(found))
