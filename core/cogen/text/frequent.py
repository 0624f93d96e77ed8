"""How likely a letter is in a language: what tells a text from one that was read in a wrong encoding.

Letters beyond ASCII of each language, the frequent ones first, as counted in the translated messages of free programs.
Ranks are all that is kept: a letter's share falls by a constant factor from one to the next.
"""

from __future__ import annotations

import math
from functools import lru_cache

#: Alphabets other than Latin.
ALPHABETS = {
    "Arabic": "اليمرتوةندفعسبحقكصجأطهخإذشغزضىثئءظؤآ",
    "Persian": "اینردهتومبشسکلپفزگخعجقصٔحطچآذظغضثئءأژ",
    "Hebrew": "יותהלמרנאשבקפסדגעםחכטןצזץךף",
    "Russian": "оеаинтрслвкпдмуязыьйбчгжфцхюшщэёъ",
    "Ukrainian": "аониевтрікслпдумзябьйчгцжєфхюшїщґ",
    "Bulgarian": "аениотрсвдпкзлмъябучжгйфцшщхюь",
    "Serbian": "аеионртскпудвмзјлбгњчшцљжћхфђџ",
    "Belarusian": "анрыкіелсвтдпямоцузьэўчгбйшфхжюё",
    "Greek": "αοετινσρμηπκυςλίδγήέόάχωθφύβώξζψϊΐϋ",
    "Thai": "ารอ่มกนเ้งดัลีตสบแิยวไขทหจพคปะ์ืูชำใถฟุ็โซณผภธึษญฐศฉฮฤๆฯ๊๋ฎฏฒฬฆฌฑ",
}
#: Letters of Latin alphabets that ASCII lacks.
LATIN = {
    "French": "éàèêôçîâûùœïëü",
    "German": "üäößéáà",
    "Spanish": "óáíúñéü",
    "Portuguese": "ãçáíéóúõêôâàü",
    "Italian": "èàòùéìí",
    "Polish": "łżęąśóćńź",
    "Czech": "íářčéýžěšůúóňťď",
    "Slovak": "áčíýúťéžľšóôäňĺďŕ",
    "Hungarian": "áéíóöőüúű",
    "Croatian": "čšžćđ",
    "Slovene": "čšž",
    "Romanian": "ățșîâşţ",
    "Turkish": "ışçüğöiİâ",
    "Swedish": "äöåé",
    "Danish": "æøåéö",
    "Finnish": "äöå",
    "Estonian": "äõüöšž",
    "Dutch": "éëïóíáèöüê",
    "Catalan": "óàéíèòçúïü",
    "Lithuanian": "šėųįąžčūę",
    "Latvian": "āēīšļūņķžģč",
    "Icelandic": "ðáíóæýúöþé",
    "Irish": "áíéúó",
    "Albanian": "ëç",
    "Esperanto": "ĝĉŭŝĵĥ",
}
#: Characters that make up nearly half of a text, of the languages with thousands.
CHARACTERS = {
    "Chinese": (
        "的一是不了在人有我他这个们中来上大为和国地到以说时要就出会可也你对生能而子那得于着下自之年过发后作里用道行所然家种事成方多经么去"
        "法学如都同现当没动面起看定天分还进好小部其些主样理心她本前开但因只从想实日月长病院患者市第公新电高力工机水民全三两无向回意正应体"
        "期次将产通等内重加文使间身关明已气位区业反入更相合常手特外数制度性政物治"
    ),
    "Chinese (traditional)": (
        "的一是不了在人有我他這個們中來上大為和國地到以說時要就出會可也你對生能而子那得於著下自之年過發後作裡用道行所然家種事成方多經麼去"
        "法學如都同現當沒動面起看定天分還進好小部其些主樣理心她本前開但因只從想實日月長病院患者市第公新電高力工機水民全三兩無向回意正應體"
        "期次將產通等內重加文使間身關明已氣位區業反入更相合常手特外數制度性政物治"
    ),
    "Japanese": (
        "のにるたとはしいをでてがなれからさっりすあもこまうくよきんめおけそつだやえどわちみせじばへびずろほげむべごねふぶ"
        "ーンスルトリイアラックドシレジタフロカテマィグバムプオコデニウメサビナブャエュチキズダパミェ"
    ),
    "Korean": (
        "이다에의는로하을가고지서한은기으년대사시를리도인스일니습수없자음용정파할합트어있오위드문그제만아해보상데되전과부명구여나"
        "비성라주요조우장모경원동무면개방신마소선안세유행물생관거중번내재였않했적학계국바심생치입통"
    ),
}
#: Shares of those characters, of the others of everyday use, and of rare ones; and how many of each there are.
_FREQUENT, _USUAL, _RARE = 0.42, 0.45, 0.003
_USUAL_COUNT, _RARE_COUNT = 3500, 20000
#: Logarithms of the share of a sign of prose, of a letter that a language seldom has, of any other sign, of a control.
_SIGN, _SELDOM, _OTHER, _CONTROL = -5.0, -9.5, -11.5, -16.0
_SIGNS = frozenset(
    "“”‘’‚„«»–—…•·°§©®€£\xa0×÷±µ²³½¼¾ºª¿¡№™\u200e\u200f\u200c،؛؟٪ـ־״׳฿一、。，；：？！（）「」『』《》〈〉【】・"
    "\u064b\u064c\u064d\u064e\u064f\u0650\u0651\u0652\u05b0\u05b1\u05b2\u05b3\u05b4\u05b5\u05b6\u05b7\u05b8\u05b9\u05bb\u05bc\u05c1\u05c2"
    "〜～％／－＋＝　１２３４５６７８９０"
)
#: More frequent than other signs where few letters are beyond ASCII.
_QUOTES = frozenset("“”„’«»–—")
_QUOTE = -3.2
_PUNCTUATION = frozenset("、。，；：？！（）「」『』《》")
#: Encodings of the languages that share them, and the lead bytes of the characters that make up nearly all of any text:
#: level 1 of GB 2312, of Big5 and of JIS X 0208.
_LEVELS = {
    "Chinese": ("gb2312", 0xB0, 0xD7),
    "Chinese (traditional)": ("big5", 0xA4, 0xC6),
    "Japanese": ("euc_jp", 0xB0, 0xCF),
}


@lru_cache(maxsize=1 << 14)
def is_common(letter: str) -> bool:
    """Is it one of the usual letters of its script? Of Chinese characters level 1, of Hangul what KS X 1001 has."""
    if "\uac00" <= letter <= "\ud7a3":
        return _code(letter, "euc_kr") > 0
    if "\u3400" <= letter <= "\u9fff":
        return any(_usual(letter, language) for language in _LEVELS)
    return not ("\ue000" <= letter <= "\uffff" or letter > "\U0000ffff")


def _code(letter: str, encoding: str) -> int:
    """The lead byte; 0 where the encoding has no such letter, in two bytes."""
    code = letter.encode(encoding, errors="ignore")
    return code[0] if len(code) == 2 else 0


def _usual(letter: str, language: str) -> bool:
    if language == "Korean":
        return "\uac00" <= letter <= "\ud7a3" and _code(letter, "euc_kr") > 0
    encoding, first, last = _LEVELS[language]
    return first <= _code(letter, encoding) <= last or (language == "Japanese" and "\u3041" <= letter <= "\u30fe")


@lru_cache(maxsize=1 << 16)
def log_share(character: str, language: str) -> float:
    """Natural logarithm of a character's share of those beyond ASCII in a text of the language."""
    if character in _QUOTES and language in LATIN:
        return _QUOTE
    if character in _SIGNS:
        return math.log(0.025) if language in CHARACTERS and character in _PUNCTUATION else _SIGN
    if character < "\xa0" or "\ue000" <= character <= "\uf8ff":
        return _CONTROL
    if (frequent := CHARACTERS.get(language)) is not None:
        if character in frequent:
            return math.log(_FREQUENT / len(frequent))
        if _usual(character, language):
            return math.log(_USUAL / _USUAL_COUNT)
        return math.log(_RARE / _RARE_COUNT) if character.isalpha() else _OTHER
    letters = ALPHABETS.get(language) or LATIN[language]
    plain = character if character in letters else character.lower()
    if plain in letters:
        # Capitals are one in ten, where there are any.
        fall = 1 - math.exp(-3.2 / len(letters)) if language in ALPHABETS else 0.35
        share = math.log(fall) + letters.index(plain) * math.log(1 - fall)
        return share if plain == character else share - 2.0
    return _SELDOM if character.isalpha() else _OTHER
