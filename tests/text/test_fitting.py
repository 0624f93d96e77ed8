"""Encodings whose bytes fit several languages: read where the letters tell, refused where not, never silently wrong."""

from __future__ import annotations

import contextlib

import pytest
from text.test_decode import TEXTS

from cogen.text.decode import decode
from cogen.text.fitting import ENCODINGS, fits
from cogen.text.undecodable import Undecodable

#: Encodings that were taken for others or refused, beside those of ``test_decode``.
READ = {
    "Arabic": ("iso8859_6", "mac_arabic", "cp720"),
    "Hebrew": ("iso8859_8", "cp862"),
    "Russian": ("iso8859_5", "mac_cyrillic", "cp866", "koi8_u"),
    "Greek": ("iso8859_7", "cp737", "mac_greek"),
    "French": ("cp850", "mac_roman"),
    "German": ("cp437", "cp850", "mac_roman"),
    "Polish": ("cp852", "iso8859_2", "mac_latin2"),
    "Turkish": ("cp857",),
}


@pytest.mark.parametrize(("name", "encoding"), [(name, one) for name in READ for one in READ[name]])
def test_read(name: str, encoding: str) -> None:
    """Some sentences, in encodings of which the same bytes are letters in several."""
    text = "\n".join([TEXTS[name][0].replace("’", "'")] * 8)
    assert decode(text.encode(encoding)).text == text


@pytest.mark.parametrize("name", [name for name in TEXTS if name != "English"])
@pytest.mark.parametrize("size", [3, 4, 6, 8, 12, 20, 40])
def test_never_wrong_however_short(name: str, size: int) -> None:
    """A few letters are read right or refused: what they are not taken for is another text.

    Fewer may be valid UTF-8 by accident. Greek of old Macintosh files takes a line to be told from Russian.
    """
    text, encodings = TEXTS[name]
    for encoding in {*encodings, *READ.get(name, ())} - {"mac_greek"}:
        for start in range(0, len(text) - size, 7):
            data = text[start : start + size].encode(encoding, errors="ignore")
            with contextlib.suppress(Undecodable):
                assert decode(data).text == data.decode(encoding)


_CHINESE = (TEXTS["Chinese"][0] + "\n").encode("gb18030") * 20
_RUSSIAN = (TEXTS["Russian"][0] + "\n").encode("cp1251") * 20
MIXED: dict[str, tuple[bytes, bytes, str]] = {
    "Korean in Chinese": (_CHINESE, TEXTS["Korean"][0].encode("euc_kr"), "cp949"),
    "a short line of UTF-8 in Chinese": (_CHINESE, "王伟".encode(), "utf-8"),
    "KOI8-R in Windows-1251": (_RUSSIAN, TEXTS["Russian"][0].encode("koi8_r"), "koi8_r"),
    "UTF-8 in Windows-1251": (_RUSSIAN, "жар".encode(), "utf-8"),
}


@pytest.mark.parametrize("name", MIXED)
def test_a_line_in_another_encoding(name: str) -> None:
    """By its offset, though the file's encoding makes letters of it."""
    most, line, encoding = MIXED[name]
    with pytest.raises(Undecodable, match=encoding) as caught:
        decode(most + line + b"\n")
    assert caught.value.offset == len(most)
    assert decode(most).text.encode(decode(most).encoding) == most


def test_the_same_text_is_one_candidate() -> None:
    """What several encodings read alike is no reason for doubt."""
    data = ("Größere Beschwerden ließen nach über drei Tage.\n" * 3).encode("cp1252")
    texts = [fit.text for fit in fits(data)]
    assert len(texts) == len(set(texts))
    assert texts[0] == data.decode("cp1252")
    assert fits(data)[0].encoding == "cp1252"


def test_every_encoding_is_known() -> None:
    """To Python, with languages that have letters in it."""
    for encoding, languages in ENCODINGS.items():
        assert "a".encode(encoding) == b"a"
        assert languages
