"""Personal data by its form: what is found, what is not taken for it, and what a report shows."""

from __future__ import annotations

import pytest

from cogen.errors import MissingExtraError
from cogen.privacy import scan as scanning
from cogen.privacy.identifiers import identifiers, masked
from cogen.privacy.scan import regions_of, scan

FOUND = [
    ("e-mail address", "Write to anna.li@hospital.example.org.", "anna.li@hospital.example.org"),
    ("Chinese resident ID", "身份证号11010519491231002X，男", "11010519491231002X"),
    ("telephone number", "手机13812345678。", "13812345678"),
    ("telephone number", "电话：010-62345678", "010-62345678"),
    ("telephone number", "Call (212) 736-5000 now", "(212) 736-5000"),
    ("telephone number", "Call +44 20 7946 0958 now", "+44 20 7946 0958"),
    ("US social security number", "SSN 536-90-4399", "536-90-4399"),
    ("payment card", "card 4111 1111 1111 1111", "4111 1111 1111 1111"),
    ("IBAN", "IBAN GB82 WEST 1234 5698 7654 32", "GB82 WEST 1234 5698 7654 32"),
    ("NHS number", "NHS number 943 476 5919", "943 476 5919"),
    ("Brazilian CPF", "CPF 390.533.447-05", "390.533.447-05"),
    ("Italian codice fiscale", "CF RCCMNL83S18D969H", "RCCMNL83S18D969H"),
    ("date of birth", "出生日期：1949-12-31", "1949-12-31"),
    ("date of birth", "Date of birth: 12/03/1967", "12/03/1967"),
    ("record number", "MRN: 4471123", "4471123"),
    ("record number", "住院号：00448812", "00448812"),
    ("IP address", "from 8.8.8.8 today", "8.8.8.8"),
    # Chinese and Japanese set no space around numbers and addresses.
    ("record number", "患者王秀英，住院号448812，女", "448812"),
    ("record number", "病案号为448812患者入院", "448812"),
    ("record number", "門診號：A-448812由本院", "A-448812"),
    ("record number", "患者番号448812の方", "448812"),
    ("record number", "カルテ番号は448812です", "448812"),
    ("e-mail address", "请发至anna.li@hospital.example.org联系", "anna.li@hospital.example.org"),
    ("IBAN", "账号GB82WEST12345698765432开户", "GB82WEST12345698765432"),
    ("Italian codice fiscale", "税号RCCMNL83S18D969H本人", "RCCMNL83S18D969H"),
]
NOT_FOUND = [
    "身份证号110105194912310021",  # wrong check digit
    "card 4111 1111 1111 1112",
    "SSN 000-12-3456",
    "IBAN GB82 WEST 1234 5698 7654 33",
    "PESEL 44051401358",
    "host 192.168.0.1 and 127.0.0.1",
    "table 100 200 300 400 500 600 700",
    "0.123456789 and 1234567890 and 2023-11-01 12:30:00",
    "the patient is well; file under B",
    "门诊10000人次，住院20000人次，患者30000名",
    "file12345 and case12345 of the archive",
]


@pytest.mark.parametrize(("kind", "text", "what"), FOUND)
def test_found(kind: str, text: str, what: str) -> None:
    assert list(identifiers(text, ("CN", "US", "GB"))) == [(kind, what)]


@pytest.mark.parametrize("text", NOT_FOUND)
def test_not_found(text: str) -> None:
    assert list(identifiers(text, ("CN", "US", "GB"))) == []


def test_masked() -> None:
    """The form stays, the content goes; a short one shows nothing."""
    assert masked("11010519491231002X") == "11•••••••••••••••X"
    assert masked("8.8.8.8") == "•.•.•.•"


def test_counts_by_source_and_kind() -> None:
    """Hits and documents; examples are masked and few."""
    texts = [
        ("letters", "手机13812345678 手机13912345678"),
        ("letters", "手机13712345678, a@b.example"),
        ("manual", "a@b.example"),
    ]
    found = scan(texts, regions_of(["zh-CN"]))
    assert found.documents == 3
    assert [(h.source, h.kind, h.hits, h.documents) for h in found.found] == [
        ("letters", "telephone number", 3, 2),
        ("letters", "e-mail address", 1, 1),
        ("manual", "e-mail address", 1, 1),
    ]
    assert all("•" in example for hits in found.found for example in hits.examples)


def test_what_contradicts_a_source() -> None:
    """One identity number does; an e-mail address does not, ten do."""
    found = scan([("a", "ID 11010519491231002X"), ("b", "x@y.example"), *[("c", f"m{i}@y.example") for i in range(10)]])
    assert found.contradicts("a") == "1 × Chinese resident ID"
    assert found.contradicts("b") is None
    assert found.contradicts("c") == "10 × e-mail address"


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object) -> None:
        raise MissingExtraError("needs phonenumbers", hint="pip install it")

    monkeypatch.setattr(scanning, "require", missing)
    with pytest.raises(MissingExtraError):
        scan([("a", "text")])
