"""ISO-2022, HZ and UTF-7: read where they are whole, refused by offset where not, never read as ASCII."""

from __future__ import annotations

import pytest
from text.test_decode import TEXTS

from cogen.text.decode import decode
from cogen.text.seven_bit import hz, iso2022
from cogen.text.undecodable import Undecodable

CHINESE, JAPANESE = (("\n".join([TEXTS[name][0]] * 6)) for name in ("Chinese", "Japanese"))
KANA = JAPANESE + "\n患者ﾜﾝｻﾝはｱｽﾋﾟﾘﾝを服用していた。"
NAMES = "The patient 王伟 came to the ward and was told to rest for two weeks at home.\n" * 3
MIXED = "Température 38 °C, α-bloquant, 王伟 Müller.\n" * 3

READ: dict[str, tuple[str, str]] = {
    "half-width kana": (KANA, "iso2022_jp_ext"),
    "half-width kana alone": ("ｱｽﾋﾟﾘﾝ", "iso2022_jp_ext"),
    "JIS X 0213 of 2000": (JAPANESE + "①②", "iso2022_jp_3"),
    "JIS X 0213 of 2004": (JAPANESE + "①②㈱", "iso2022_jp_2004"),
    "Greek and Chinese": (JAPANESE + "α 药", "iso2022_jp_2"),
    "HZ with tildes": (CHINESE + "a ~ b", "hz"),
    "UTF-7 with Chinese names": (NAMES, "utf-7"),
    "UTF-7 of several scripts": (MIXED, "utf-7"),
}


@pytest.mark.parametrize("name", READ)
def test_read(name: str) -> None:
    text, encoding = READ[name]
    data = text.encode(encoding)
    assert data.isascii()
    assert decode(data).text == text
    assert decode(data).how == "detected"


_JIS, _HZ, _UTF7 = JAPANESE.encode("iso2022_jp"), CHINESE.encode("hz"), CHINESE.encode("utf-7")
REFUSED: dict[str, tuple[bytes, int]] = {
    "ISO-2022 that is cut": (_JIS[:-4], len(_JIS) - 5),
    "one bad pair": (_JIS + b"\n\x1b$B!\x1b(B", len(_JIS) + 4),
    "a vendor's row": (_JIS + b"\n\x1b$B-!\x1b(B", len(_JIS) + 4),
    "ISO-2022-CN": (b"One\n" + b"\x1b$)A\x0e<O\x0f", 4),
    "ISO-2022 in UTF-8": ("发热三天。\n".encode() * 200 + _JIS, 3200),
    "HZ that is cut": (_HZ[:-3], len(_HZ) - 4),
    "HZ with a line break in Chinese": (_HZ.replace(b"~}\n", b"\n~}", 1), _HZ.index(b"~}\n")),
    "UTF-7 that is cut": (_UTF7[:-4], _UTF7.rindex(b"+Xqb")),
    "a plus sign in UTF-7": (_UTF7 + b" K+ 4.1", len(_UTF7) + 2),
    "one name in UTF-7": ("Patient 王伟 came.".encode("utf-7"), 8),
    "colours of a terminal": (b"\x1b[31mred\x1b[0m and \x1b[1mbold\x1b[0m", 0),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    """As ASCII each would be rubbish."""
    data, offset = REFUSED[name]
    with pytest.raises(Undecodable) as caught:
        decode(data)
    assert caught.value.offset == offset
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        "Fig.~{\\ref a} and ~{abc~} and ~{x} of the shell: ~{0..9}",
        "use ~{ and ~} in C",
        "a~{b}c\n~{",
        "REST+API, REST+API-first, the AMD+API and 1+1",
        "K+ 4.1 mmol, Na+ 140, Ca++ 2.3",
        "sha512-AbC+dEf/9876== sha512-xYz+aBc9/000==",
        "+fooBar +bazQux1 C++11",
    ],
)
def test_ascii_stays_ascii(text: str) -> None:
    """Also with what begins a sequence in those encodings."""
    data = text.encode()
    assert iso2022(data) is None
    assert hz(data) is None
    assert decode(data) == (text, "utf-8", "UTF-8")


def test_declared_wins() -> None:
    """Over every mark of another encoding."""
    assert decode(b"+c4tPHw", "ascii").text == "+c4tPHw"
    assert decode(b"~{;<U_~}", "ascii").text == "~{;<U_~}"
    assert decode("王伟".encode("utf-7"), "utf-7").text == "王伟"
